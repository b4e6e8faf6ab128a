"""What ranks elements: ArgMax and ArgMin, TopK, Hardmax."""

from __future__ import annotations

import math

import numpy as np

from converters.lowering import layout
from converters.lowering.context import Context
from converters.lowering.facts import ValueType
from converters.lowering.registry import FLOAT, NUMBERS, Node, lowers
from converters.lowering.writing import apply, operand

_RANKED = ("float32", "int32", "int8", "uint8")


@lowers("ArgMax", "ArgMin", dtypes=_RANKED, through={"int16": "int32"})
def arg(context: Context, node: Node) -> None:
    """ARG_MAX and ARG_MIN, which give the first of several; the last one by REVERSE_V2 before them."""
    builtin = {"ArgMax": "ARG_MAX", "ArgMin": "ARG_MIN"}[node.type]
    name, output = node.input(0), node.output()
    tensor, order = operand(context, name)
    axis = node.integer("axis", 0) % len(order)
    place = order.index(axis)
    shape = context.graph.tensors[tensor].shape
    last = bool(node.integer("select_last_index", 0))
    if last:
        tensor = context.emit(
            "REVERSE_V2",
            [tensor, context.add_constant(np.array([place], np.int32), "axes")],
            ValueType(context.dtype(name), shape),
            f"{output}_reversed",
        )
    left = (*shape[:place], *shape[place + 1 :])
    inputs: list[str | None] = [tensor, context.add_constant(np.array(place, np.int32), "axis")]
    found = context.emit(builtin, inputs, ValueType("int64", left), output, outputType="INT64")
    if last:
        end = context.add_constant(np.array(shape[place] - 1, np.int64), "end")
        found = apply(context, "SUB", end, found)
    if node.integer("keepdims", 1):
        kept = (*shape[:place], 1, *shape[place + 1 :])
        context.bind(output, context.reshape_tensor(found, kept, output), order)
    else:
        context.bind(output, found, tuple(a - (a > axis) for a in order if a != axis))


@lowers("TopK", dtypes=NUMBERS, through={"int8": "int32", "uint8": "int32", "int16": "int32"})
def top_k(context: Context, node: Node) -> None:
    """TOPK_V2 along the last axis; the smallest by turning the values over before and after it."""
    name, rank = node.input(0), len(context.shape(node.input(0)))
    axis = node.integer("axis", -1) % rank
    order = context.order(name) or layout.identity(rank)
    if order[-1] != axis:
        order = (*(a for a in order if a != axis), axis)
    tensor = context.arrange(name, order)
    smallest = not node.integer("largest", 1)
    if smallest:
        tensor = _turned(context, tensor)
    count = node.attributes.get("k") if node.opset < 10 else None
    if count is None:
        count = int(context.need_constant(node.input(1), "K").reshape(()))
    values, indices = (*node.outputs, None)[:2]
    made = (*layout.physical(context.shape(name), order)[:-1], int(count))
    dtype = context.graph.tensors[tensor].dtype
    inputs: list[str | None] = [tensor, context.add_constant(np.array(count, np.int32), "k")]
    types = [ValueType(dtype, made), ValueType("int32", made)]
    hints = [values or f"{name}_top", indices or f"{name}_places"]
    top, places = context.emit_many("TOPK_V2", inputs, types, hints)
    if values is not None:
        context.bind(values, _turned(context, top) if smallest else top, order)
    if indices is not None:
        context.bind(indices, context.cast(places, "int64", indices), order)


def _turned(context: Context, tensor: str) -> str:
    """The values in reverse order of size: `-x`, of integers `-1 - x`, which always fits."""
    dtype = context.graph.tensors[tensor].dtype
    if dtype in FLOAT:
        return apply(context, "NEG", tensor)
    return apply(context, "SUB", context.add_constant(np.array(-1, dtype), "ones"), tensor)


@lowers("Hardmax")
def hardmax(context: Context, node: Node) -> None:
    """`Hardmax` is ONE_HOT of ARG_MAX; before operator set 13 over all axes from `axis` on."""
    name, output = node.input(0), node.output()
    shape = context.shape(name)
    axis = node.integer("axis", -1 if node.opset >= 13 else 1) % max(len(shape), 1)
    if node.opset < 13 and math.prod(shape[axis + 1 :]) > 1:
        flat = (math.prod(shape[:axis]), math.prod(shape[axis:]))
        tensor = context.reshape_tensor(context.logical(name), flat)
        context.bind(output, context.reshape_tensor(_one_hot(context, tensor, 1), shape, output))
        return
    tensor, order = operand(context, name)
    context.bind(output, _one_hot(context, tensor, order.index(axis)), order)


def _one_hot(context: Context, tensor: str, place: int) -> str:
    held = context.graph.tensors[tensor]
    left = (*held.shape[:place], *held.shape[place + 1 :])
    axis = context.add_constant(np.array(place, np.int32), "axis")
    best = context.emit("ARG_MAX", [tensor, axis], ValueType("int32", left), "best", outputType="INT32")
    inputs: list[str | None] = [
        best,
        context.add_constant(np.array(held.shape[place], np.int32), "depth"),
        context.add_constant(np.array(1, np.float32), "on"),
        context.add_constant(np.array(0, np.float32), "off"),
    ]
    return context.emit("ONE_HOT", inputs, ValueType("float32", held.shape), "one_hot", axis=place)
