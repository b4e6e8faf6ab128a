"""Metrics: how good a model's outputs are, kept per sample so that two models can be compared in pairs."""
