"""Quantisation: schemes, what builds them, samples to calibrate and judge on, and the search that chooses."""
