"""How each type of operator computes in integers: plain data, a table per family."""

from __future__ import annotations

from typing import TYPE_CHECKING

from converters.quantize.integer.rules import (
    activations,
    arithmetic,
    lookup,
    recurrent,
    reductions,
    same_scale,
    weighted,
)
from converters.quantize.integer.rules.base import Rule, looked_up

if TYPE_CHECKING:
    from converters.graph.ir import GraphOperator

_FAMILIES = (weighted, arithmetic, same_scale, activations, reductions, recurrent)
RULES: dict[str, Rule] = {kind: rule for family in _FAMILIES for kind, rule in family.RULES.items()}
# where tflite-runtime 2.14, the last of its name, can do less
_TFLITE: dict[str, Rule] = {kind: rule for family in _FAMILIES for kind, rule in family.TFLITE.items()}


CURVE = "CURVE"  # stands for operators that are a function of one tensor; no builtin
_CURVE = looked_up(lookup.curve)


def rule_of(operator: GraphOperator, runtime: str = "litert") -> Rule | None:
    """The rule for an operator, None where its type has no integer form.

    Args:
        operator: only its type matters.
        runtime: `litert`, or `tflite` for tflite-runtime.
    """
    if operator.type == CURVE:
        return _CURVE
    if runtime == "tflite" and operator.type in _TFLITE:
        return _TFLITE[operator.type]
    return RULES.get(operator.type)
