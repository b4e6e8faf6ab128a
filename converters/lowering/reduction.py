"""Reductions over axes, in whatever order the operand lies."""

from __future__ import annotations

import numpy as np

from converters.lowering import layout
from converters.lowering.context import Context
from converters.lowering.registry import FLOAT, NUMBERS, SMALL, Node, Refused, lowers
from converters.lowering.writing import apply, operand, reduce_tensor

_BUILTINS = {
    "ReduceMax": "REDUCE_MAX",
    "ReduceMean": "MEAN",
    "ReduceMin": "REDUCE_MIN",
    "ReduceProd": "REDUCE_PROD",
    "ReduceSum": "SUM",
}
_OF_BOOLS = {"ReduceMax": "REDUCE_ANY", "ReduceMin": "REDUCE_ALL"}
_LOWEST = float(np.finfo(np.float32).min)


def _axes(context: Context, node: Node) -> tuple[int, ...]:
    """The axes, an attribute or an input in later operator sets; none where nothing is to be reduced."""
    rank = len(context.shape(node.input(0)))
    axes = node.integers("axes")
    given = node.optional(1)
    if given is not None:
        axes = tuple(int(axis) for axis in context.need_constant(given, "axes").reshape(-1))
    if not axes:
        return () if node.integer("noop_with_empty_axes", 0) else tuple(range(rank))
    return tuple(axis % rank for axis in axes)


@lowers(*_BUILTINS, dtypes=(*NUMBERS, "bool"), through=SMALL)
def reduction(context: Context, node: Node) -> None:
    """MEAN, SUM, REDUCE_MAX, REDUCE_MIN, REDUCE_PROD; of bools REDUCE_ANY and REDUCE_ALL."""
    builtin = _BUILTINS[node.type]
    if context.dtype(node.input(0)) == "bool":
        if node.type not in _OF_BOOLS:
            raise Refused("bools have no such reduction", got="bool", limit=", ".join(NUMBERS))
        builtin = _OF_BOOLS[node.type]
    if node.type == "ReduceMean" and context.dtype(node.input(0)) not in FLOAT:
        raise Refused("its mean must be float32", got=context.dtype(node.input(0)), limit="float32")
    axes = _axes(context, node)
    if not axes:
        context.bind(node.output(), context.tensor(node.input(0)), context.order(node.input(0)))
        return
    reduce(context, node, builtin, axes, keep=bool(node.integer("keepdims", 1)))


@lowers("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceSumSquare", dtypes=NUMBERS, through=SMALL)
def composed(context: Context, node: Node) -> None:
    """SUM with what comes before it (ABS, a square) and after it (SQRT, LOG)."""
    axes = _axes(context, node)
    tensor, order = operand(context, node.input(0))
    dtype = context.dtype(node.input(0))
    if dtype not in FLOAT and node.type in ("ReduceL2", "ReduceLogSum"):
        raise Refused("its result is no integer", got=dtype, limit="float32")
    if node.type == "ReduceL1" and dtype in FLOAT:
        tensor = apply(context, "ABS", tensor)
    elif node.type == "ReduceL1":
        tensor = apply(context, "MAXIMUM", tensor, apply(context, "NEG", tensor))
    elif node.type != "ReduceLogSum":
        tensor = apply(context, "MUL", tensor, tensor)
    if axes:
        tensor = _summed(context, node, tensor, order, axes)
    if node.type in ("ReduceL2", "ReduceLogSum"):
        tensor = apply(context, "SQRT" if node.type == "ReduceL2" else "LOG", tensor)
    keep = bool(node.integer("keepdims", 1)) or not axes
    context.bind(node.output(), tensor, order if keep else _left(order, axes))


@lowers("ReduceLogSumExp")
def log_sum_exp(context: Context, node: Node) -> None:
    """`m + log(sum(exp(x - m)))` with m the maximum, so that nothing overflows."""
    axes = _axes(context, node)
    tensor, order = operand(context, node.input(0))
    if not axes:
        context.bind(node.output(), tensor, order)
        return
    keep = bool(node.integer("keepdims", 1))
    places = tuple(sorted(order.index(axis) for axis in axes))
    # the lowest float stands for a maximum of -inf, from which nothing can be subtracted
    top = apply(context, "MAXIMUM", reduce_tensor(context, "REDUCE_MAX", tensor, places, keep=True), _LOWEST)
    powers = apply(context, "EXP", apply(context, "SUB", tensor, top))
    total = apply(context, "LOG", reduce_tensor(context, "SUM", powers, places, keep=keep))
    kept = order if keep else _left(order, axes)
    top = context.reshape_tensor(top, context.graph.tensors[total].shape)
    context.produce(node.output(), "ADD", [total, top], kept)


def _summed(context: Context, node: Node, tensor: str, order: layout.Order, axes: tuple[int, ...]) -> str:
    places = tuple(sorted(order.index(axis) for axis in axes))
    return reduce_tensor(context, "SUM", tensor, places, keep=bool(node.integer("keepdims", 1)))


def _left(order: layout.Order, axes: tuple[int, ...]) -> layout.Order:
    """The order of the axes that are not reduced."""
    left = sorted(set(order) - set(axes))
    return tuple(left.index(axis) for axis in order if axis not in axes)


def reduce(context: Context, node: Node, builtin: str, axes: tuple[int, ...], *, keep: bool) -> None:
    """Lower to a reduction over these ONNX axes."""
    tensor, order = operand(context, node.input(0))
    places = sorted(order.index(axis) for axis in axes)
    inputs: list[str | None] = [tensor, context.add_constant(np.array(places, np.int32), "axes")]
    context.produce(node.output(), builtin, inputs, order if keep else _left(order, axes), keepDims=keep)
