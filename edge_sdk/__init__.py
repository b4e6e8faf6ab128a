"""The public API: take a model file, make a verified bundle of it, deploy it, measure it."""
