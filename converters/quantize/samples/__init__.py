"""Samples of a model's inputs, for calibrating and for judging, with their labels."""
