"""Operators of one varying tensor that no integer kernel computes: looked up in a table of all its values.

`y = f(x)` for the 256 values of int8, or the 65,536 of int16, is a constant; CAST, ADD and GATHER, integer in
every runtime, find a value's place in it: `table[x + 128]`. So it is as exact as the output's steps. A table
of int16 takes 128 KiB of the file; equal tables are stored once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from converters.quantize import parameters
from converters.quantize.rules.base import DTYPES

if TYPE_CHECKING:
    from converters.graph.ir import Graph, GraphOperator
    from converters.quantize.expansion import Expansion
    from converters.quantize.rules.base import Expand

    # float64 values and the operator's options -> float64 values of the same shape
    Unary = Callable[[np.ndarray, Mapping[str, Any]], np.ndarray]
    # both operands, broadcast, one of them a constant, and the options
    Binary = Callable[[np.ndarray, np.ndarray, Mapping[str, Any]], np.ndarray]

MOST_ENTRIES = (
    1 << 16
)  # of a table for int8 whose constant operand has several values; one of int16 has as many


def unary(function: Unary) -> Expand:
    """The expansion of an operator of one tensor."""

    def expand(expansion: Expansion) -> None:
        source = _name(expansion, 0)
        values = function(_values(expansion, source)[None], expansion.operator.options)
        _look_up(expansion, source, values, ())

    return expand


def binary(function: Binary) -> Expand:
    """The expansion of an operator of two tensors one of which is a constant (see `one_constant`).

    Where the constant has several values, each has a table of its own, one after the other, and the place in
    the first one is moved by the constant's own index.
    """

    def expand(expansion: Expansion) -> None:
        place = 0 if _constant(expansion.building.source, expansion.operator, 1) is not None else 1
        source = _name(expansion, place)
        held = _constant(expansion.building.source, expansion.operator, 1 - place)
        if held is None:
            raise ValueError(f"{expansion.operator.type} of two activations has no table")
        values = _values(expansion, source)[None]
        constant = held.astype(np.float64).reshape(-1, 1)
        pair = (values, constant) if place == 0 else (constant, values)
        found = function(*np.broadcast_arrays(*pair), expansion.operator.options)
        _look_up(expansion, source, found, held.shape if held.size > 1 else ())

    return expand


def one_constant(graph: Graph, operator: GraphOperator, precision: str) -> str | None:
    """Why an operator of two tensors cannot be looked up; None where it can."""
    held = [constant for place in (0, 1) if (constant := _constant(graph, operator, place)) is not None]
    if len(held) != 1:
        return "it has no integer kernel, and a table of it needs one constant operand"
    entries = 1 << np.iinfo(DTYPES[precision]).bits
    if held[0].size > 1 and held[0].size * entries > MOST_ENTRIES:
        return f"it has no integer kernel, and a table for each of {held[0].size} constants is too large"
    return None


def _look_up(expansion: Expansion, source: str, values: np.ndarray, shape: tuple[int, ...]) -> None:
    """The output as entries of tables.

    Args:
        expansion: of the operator.
        source: its varying input.
        values: float64[tables, entries], what the operator makes of each value of the input's dtype. What it
            makes nothing of (NaN) is 0.
        shape: of the constant that the tables are for, () where there is but one.
    """
    made = expansion.outputs[0]
    limits = np.iinfo(expansion.dtype(source))
    quantization = expansion.quantization(made)
    whole = np.nan_to_num(values, nan=0.0, posinf=np.finfo(np.float64).max, neginf=np.finfo(np.float64).min)
    entries = parameters.rounded(whole, quantization, expansion.dtype(made)).reshape(-1)
    table = expansion.constant("table", entries, quantization)
    offsets = np.arange(len(values), dtype=np.int32) * values.shape[1] - int(limits.min)
    offset = expansion.constant("offset", offsets.reshape(shape))
    places = expansion.shape(source)
    cast = expansion.tensor("value", places, "int32")
    expansion.add("CAST", [source], [cast], inDataType=limits.dtype.name.upper(), outDataType="INT32")
    index = expansion.tensor("place", expansion.shape(made), "int32")
    expansion.add("ADD", [cast, offset], [index])
    expansion.add("GATHER", [table, index], [made], axis=0)


def _values(expansion: Expansion, source: str) -> np.ndarray:
    """What the integers of a tensor's dtype stand for, from the least: float64[256] or [65536]."""
    limits, quantization = np.iinfo(expansion.dtype(source)), expansion.quantization(source)
    steps = np.arange(int(limits.min), int(limits.max) + 1, dtype=np.float64)
    return (steps - quantization.zero_point[0]) * quantization.scale[0]


def _name(expansion: Expansion, place: int) -> str:
    name = expansion.inputs[place]
    if name is None:
        raise ValueError(f"{expansion.operator.type} without input {place}")
    return name


def _constant(graph: Graph, operator: GraphOperator, place: int) -> np.ndarray | None:
    return graph.constant(operator.inputs[place]) if place < len(operator.inputs) else None
