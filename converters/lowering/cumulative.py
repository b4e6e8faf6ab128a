"""Cumulative sums and products."""

from __future__ import annotations

import numpy as np

from converters.lowering import layout
from converters.lowering.context import Context
from converters.lowering.facts import ValueType
from converters.lowering.registry import NUMBERS, SMALL, Node, lowers
from converters.lowering.writing import apply, operand


def _axis(context: Context, node: Node, order: layout.Order) -> int:
    """The axis of the tensor along which it runs."""
    axis = int(context.need_constant(node.input(1), "axis").reshape(()))
    return order.index(axis % len(order))


@lowers("CumSum", dtypes=NUMBERS, through=SMALL)
def cumulative_sum(context: Context, node: Node) -> None:
    """`CumSum` is CUMSUM."""
    tensor, order = operand(context, node.input(0))
    axis = context.add_constant(np.array(_axis(context, node, order), np.int32), "axis")
    options = {"exclusive": bool(node.integer("exclusive", 0)), "reverse": bool(node.integer("reverse", 0))}
    context.produce(node.output(), "CUMSUM", [tensor, axis], order, **options)


@lowers("CumProd", dtypes=NUMBERS, through=SMALL)
def cumulative_product(context: Context, node: Node) -> None:
    """`CumProd` by doubling: each MUL by itself, moved by 1, 2, 4 ... places with ones put in."""
    tensor, order = operand(context, node.input(0))
    axis = _axis(context, node, order)
    size = context.graph.tensors[tensor].shape[axis]
    backwards = bool(node.integer("reverse", 0))
    if node.integer("exclusive", 0):
        tensor = _moved(context, tensor, axis, 1, backwards=backwards)
    step = 1
    while step < size:
        tensor = apply(context, "MUL", tensor, _moved(context, tensor, axis, step, backwards=backwards))
        step *= 2
    context.bind(node.output(), tensor, order)


def _moved(context: Context, tensor: str, axis: int, step: int, *, backwards: bool) -> str:
    """The tensor moved by `step` places along an axis, ones put in: SLICE and CONCATENATION."""
    held = context.graph.tensors[tensor]
    begin, size = [0] * len(held.shape), list(held.shape)
    size[axis] -= step
    filler = np.ones((*held.shape[:axis], step, *held.shape[axis + 1 :]), held.dtype)
    ones = context.add_constant(filler, "ones")
    if size[axis] == 0:
        return ones
    if backwards:
        begin[axis] = step
    inputs: list[str | None] = [
        tensor,
        *(context.add_constant(np.array(item, np.int32), "slice") for item in (begin, size)),
    ]
    rest = context.emit("SLICE", inputs, ValueType(held.dtype, tuple(size)), f"{tensor}_rest")
    parts: list[str | None] = [rest, ones] if backwards else [ones, rest]
    made = ValueType(held.dtype, held.shape)
    return context.emit("CONCATENATION", parts, made, f"{tensor}_moved", axis=axis)
