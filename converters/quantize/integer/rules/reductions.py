"""Operators that make one value of many: sums, means, places of the greatest."""

from __future__ import annotations

from converters.quantize.integer.rules import decompositions, windows
from converters.quantize.integer.rules.base import Rule, expanded

_PLACE = expanded(decompositions.argument, "int8")

RULES: dict[str, Rule] = {
    "ARG_MAX": _PLACE,
    "ARG_MIN": _PLACE,
    "CUMSUM": expanded(decompositions.cumulative_sum, check=decompositions.has_constant(1, "axis")),
    "L2_POOL_2D": expanded(windows.pool_of_squares),
    "MEAN": Rule(),
    "REDUCE_PROD": Rule(),
    "SUM": Rule(),
}
# the int16 kernel of tflite-runtime 2.14 wants the scale of its input for its output
TFLITE: dict[str, Rule] = {"SUM": expanded(decompositions.sum_by_mean, "int8")}
