"""Operators of two tensors that each have a scale of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from converters.quantize.integer.rules import decompositions, functions, lookup
from converters.quantize.integer.rules.base import Rule, expanded, looked_up

if TYPE_CHECKING:
    from converters.quantize.integer.rules.lookup import Binary

# int16 kernels of these take scales that are powers of two only, unless they are told otherwise
_ANY_SCALE = Rule(options={"int16x8": {"potScaleInt16": False}})
_RULE = Rule()

# the kernels bring both sides to one scale and give booleans
_COMPARES = expanded(decompositions.compared, "int8")


def _table(function: Binary) -> Rule:
    """Looked up, in int16 where one operand is constant."""
    return looked_up(lookup.binary(function), check=lookup.binary_table)


RULES: dict[str, Rule] = {
    "ADD": _ANY_SCALE,
    "ADD_N": expanded(decompositions.add_n),
    "ATAN2": _table(functions.angle),
    "SUB": _ANY_SCALE,
    "MUL": _RULE,
    # the kernel fails where a divisor is rounded to 0, which no calibration rules out
    "DIV": expanded(decompositions.divided),
    "FLOOR_DIV": _table(functions.floor_divide),
    "FLOOR_MOD": _table(functions.floor_mod),
    "POW": _table(functions.power),
    "SQUARED_DIFFERENCE": expanded(decompositions.squared_difference, "int8"),
    "BATCH_MATMUL": _RULE,
    "EQUAL": _COMPARES,
    "NOT_EQUAL": _COMPARES,
    "GREATER": _COMPARES,
    "GREATER_EQUAL": _COMPARES,
    "LESS": _COMPARES,
    "LESS_EQUAL": _COMPARES,
}
TFLITE: dict[str, Rule] = {"MUL": expanded(decompositions.product, "int8")}
