"""Operators of one varying tensor that no integer kernel computes: looked up in a table of all its values.

`y = f(x)` for the 256 values of int8, or the 65,536 of int16, is a constant; CAST, ADD and GATHER, integer in
every runtime, find a value's place in it: `table[x + 128]`. So it is as exact as the output's steps. A table
of int16 takes 128 KiB of the file; equal tables are stored once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from converters.quantize.integer import parameters
from converters.quantize.integer.rules import making
from converters.quantize.integer.rules.base import DTYPES

if TYPE_CHECKING:
    from converters.graph.ir import Graph, GraphOperator
    from converters.quantize.integer.expansion import Expansion
    from converters.quantize.integer.rules.base import Expand

    # float64 values and the operator's options -> float64 values of the same shape
    Unary = Callable[[np.ndarray, Mapping[str, Any]], np.ndarray]
    # both operands, broadcast, one of them a constant, and the options
    Binary = Callable[[np.ndarray, np.ndarray, Mapping[str, Any]], np.ndarray]

INFINITE = 1e30  # past every range
MOST_ENTRIES = 1 << 16  # of the tables for a constant of several values: one of int16 has as many


def unary(function: Unary) -> Expand:
    """The expansion of an operator of one tensor."""

    def expand(expansion: Expansion) -> None:
        look_up(expansion, _name(expansion, 0), expansion.outputs[0], function)

    return expand


def curve(expansion: Expansion) -> None:
    """The function that a CURVE has among its options."""
    look_up(expansion, _name(expansion, 0), expansion.outputs[0], expansion.operator.options["function"])


def look_up(expansion: Expansion, source: str, made: str, function: Unary) -> None:
    """One tensor as the function of another, both of them quantised."""
    values = function(_values(expansion, source)[None], expansion.operator.options)
    _gathered(expansion, source, made, values, ())


def binary(function: Binary) -> Expand:
    """The expansion of an operator of two tensors (see `binary_table`).

    Where one of them is a constant of several values, each of these has a table of its own, one after the
    other, and the place in the first one is moved by the constant's own index. Two activations of int8 have
    one table of all pairs.
    """

    def expand(expansion: Expansion) -> None:
        held = [_constant(expansion.building.source, expansion.operator, place) for place in (0, 1)]
        if all(constant is None for constant in held):
            _paired(expansion, function)
            return
        place = 0 if held[1] is not None else 1
        source = _name(expansion, place)
        fixed = np.asarray(held[1 - place])
        if expansion.shape(source) == expansion.shape(expansion.outputs[0]):
            fixed = _single(fixed)
        values = _values(expansion, source)[None]
        constant = fixed.astype(np.float64).reshape(-1, 1)
        first, second = (values, constant) if place == 0 else (constant, values)
        left, right = np.broadcast_arrays(first, second)
        found = function(left, right, expansion.operator.options)
        shape = fixed.shape if fixed.size > 1 else ()
        _gathered(expansion, source, expansion.outputs[0], found, shape)

    return expand


def binary_table(graph: Graph, operator: GraphOperator, precision: str) -> str | None:
    """Why an operator of two tensors cannot be looked up; None where it can."""
    held = [constant for place in (0, 1) if (constant := _constant(graph, operator, place)) is not None]
    if not held:
        pairs = "it has no integer kernel, and a table of all pairs of int16 is too large"
        return None if DTYPES[precision] == "int8" else pairs
    varying = [
        name for place, name in enumerate(operator.inputs) if _constant(graph, operator, place) is None
    ]
    entries = 1 << np.iinfo(DTYPES[precision]).bits
    size = held[0].size
    if graph.tensors[operator.outputs[0]].shape in {graph.tensors[name or ""].shape for name in varying}:
        size = _single(held[0]).size
    if size > 1 and size * entries > MOST_ENTRIES:
        return f"it has no integer kernel, and a table for each of {size} constants is too large"
    return None


def _paired(expansion: Expansion, function: Binary) -> None:
    """The output as entries of a table of all pairs of int8: [256, 256]."""
    first, second = (_name(expansion, place) for place in (0, 1))
    made = expansion.outputs[0]
    rows, columns = np.meshgrid(_values(expansion, first), _values(expansion, second), indexing="ij")
    values = function(rows, columns, expansion.operator.options)
    quantization = expansion.building.tensors[made].quantization
    table = expansion.constant("table", _entries(expansion, made, values), quantization)
    row, column = (making.widened(expansion, place, None) for place in (0, 1))
    moved = expansion.tensor("row", expansion.shape(first), "int32")
    expansion.add("MUL", [row, making.integer(expansion, "width", values.shape[1])], [moved])
    sum_of = expansion.tensor("sum", expansion.shape(made), "int32")
    expansion.add("ADD", [moved, column], [sum_of])
    index = expansion.tensor("place", expansion.shape(made), "int32")
    half = values.shape[0] // 2
    expansion.add(
        "ADD", [sum_of, making.integer(expansion, "offset", half * values.shape[1] + half)], [index]
    )
    expansion.add("GATHER", [table, index], [made], axis=0)


def _gathered(
    expansion: Expansion, source: str, made: str, values: np.ndarray, shape: tuple[int, ...]
) -> None:
    """A tensor as entries of tables.

    Args:
        expansion: of the operator.
        source: what is looked up.
        made: what is found.
        values: float64[tables, entries], what the operator makes of each value of the input's dtype. What it
            makes nothing of (NaN) is 0.
        shape: of the constant that the tables are for, () where there is but one.
    """
    limits = np.iinfo(expansion.dtype(source))
    quantization = expansion.building.tensors[made].quantization
    table = expansion.constant("table", _entries(expansion, made, values), quantization)
    offsets = np.arange(len(values), dtype=np.int32) * values.shape[1] - int(limits.min)
    offset = expansion.constant("offset", offsets.reshape(shape))
    places = expansion.shape(source)
    cast = expansion.tensor("value", places, "int32")
    making.cast(expansion, source, cast)
    index = expansion.tensor("place", expansion.shape(made), "int32")
    expansion.add("ADD", [cast, offset], [index])
    expansion.add("GATHER", [table, index], [made], axis=0)


def _entries(expansion: Expansion, made: str, values: np.ndarray) -> np.ndarray:
    """Values in the dtype of what is found, saturated: its nearest steps; toward 0 where it has none."""
    dtype = expansion.dtype(made)
    if dtype == "bool":
        return np.asarray(values != 0).reshape(-1)
    limits = np.iinfo(dtype)
    whole = np.nan_to_num(values, nan=0.0, posinf=INFINITE, neginf=-INFINITE)
    if expansion.building.tensors[made].quantization is None:
        return np.asarray(np.clip(np.trunc(whole), limits.min, limits.max), dtype).reshape(-1)
    return parameters.rounded(whole, expansion.quantization(made), dtype).reshape(-1)


def _values(expansion: Expansion, source: str) -> np.ndarray:
    """What the integers of a tensor's dtype stand for, from the least: float64[256] or [65536].

    They are numbers of float32, as float operators see them: next to a step of FLOOR that decides.
    """
    limits, quantization = np.iinfo(expansion.dtype(source)), expansion.quantization(source)
    steps = np.arange(int(limits.min), int(limits.max) + 1, dtype=np.float64)
    real = (steps - quantization.zero_point[0]) * quantization.scale[0]
    return real.astype(np.float32).astype(np.float64)


def _single(held: np.ndarray) -> np.ndarray:
    """A constant of the same value throughout as that value, any other as it is."""
    return held.reshape(-1)[:1] if held.size and (held == held.flat[0]).all() else held


def _name(expansion: Expansion, place: int) -> str:
    name = expansion.inputs[place]
    if name is None:
        raise ValueError(f"{expansion.operator.type} without input {place}")
    return name


def _constant(graph: Graph, operator: GraphOperator, place: int) -> np.ndarray | None:
    """The value of an operand; of one that is filled with a value, that value."""
    name = operator.inputs[place] if place < len(operator.inputs) else None
    held = graph.constant(name)
    if held is None and name is not None:
        producer = graph.producer(name)
        if producer is not None and producer.type == "FILL":
            return graph.constant(producer.inputs[1])
    return held
