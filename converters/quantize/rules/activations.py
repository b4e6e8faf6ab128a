"""Operators of one tensor, value by value or row by row."""

from __future__ import annotations

from converters.quantize.rules.base import Rule, fixed

_RULE = Rule()
_INT8 = Rule(("int8",))
_SHARES = Rule(fixed={"int8": fixed(1 / 256, -128), "int16x8": fixed(1 / 32768)})

RULES: dict[str, Rule] = {
    "ABS": _RULE,
    "ELU": _INT8,
    "EXP": _RULE,
    "GELU": _INT8,
    "HARD_SWISH": _INT8,
    "L2_NORMALIZATION": Rule(("int8",), fixed={"int8": fixed(1 / 128)}),
    "LEAKY_RELU": _RULE,
    "LOG": _RULE,
    "LOGISTIC": _SHARES,
    "LOG_SOFTMAX": Rule(("int8",), fixed={"int8": fixed(16 / 256, 127)}),
    "NEG": _RULE.only(),
    "PRELU": _INT8,
    "RELU": _RULE,
    "RELU6": _RULE,
    "RELU_0_TO_1": _RULE.only("int8"),
    "RELU_N1_TO_1": _RULE,
    "RSQRT": _RULE,
    "SOFTMAX": _SHARES,
    "TANH": Rule(fixed={"int8": fixed(1 / 128), "int16x8": fixed(1 / 32768)}),
}
TFLITE: dict[str, Rule] = {"LOG": Rule(()), "RSQRT": _INT8}
