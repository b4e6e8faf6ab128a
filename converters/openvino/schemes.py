"""What the OpenVINO engine can build, by name; see docs/quantization/openvino.md."""

from __future__ import annotations

PRECISIONS = ("int8", "weight-int8", "weight-int4", "float16", "float32")
# how the ranges of activations come from calibration:
#   minmax       least and greatest value of all samples
#   mse          least error of the quantised values, by search over a histogram
#   mean-minmax  the mean over the samples of their least and greatest values: NNCF's own default
RANGES = ("minmax", "mse", "mean-minmax")
# in the order worth trying; a scheme with both kinds of bias correction gets the first
REPAIRS = ("smooth_quant", "bias_correction", "fast_bias_correction")
SUBSET = 300  # samples that NNCF takes statistics of: what it documents as enough, and has for a default
