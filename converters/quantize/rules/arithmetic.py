"""Operators of two tensors that each have a scale of their own."""

from __future__ import annotations

from converters.quantize.rules.base import Rule

# int16 kernels of these take scales that are powers of two only, unless they are told otherwise
_ANY_SCALE = Rule(options={"int16x8": {"potScaleInt16": False}})
_RULE = Rule()

RULES: dict[str, Rule] = {
    "ADD": _ANY_SCALE,
    "SUB": _ANY_SCALE,
    "MUL": _RULE,
    "DIV": _RULE,
    "SQUARED_DIFFERENCE": _RULE.only("int8"),
    "BATCH_MATMUL": _RULE,
    # their kernels bring both sides to one scale and give booleans
    "EQUAL": _RULE.only("int8"),
    "NOT_EQUAL": _RULE.only("int8"),
    "GREATER": _RULE.only("int8"),
    "GREATER_EQUAL": _RULE.only("int8"),
    "LESS": _RULE.only("int8"),
    "LESS_EQUAL": _RULE.only("int8"),
}
TFLITE: dict[str, Rule] = {"DIV": _RULE.only()}
