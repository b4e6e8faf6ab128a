"""Operators of one tensor, value by value or row by row."""

from __future__ import annotations

from typing import TYPE_CHECKING

from converters.quantize.integer.rules import decompositions, functions, lookup, windows
from converters.quantize.integer.rules.base import Rule, expanded, fixed, looked_up

if TYPE_CHECKING:
    from converters.quantize.integer.rules.lookup import Unary


def _table(function: Unary, *kernels: str) -> Rule:
    """Looked up in the precisions that have no kernel."""
    return looked_up(lookup.unary(function), *kernels)


_RULE = Rule()
_SHARES = Rule(fixed={"int8": fixed(1 / 256, -128), "int16x8": fixed(1 / 32768)})

RULES: dict[str, Rule] = {
    "ABS": _RULE,
    "CAST": expanded(decompositions.cast, check=decompositions.castable),
    "CEIL": _table(functions.ceil),
    "COS": _table(functions.cos),
    "ELU": _table(functions.elu, "int8"),
    "EXP": _RULE,
    "FLOOR": _table(functions.floor),
    "GELU": _table(functions.gelu, "int8"),
    "HARD_SWISH": _table(functions.hard_swish, "int8"),
    "L2_NORMALIZATION": Rule(("int8",), fixed={"int8": fixed(1 / 128)}),
    "LEAKY_RELU": _RULE,
    # int16 kernels of LOG and RSQRT draw straight lines between 513 places: 3 % off where they are steep
    "LOG": _table(functions.log, "int8"),
    "LOCAL_RESPONSE_NORMALIZATION": expanded(windows.local_response),
    "LOGISTIC": _SHARES,
    "LOG_SOFTMAX": Rule(("int8",), fixed={"int8": fixed(16 / 256, 127)}),
    "NEG": expanded(decompositions.negative),
    "PRELU": expanded(decompositions.prelu, "int8"),
    "RELU": _RULE,
    "RELU6": _RULE,
    "RELU_0_TO_1": expanded(decompositions.clamped(0.0, 1.0), "int8"),
    "RELU_N1_TO_1": expanded(decompositions.clamped(-1.0, 1.0)),
    "ROUND": _table(functions.nearest),
    "RSQRT": _table(functions.rsqrt, "int8"),
    "SIGN": _table(functions.sign),
    "SIN": _table(functions.sin),
    "SOFTMAX": _SHARES,
    "SQRT": _table(functions.sqrt),
    "SQUARE": expanded(decompositions.square),
    "TANH": Rule(fixed={"int8": fixed(1 / 128), "int16x8": fixed(1 / 32768)}),
}
TFLITE: dict[str, Rule] = {"LOG": _table(functions.log)}
