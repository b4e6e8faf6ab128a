"""Formulas as chains of operators: what the composed lowerings are written in."""

from __future__ import annotations

from typing import Any

import numpy as np

from converters.lowering import layout
from converters.lowering.context import Context
from converters.lowering.facts import ValueType
from converters.lowering.layout import Order

Operand = str | float | np.ndarray


def operand(context: Context, name: str) -> tuple[str, Order]:
    """The tensor that holds a value, as it lies, and its order."""
    order = context.order(name) or layout.identity(len(context.shape(name)))
    return context.arrange(name, order), order


def apply(
    context: Context, builtin: str, *operands: Operand, dtype: str | None = None, **options: Any
) -> str:
    """Add an operator whose operands broadcast, and give its tensor.

    Args:
        operands: tensors, at least one; numbers and arrays become constants of the first one's dtype.
        dtype: of the result, where it is not that of the first tensor.
        options: of the builtin.
    """
    first = next(item for item in operands if isinstance(item, str))
    held = context.graph.tensors[first]
    inputs: list[str | None] = [
        item if isinstance(item, str) else context.add_constant(np.asarray(item, held.dtype), "constant")
        for item in operands
    ]
    shapes = [context.graph.tensors[name].shape for name in inputs if name is not None]
    made = ValueType(dtype or held.dtype, np.broadcast_shapes(*shapes))
    return context.emit(builtin, inputs, made, f"{first}_{builtin.lower()}", **options)


def reduce_tensor(context: Context, builtin: str, tensor: str, axes: tuple[int, ...], *, keep: bool) -> str:
    """Add a reduction over these axes of a tensor."""
    held = context.graph.tensors[tensor]
    kept = tuple(1 if axis in axes else size for axis, size in enumerate(held.shape))
    left = tuple(size for axis, size in enumerate(held.shape) if axis not in axes)
    made = ValueType(held.dtype, kept if keep else left)
    inputs: list[str | None] = [tensor, context.add_constant(np.array(axes, np.int32), "axes")]
    return context.emit(builtin, inputs, made, f"{tensor}_{builtin.lower()}", keepDims=keep)
