"""Computes an operator in a wider dtype: CAST before it and after it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import evolve

from converters.lowering.context import Context
from converters.lowering.facts import ValueType
from converters.lowering.registry import Node

if TYPE_CHECKING:
    from converters.lowering.registry import Lowering


def widened(context: Context, node: Node, dtype: str, through: str, function: Lowering) -> None:
    """Lower a node as if its values of `dtype` were of dtype `through`."""
    inputs = [name and _wide(context, name, dtype, through) for name in node.inputs]
    outputs: list[str | None] = []
    narrow: dict[str, str] = {}
    for name in node.outputs:
        if name is not None and context.dtype(name) == dtype:
            wide = f"{name}^{through}"
            context.declare(wide, ValueType(through, context.shape(name)))
            narrow[name] = wide
            outputs.append(wide)
        else:
            outputs.append(name)
    function(context, evolve(node, inputs=tuple(inputs), outputs=tuple(outputs)))
    for name, wide in narrow.items():
        context.bind(name, context.cast(context.tensor(wide), dtype, name), context.order(wide))


def _wide(context: Context, name: str, dtype: str, through: str) -> str:
    if context.dtype(name) != dtype:
        return name
    wide = f"{name}^{through}"
    if not context.knows(wide):
        constant, shape = context.constant(name), context.shape(name)
        if constant is not None:
            context.declare(wide, ValueType(through, shape), constant.astype(through))
        else:
            context.declare(wide, ValueType(through, shape))
            context.bind(wide, context.cast(context.tensor(name), through, wide), context.order(name))
    return wide
