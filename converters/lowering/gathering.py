"""What reads elements by their places: Gather, GatherElements, GatherND, OneHot."""

from __future__ import annotations

import numpy as np

from converters.lowering import layout
from converters.lowering.context import Context, elements
from converters.lowering.facts import ValueType
from converters.lowering.registry import CARRIED, Node, Refused, lowers
from converters.lowering.writing import apply, operand

_INDICES = ("int32", "int64")


def places(context: Context, name: str, sizes: int | np.ndarray) -> str:
    """Indices in ONNX's order, none of them negative; computed ones by FLOOR_MOD.

    Args:
        sizes: of the axis they point into, or of each of the axes along the last axis of the indices.
    """
    if context.dtype(name) not in _INDICES:
        raise Refused("its indices are no integers", got=context.dtype(name), limit=", ".join(_INDICES))
    constant = context.constant(name)
    if constant is None:
        return apply(context, "FLOOR_MOD", context.logical(name), np.asarray(sizes))
    wrapped = np.where(constant < 0, constant + sizes, constant)
    if ((wrapped < 0) | (wrapped >= sizes)).any():
        raise Refused("an index is out of bounds", got=int(constant.reshape(-1)[0]), limit=np.max(sizes))
    return context.add_constant(wrapped.astype(np.int32), name)


def flat_places(context: Context, indices: str, shape: layout.Shape, axis: int, data: layout.Shape) -> str:
    """Where the elements of GatherElements lie in the flattened data: int32 or int64, one axis.

    Element `[i, j, k]` of indices along axis 1 means data `[i, indices[i, j, k], k]`.
    """
    strides = [elements(data[place + 1 :]) for place in range(len(data))]
    base = np.zeros(shape, np.int64)
    for place, stride in enumerate(strides):
        if place != axis:
            steps = np.arange(shape[place]) * stride
            base += steps.reshape([-1 if at == place else 1 for at in range(len(shape))])
    held = context.graph.tensors[indices]
    base = base.reshape(-1).astype(held.dtype)
    if held.data is not None:
        return context.add_constant(held.data.reshape(-1) * strides[axis] + base, "places")
    flat = context.reshape_tensor(indices, (elements(shape),))
    if strides[axis] != 1:
        flat = apply(context, "MUL", flat, strides[axis])
    return apply(context, "ADD", flat, base) if base.any() else flat


@lowers("Gather", dtypes=CARRIED)
def gather(context: Context, node: Node) -> None:
    """`Gather` is GATHER along the axis as it lies; negative indices are wrapped first."""
    name, indices, output = node.input(0), node.input(1), node.output()
    shape, taken = context.shape(name), context.shape(indices)
    axis = node.integer("axis", 0) % len(shape)
    found = places(context, indices, shape[axis])
    order = context.order(name) or layout.identity(len(shape))
    if len(taken) > 1:
        order = layout.identity(len(shape))
    place = order.index(axis)
    made = order if taken else tuple(a - (a > axis) for a in order if a != axis)
    if len(taken) > 1:
        made = layout.identity(len(context.shape(output)))
    context.produce(output, "GATHER", [context.arrange(name, order), found], made, axis=place)


@lowers("GatherElements", dtypes=CARRIED)
def gather_elements(context: Context, node: Node) -> None:
    """`GatherElements` is GATHER from the flattened data."""
    name, indices, output = node.input(0), node.input(1), node.output()
    data, shape = context.shape(name), context.shape(indices)
    axis = node.integer("axis", 0) % len(data)
    flat = flat_places(context, places(context, indices, data[axis]), shape, axis, data)
    source = context.reshape_tensor(context.logical(name), (elements(data),))
    made = ValueType(context.dtype(output), (elements(shape),))
    found = context.emit("GATHER", [source, flat], made, f"{output}_flat", axis=0)
    context.bind(output, context.reshape_tensor(found, shape, output))


@lowers("GatherND", dtypes=CARRIED)
def gather_nd(context: Context, node: Node) -> None:
    """`GatherND` is GATHER_ND; with batch axes their places are put before the indices."""
    name, indices, output = node.input(0), node.input(1), node.output()
    data, shape = context.shape(name), context.shape(indices)
    batch = node.integer("batch_dims", 0)
    depth = shape[-1]
    found = places(context, indices, np.array(data[batch : batch + depth]))
    if batch:
        grid = np.indices(shape[:-1])[:batch]
        held = context.graph.tensors[found]
        own = context.add_constant(np.moveaxis(grid, 0, -1).astype(held.dtype), "batch")
        made = ValueType(held.dtype, (*shape[:-1], batch + depth))
        found = context.emit("CONCATENATION", [own, found], made, f"{indices}_batched", axis=len(shape) - 1)
    order = layout.identity(len(context.shape(output)))
    context.produce(output, "GATHER_ND", [context.logical(name), found], order)


@lowers("OneHot", dtypes=_INDICES, through={"float32": "int64", "int8": "int32", "uint8": "int32"})
def one_hot(context: Context, node: Node) -> None:
    """`OneHot` is ONE_HOT; an index below zero counts from the end, one beyond either end gives no one."""
    name, values, output = node.input(0), node.input(2), node.output()
    depth = int(context.need_constant(node.input(1), "depth").reshape(()))
    tensor, order = operand(context, name)
    below = apply(context, "LESS", tensor, 0, dtype="bool")
    wrapped = apply(context, "ADD", tensor, depth)
    tensor = apply(context, "SELECT_V2", below, wrapped, tensor, dtype=context.dtype(name))
    rank = len(order) + 1
    axis = node.integer("axis", -1) % rank
    pair = context.constant(values)
    if pair is not None:
        off, on = (context.add_constant(np.array(item, pair.dtype), "value") for item in pair)
    else:
        off, on = (_item(context, values, place) for place in (0, 1))
    made = [a + (a >= axis) for a in order]
    made.insert(axis, axis)
    inputs: list[str | None] = [tensor, context.add_constant(np.array(depth, np.int32), "depth"), on, off]
    context.produce(output, "ONE_HOT", inputs, tuple(made), axis=axis)


def _item(context: Context, name: str, place: int) -> str:
    """An element of a vector, as a scalar."""
    inputs: list[str | None] = [context.tensor(name), context.add_constant(np.array(place, np.int32), "at")]
    return context.emit("GATHER", inputs, ValueType(context.dtype(name), ()), f"{name}_{place}", axis=0)
