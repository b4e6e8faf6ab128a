"""What writes elements at their places: ScatterElements, ScatterND.

TFLite's SCATTER_ND writes into zeros and adds up what meets at one place.
"""

from __future__ import annotations

import numpy as np

from converters.lowering import layout
from converters.lowering.context import Context, elements
from converters.lowering.facts import ValueType
from converters.lowering.gathering import flat_places, places
from converters.lowering.registry import NUMBERS, Node, Refused, lowers
from converters.lowering.writing import apply

_SCATTERED = (*NUMBERS, "int8", "uint8", "bool")
_JOINED = {"mul": "MUL", "max": "MAXIMUM", "min": "MINIMUM"}


@lowers("Scatter", "ScatterElements", dtypes=_SCATTERED, through={"int16": "int32"})
def scatter_elements(context: Context, node: Node) -> None:
    """SCATTER_ND into the flattened data, and SELECT_V2 between it and the data."""
    name, indices, updates = (node.input(place) for place in range(3))
    data, shape = context.shape(name), context.shape(indices)
    axis = node.integer("axis", 0) % len(data)
    _need_distinct_along(context.constant(indices), axis, data[axis], node.text("reduction", "none"))
    found = places(context, indices, data[axis])
    flat = context.cast(flat_places(context, found, shape, axis, data), "int32", "places")
    column = context.reshape_tensor(flat, (elements(shape), 1))
    source = context.reshape_tensor(context.logical(name), (elements(data),))
    given = context.reshape_tensor(context.logical(updates), (elements(shape),))
    result = _scatter(context, node, source, column, given)
    context.bind(node.output(), context.reshape_tensor(result, data))


@lowers("ScatterND", dtypes=_SCATTERED, through={"int16": "int32"})
def scatter_nd(context: Context, node: Node) -> None:
    """SCATTER_ND, and SELECT_V2 between it and the data."""
    name, indices, updates = (node.input(place) for place in range(3))
    data, depth = context.shape(name), context.shape(indices)[-1]
    found = context.cast(places(context, indices, np.array(data[:depth])), "int32", "places")
    result = _scatter(context, node, context.logical(name), found, context.logical(updates))
    context.bind(node.output(), result)


def _scatter(context: Context, node: Node, data: str, indices: str, updates: str) -> str:
    """The data with the updates written at the indices, or joined to what is there."""
    held, reduction = context.graph.tensors[data], node.text("reduction", "none")
    if reduction == "add" and held.dtype != "bool":
        return apply(context, "ADD", data, _written(context, indices, updates, held.shape))
    if reduction in _JOINED and held.dtype != "bool":
        _need_distinct(context, indices, reduction)
        shape = context.graph.tensors[updates].shape
        made = ValueType(held.dtype, shape)
        there = context.emit("GATHER_ND", [data, indices], made, f"{updates}_there")
        updates = apply(context, _JOINED[reduction], there, updates)
    elif reduction != "none":
        raise Refused("it joins its updates in a way that has no lowering", got=reduction)
    elif context.graph.constant(indices) is not None:
        _need_distinct(context, indices, reduction)
    shape = context.graph.tensors[updates].shape
    one = context.add_constant(np.ones(shape, np.int32), "ones")
    hits = _written(context, indices, one, held.shape)
    mask = apply(context, "GREATER", hits, 0, dtype="bool")
    written = _written(context, indices, updates, held.shape)
    return apply(context, "SELECT_V2", mask, written, data, dtype=held.dtype)


def _need_distinct_along(indices: np.ndarray | None, axis: int, size: int, reduction: str) -> None:
    """Refuse constant indices of which two are the same on a line along the axis."""
    if indices is not None and reduction != "add":
        lines = np.sort(np.where(indices < 0, indices + size, indices), axis)
        if (np.diff(lines, axis=axis) == 0).any():
            raise Refused("two of its updates meet at one place", got=reduction, limit="add")


def _need_distinct(context: Context, indices: str, reduction: str) -> None:
    """Refuse what meets at one place: the result would depend on the order, or be summed."""
    known = context.graph.constant(indices)
    if known is None:
        raise Refused(f"its indices must be constant where it joins by {reduction}", got="computed")
    rows = known.reshape(-1, known.shape[-1])
    if len(np.unique(rows, axis=0)) != len(rows):
        raise Refused("two of its updates meet at one place", got=reduction, limit="add")


def _written(context: Context, indices: str, updates: str, shape: layout.Shape) -> str:
    dtype = context.graph.tensors[updates].dtype
    inputs: list[str | None] = [indices, updates, context.add_constant(np.array(shape, np.int32), "shape")]
    return context.emit("SCATTER_ND", inputs, ValueType(dtype, shape), f"{updates}_written")
