"""Operators that make one value of many: sums, means, places of the greatest."""

from __future__ import annotations

from converters.quantize.rules.base import Rule

RULES: dict[str, Rule] = {
    "ARG_MAX": Rule(("int8",)),
    "ARG_MIN": Rule(("int8",)),
    "MEAN": Rule(),
    "REDUCE_PROD": Rule(),
    "SUM": Rule(),
}
TFLITE: dict[str, Rule] = {}
