"""Formulas over tensors: what a lowering writes when an operator becomes several.

An operand is a tensor of the graph by name, or a NumPy array, which is a constant that is in no tensor yet.
What has only constants for operands is computed here and makes no operator.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from attrs import field, frozen

from converters.graph.dtypes import schema_name
from converters.lowering import layout
from converters.lowering.context import Context
from converters.lowering.facts import ValueType
from converters.lowering.layout import Order, Shape
from converters.lowering.registry import Refused

Operand = str | np.ndarray

_MAX_TRANSPOSED = 6  # axes

_BINARY: dict[str, Callable[[Any, Any], np.ndarray]] = {
    "ADD": np.add,
    "DIV": np.divide,
    "GREATER": np.greater,
    "GREATER_EQUAL": np.greater_equal,
    "EQUAL": np.equal,
    "LESS": np.less,
    "LESS_EQUAL": np.less_equal,
    "LOGICAL_AND": np.logical_and,
    "LOGICAL_OR": np.logical_or,
    "MAXIMUM": np.maximum,
    "MINIMUM": np.minimum,
    "MUL": np.multiply,
    "POW": np.power,
    "SUB": np.subtract,
}
_TRUTHS = frozenset(("EQUAL", "GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL"))
_UNARY: dict[str, Callable[[Any], Any]] = {
    "ABS": np.abs,
    "EXP": np.exp,
    "FLOOR": np.floor,
    "LOG": np.log,
    "LOGICAL_NOT": np.logical_not,
    "NEG": np.negative,
    "ROUND": np.rint,
    "RSQRT": lambda x: 1 / np.sqrt(x),
    "SQRT": np.sqrt,
    "TANH": np.tanh,
}
_REDUCTIONS: dict[str, Callable[..., np.ndarray]] = {
    "MEAN": np.mean,
    "REDUCE_MAX": np.max,
    "REDUCE_MIN": np.min,
    "SUM": np.sum,
}


@frozen
class Formula:
    """Writes operators one after another; every method gives the operand that holds its result.

    Shapes are those of the tensors as they lie. `hint` names the tensors made.
    """

    context: Context
    hint: str
    _made: dict[int, tuple[np.ndarray, str]] = field(factory=dict, init=False)

    def value(self, name: str) -> Operand:
        """An ONNX value in ONNX's order of axes."""
        constant = self.context.constant(name)
        return constant if constant is not None else self.context.logical(name)

    def shape(self, operand: Operand) -> Shape:
        """The shape of an operand."""
        return operand.shape if isinstance(operand, np.ndarray) else self._held(operand).shape

    def dtype(self, operand: Operand) -> str:
        """The dtype of an operand, by NumPy's name."""
        return operand.dtype.name if isinstance(operand, np.ndarray) else self._held(operand).dtype

    def tensor(self, operand: Operand) -> str:
        """The operand as a tensor of the graph."""
        if not isinstance(operand, np.ndarray):
            return operand
        if id(operand) not in self._made:
            name = self.context.add_constant(operand, f"{self.hint}_constant")
            self._made[id(operand)] = (operand, name)  # the array is kept, so that its id stays its own
        return self._made[id(operand)][1]

    def give(self, name: str, operand: Operand, order: Order | None = None) -> None:
        """Say that the operand is the ONNX value `name`.

        Raises:
            Refused: it has another shape or dtype than the value has.
        """
        known = self.context.type(name)
        order = order or layout.identity(len(known.shape))
        shape = layout.physical(known.shape, order)
        if self.shape(operand) != shape or self.dtype(operand) != known.dtype:
            raise Refused(
                "its attributes and inputs do not fit together",
                got=f"{self.dtype(operand)}{list(self.shape(operand))}",
                limit=f"{known.dtype}{list(shape)}",
            )
        self.context.bind(name, self.tensor(operand), order)

    # --- on each element

    def binary(self, builtin: str, left: Operand, right: Operand | float, **options: Any) -> Operand:
        """An operator of two operands that broadcast; a number takes the other one's dtype."""
        if not isinstance(right, str | np.ndarray):
            right = np.array(right, self.dtype(left))
        if isinstance(left, np.ndarray) and isinstance(right, np.ndarray) and not options:
            with np.errstate(all="ignore"):
                return np.asarray(_BINARY[builtin](left, right))
        shape = np.broadcast_shapes(self.shape(left), self.shape(right))
        dtype = "bool" if builtin in _TRUTHS else self.dtype(left)
        return self.emit(builtin, [left, right], dtype, shape, **options)

    def add(self, left: Operand, right: Operand | float) -> Operand:
        """The sum."""
        return self.binary("ADD", left, right)

    def sub(self, left: Operand, right: Operand | float) -> Operand:
        """The difference."""
        return self.binary("SUB", left, right)

    def mul(self, left: Operand, right: Operand | float) -> Operand:
        """The product of each two elements."""
        return self.binary("MUL", left, right)

    def unary(self, builtin: str, operand: Operand) -> Operand:
        """An operator of one operand that keeps shape and dtype."""
        if isinstance(operand, np.ndarray):
            with np.errstate(all="ignore"):
                return np.asarray(_UNARY[builtin](operand))
        return self.emit(builtin, [operand], self.dtype(operand), self.shape(operand))

    def cast(self, operand: Operand, dtype: str) -> Operand:
        """The operand in another dtype."""
        held = self.dtype(operand)
        if held == dtype:
            return operand
        if isinstance(operand, np.ndarray):
            return operand.astype(dtype)
        types = {"inDataType": schema_name(held), "outDataType": schema_name(dtype)}
        return self.emit("CAST", [operand], dtype, self.shape(operand), **types)

    def select(self, truth: Operand, left: Operand, right: Operand) -> Operand:
        """`left` where the truth is, else `right`; all broadcast."""
        operands = (truth, left, right)
        if all(isinstance(operand, np.ndarray) for operand in operands):
            return np.where(truth, left, right)
        shape = np.broadcast_shapes(*(self.shape(operand) for operand in operands))
        return self.emit("SELECT_V2", list(operands), self.dtype(left), shape)

    # --- over axes

    def reduce(self, builtin: str, operand: Operand, axes: Sequence[int], *, keep: bool = True) -> Operand:
        """A reduction over these axes."""
        axes = tuple(axis % len(self.shape(operand)) for axis in axes)
        if isinstance(operand, np.ndarray):
            return np.asarray(_REDUCTIONS[builtin](operand, axis=axes, keepdims=keep), operand.dtype)
        sizes = enumerate(self.shape(operand))
        shape = tuple(1 if a in axes else n for a, n in sizes if keep or a not in axes)
        places = np.array(sorted(axes), np.int32)
        return self.emit(builtin, [operand, places], self.dtype(operand), shape, keepDims=keep)

    def softmax(self, operand: Operand) -> Operand:
        """Softmax over the last axis."""
        return self.emit("SOFTMAX", [operand], self.dtype(operand), self.shape(operand), beta=1.0)

    def matmul(
        self, left: Operand, right: Operand, *, adjoint_left: bool = False, adjoint_right: bool = False
    ) -> Operand:
        """The product of matrices in the last two axes; by a constant matrix it is FULLY_CONNECTED."""
        shapes = [self.shape(left), self.shape(right)]
        for place, turned in enumerate((adjoint_left, adjoint_right)):
            if turned:
                shapes[place] = (*shapes[place][:-2], shapes[place][-1], shapes[place][-2])
        if isinstance(left, np.ndarray) and isinstance(right, np.ndarray):
            turned_left = np.swapaxes(left, -1, -2) if adjoint_left else left
            turned_right = np.swapaxes(right, -1, -2) if adjoint_right else right
            product: np.ndarray = np.matmul(turned_left, turned_right)
            return product
        batch = np.broadcast_shapes(shapes[0][:-2], shapes[1][:-2])
        shape = (*batch, shapes[0][-2], shapes[1][-1])
        dtype = self.dtype(left)
        if isinstance(right, np.ndarray) and right.ndim == 2 and not adjoint_left:
            weights = right if adjoint_right else right.T
            return self.emit(
                "FULLY_CONNECTED", [left, weights, None], dtype, shape, keepNumDims=len(shape) > 2
            )
        return self.emit("BATCH_MATMUL", [left, right], dtype, shape, adjX=adjoint_left, adjY=adjoint_right)

    def along(self, operand: Operand, axis: int, matrix: Operand) -> Operand:
        """The operand times a matrix [out, in] along one axis, the others as they lie."""
        held = self.shape(operand)
        axis %= len(held)
        out, size = self.shape(matrix)
        before, after = math.prod(held[:axis]), math.prod(held[axis + 1 :])
        if after == 1:
            made = self.matmul(self.reshape(operand, (before, size)), matrix, adjoint_right=True)
        else:
            made = self.matmul(matrix, self.reshape(operand, (before, size, after)))
        return self.reshape(made, (*held[:axis], out, *held[axis + 1 :]))

    # --- that move elements

    def reshape(self, operand: Operand, shape: Shape) -> Operand:
        """The operand with another shape."""
        if isinstance(operand, np.ndarray):
            return operand.reshape(shape)
        if math.prod(shape) != math.prod(self.shape(operand)):
            raise ValueError(f"{list(self.shape(operand))} as {list(shape)}")
        return self.context.reshape_tensor(operand, shape)

    def transpose(self, operand: Operand, perm: Sequence[int]) -> Operand:
        """The operand with its axes in another order; a RESHAPE where only axes of size 1 move."""
        if isinstance(operand, np.ndarray):
            return np.transpose(operand, perm)
        held = self.shape(operand)
        shape = tuple(held[axis] for axis in perm)
        if layout.moved(held, tuple(perm)) == layout.moved(held, layout.identity(len(held))):
            return self.context.reshape_tensor(operand, shape)
        if len(perm) > _MAX_TRANSPOSED:
            raise Refused("it transposes too many axes", got=len(perm), limit=_MAX_TRANSPOSED)
        return self.emit("TRANSPOSE", [operand, np.array(perm, np.int32)], self.dtype(operand), shape)

    def slice(self, operand: Operand, begin: Sequence[int], size: Sequence[int]) -> Operand:
        """The part of the operand that begins there."""
        if tuple(size) == self.shape(operand):
            return operand
        if isinstance(operand, np.ndarray):
            return operand[tuple(slice(b, b + n) for b, n in zip(begin, size, strict=True))]
        inputs: list[Operand | None] = [operand, np.array(begin, np.int32), np.array(size, np.int32)]
        return self.emit("SLICE", inputs, self.dtype(operand), tuple(size))

    def part(self, operand: Operand, axis: int, begin: int, size: int) -> Operand:
        """`size` elements from `begin` on along one axis."""
        held = self.shape(operand)
        axis %= len(held)
        return self.slice(
            operand,
            [begin if a == axis else 0 for a in range(len(held))],
            [size if a == axis else n for a, n in enumerate(held)],
        )

    def concat(self, operands: Sequence[Operand], axis: int) -> Operand:
        """The operands one after another along an axis."""
        if len(operands) == 1:
            return operands[0]
        if all(isinstance(operand, np.ndarray) for operand in operands):
            return np.concatenate(operands, axis)
        shapes = [self.shape(operand) for operand in operands]
        axis %= len(shapes[0])
        joined = sum(shape[axis] for shape in shapes)
        shape = tuple(joined if a == axis else n for a, n in enumerate(shapes[0]))
        return self.emit("CONCATENATION", list(operands), self.dtype(operands[0]), shape, axis=axis)

    def gather(self, operand: Operand, places: Operand, axis: int = 0) -> Operand:
        """The elements at these places (integers, at least 0) of one axis."""
        if isinstance(operand, np.ndarray) and isinstance(places, np.ndarray):
            return np.take(operand, places, axis)
        held = self.shape(operand)
        axis %= len(held)
        shape = (*held[:axis], *self.shape(places), *held[axis + 1 :])
        return self.emit("GATHER", [operand, places], self.dtype(operand), shape, axis=axis)

    def broadcast(self, operand: Operand, shape: Shape) -> Operand:
        """The operand repeated up to this shape."""
        if self.shape(operand) == shape:
            return operand
        if isinstance(operand, np.ndarray):
            return np.broadcast_to(operand, shape)
        return self.emit("BROADCAST_TO", [operand, np.array(shape, np.int32)], self.dtype(operand), shape)

    def pad(self, operand: Operand, amounts: Sequence[tuple[int, int]], value: float = 0) -> Operand:
        """The operand with elements of this value before and after each axis."""
        if not any(map(any, amounts)):
            return operand
        if isinstance(operand, np.ndarray):
            return np.pad(operand, amounts, constant_values=value)
        held = self.shape(operand)
        shape = tuple(n + before + after for n, (before, after) in zip(held, amounts, strict=True))
        inputs: list[Operand | None] = [operand, np.array(amounts, np.int32)]
        if value:
            inputs.append(np.array(value, self.dtype(operand)))
        return self.emit("PADV2" if value else "PAD", inputs, self.dtype(operand), shape)

    def emit(
        self, builtin: str, operands: Sequence[Operand | None], dtype: str, shape: Shape, **options: Any
    ) -> str:
        """Any operator of one output."""
        inputs = [None if operand is None else self.tensor(operand) for operand in operands]
        hint = f"{self.hint}_{builtin.lower()}"
        return self.context.emit(builtin, inputs, ValueType(dtype, tuple(shape)), hint, **options)

    def _held(self, tensor: str) -> Any:
        return self.context.graph.tensors[tensor]
