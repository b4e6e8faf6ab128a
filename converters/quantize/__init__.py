"""Calibration data, quantisation recipes, and the fidelity of what comes out."""
