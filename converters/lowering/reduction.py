"""Reductions over axes: MEAN, SUM, REDUCE_MAX, REDUCE_MIN in whatever order the operand lies."""

from __future__ import annotations

import numpy as np

from converters.lowering import layout
from converters.lowering.context import Context
from converters.lowering.registry import Node, lowers

_BUILTINS = {
    "ReduceMax": "REDUCE_MAX",
    "ReduceMean": "MEAN",
    "ReduceMin": "REDUCE_MIN",
    "ReduceSum": "SUM",
}


@lowers(*_BUILTINS)
def reduction(context: Context, node: Node) -> None:
    """`ReduceMean` and its kin; the axes are an attribute, or an input in later operator sets."""
    rank = len(context.shape(node.input(0)))
    axes = node.integers("axes")
    if node.optional(1) is not None:
        axes = tuple(int(axis) for axis in context.need_constant(node.input(1), "axes").reshape(-1))
    if not axes:
        if node.integer("noop_with_empty_axes", 0):
            context.bind(node.output(), context.tensor(node.input(0)), context.order(node.input(0)))
            return
        axes = tuple(range(rank))
    axes = tuple(axis % rank for axis in axes)
    reduce(context, node, _BUILTINS[node.type], axes, keep=bool(node.integer("keepdims", 1)))


def reduce(context: Context, node: Node, builtin: str, axes: tuple[int, ...], *, keep: bool) -> None:
    """Lower to a reduction over these ONNX axes."""
    name = node.input(0)
    order = context.order(name) or layout.identity(len(context.shape(name)))
    places = sorted(order.index(axis) for axis in axes)
    kept = order
    if not keep:
        left = sorted(set(order) - set(axes))
        kept = tuple(left.index(axis) for axis in order if axis not in axes)
    inputs: list[str | None] = [
        context.arrange(name, order),
        context.add_constant(np.array(places, np.int32), "axes"),
    ]
    context.produce(node.output(), builtin, inputs, kept, keepDims=keep)
