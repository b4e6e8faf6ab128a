"""Operators with constant weights: convolutions and fully connected layers."""

from __future__ import annotations

from attrs import evolve

from converters.quantize.integer.rules import rearrangements
from converters.quantize.integer.rules.base import Rule
from converters.quantize.scheme import STATIC

_CONV = Rule(weights=1, axis=0, bias=2)
_DENSE = evolve(_CONV, computed=("int8",))

RULES: dict[str, Rule] = {
    "CONV_2D": _CONV,
    "CONV_3D": evolve(
        _CONV, precisions=(), axis=4, expand=dict.fromkeys(STATIC, rearrangements.convolution_3d)
    ),
    "DEPTHWISE_CONV_2D": evolve(_CONV, axis=3),
    "FULLY_CONNECTED": _DENSE,
    "TRANSPOSE_CONV": evolve(_CONV, bias=3),
}
# of tflite-runtime 2.14: its kernel reads the first scale of weights, whatever their number
TFLITE: dict[str, Rule] = {"FULLY_CONNECTED": evolve(_DENSE, axis=None)}
