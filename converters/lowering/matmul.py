"""Gemm and MatMul: FULLY_CONNECTED by a constant, else BATCH_MATMUL."""

from __future__ import annotations

import math

import numpy as np

from converters.lowering import layout
from converters.lowering.context import Context
from converters.lowering.facts import ValueType
from converters.lowering.formula import Formula
from converters.lowering.registry import NUMBERS, Node, Refused, lowers

_MAX_PRODUCTS = 1 << 24  # elements of a tensor of its own


@lowers("MatMul", dtypes=NUMBERS)
def matmul(context: Context, node: Node) -> None:
    """`MatMul` by a constant matrix is FULLY_CONNECTED; a vector is a matrix of one row or column.

    Integers are multiplied one by one and summed, which is as exact as they are.
    """
    left, right, output = node.input(0), node.input(1), node.output()
    weights = context.constant(right)
    floating = context.dtype(left) == "float32"
    if floating and weights is not None and weights.ndim == 2 and context.constant(left) is None:
        _fully_connected(context, left, weights.T, right, None, output)
        return
    if not floating or min(len(context.shape(left)), len(context.shape(right))) < 2:
        _of_any_rank(context, left, right, output)
        return
    (x, adjoint_x), (y, adjoint_y) = _matrix(context, left), _matrix(context, right)
    order = layout.identity(len(context.shape(output)))
    context.produce(output, "BATCH_MATMUL", [x, y], order, adjX=adjoint_x, adjY=adjoint_y)


def _of_any_rank(context: Context, left: str, right: str, output: str) -> None:
    formula = Formula(context, output)
    x, y = formula.value(left), formula.value(right)
    if len(formula.shape(x)) == len(formula.shape(y)) == 1:
        formula.give(output, formula.reduce("SUM", formula.mul(x, y), [0], keep=False))
        return
    if len(formula.shape(x)) == 1:
        x = formula.reshape(x, (1, *formula.shape(x)))
    if len(formula.shape(y)) == 1:
        y = formula.reshape(y, (*formula.shape(y), 1))
    if formula.dtype(x) == "float32":
        made = formula.matmul(x, y)
    else:
        (*_, m, k), (*_, n) = formula.shape(x), formula.shape(y)
        products = m * n * k * math.prod(np.broadcast_shapes(formula.shape(x)[:-2], formula.shape(y)[:-2]))
        if products > _MAX_PRODUCTS:
            raise Refused("its integer products are too many", got=products, limit=_MAX_PRODUCTS)
        x = formula.reshape(x, (*formula.shape(x), 1))
        y = formula.reshape(y, (*formula.shape(y)[:-2], 1, *formula.shape(y)[-2:]))
        made = formula.reduce("SUM", formula.mul(x, y), [-2], keep=False)
    formula.give(output, formula.reshape(made, context.shape(output)))


@lowers("Gemm")
def gemm(context: Context, node: Node) -> None:
    """`alpha A' B' + beta C`: by a constant B it is FULLY_CONNECTED, with C as its bias where it can be."""
    left, right, output = node.input(0), node.input(1), node.output()
    alpha, beta = node.number("alpha", 1.0), node.number("beta", 1.0)
    added, shape = node.optional(2), context.shape(output)
    weights, offset = context.constant(right), context.constant(added)
    if node.integer("transA", 0):
        left = context.transposed(left, (1, 0))
    bias = None
    if offset is not None and (offset.size == 1 or offset.shape[-1] == offset.size == shape[1]):
        bias = (np.broadcast_to(offset.reshape(-1), shape[1]) * np.float32(beta)).astype(np.float32)
        added = None
    if weights is not None and context.constant(left) is None:
        kernel = weights if node.integer("transB", 0) else weights.T
        kernel = (kernel * np.float32(alpha)).astype(np.float32)
        last = added is None or not beta
        tensor = _connect(context, left, kernel, right, bias, shape, output if last else f"{output}_product")
    else:
        tensor = _product(context, node, left, right, alpha, shape)
        if bias is not None:
            tensor = _add(context, tensor, context.add_constant(bias, f"{output}_bias"), shape, output)
    if added is not None and beta:
        tensor = _add(context, tensor, _scaled(context, context.logical(added), beta), shape, output)
    context.bind(output, tensor)


def _fully_connected(
    context: Context, name: str, weights: np.ndarray, hint: str, bias: np.ndarray | None, output: str
) -> None:
    """`output = name weights^T + bias` over the last axis, weights [out, in]; other axes as they lie."""
    shape = context.shape(name)
    order = context.order(name) or layout.identity(len(shape))
    if order[-1] != len(shape) - 1:
        order = layout.identity(len(shape))
    tensor = context.arrange(name, order)
    if len(shape) == 1:
        tensor = context.reshape_tensor(tensor, (1, shape[0]))
    target = layout.physical(context.shape(output), order)
    made = ValueType("float32", target if len(shape) > 1 else (1, *target))
    result = context.emit(
        "FULLY_CONNECTED",
        _operands(context, tensor, weights, hint, bias),
        made,
        output,
        keepNumDims=len(shape) > 2,
    )
    context.bind(output, context.reshape_tensor(result, target), order)


def _connect(
    context: Context,
    name: str,
    weights: np.ndarray,
    hint: str,
    bias: np.ndarray | None,
    shape: tuple[int, ...],
    label: str,
) -> str:
    inputs = _operands(context, context.logical(name), weights, hint, bias)
    return context.emit("FULLY_CONNECTED", inputs, ValueType("float32", shape), label)


def _operands(
    context: Context, tensor: str, weights: np.ndarray, hint: str, bias: np.ndarray | None
) -> list[str | None]:
    added = None if bias is None else context.add_constant(bias, f"{hint}_bias")
    return [tensor, context.add_constant(weights, hint), added]


def _matrix(context: Context, name: str) -> tuple[str, bool]:
    """A value as an operand of BATCH_MATMUL; one that lies transposed is read so."""
    rank = len(context.shape(name))
    swapped = (*range(rank - 2), rank - 1, rank - 2)
    if context.order(name) == swapped:
        return context.tensor(name), True
    return context.logical(name), False


def _product(
    context: Context, node: Node, left: str, right: str, alpha: float, shape: tuple[int, ...]
) -> str:
    (x, adjoint_x), (y, adjoint_y) = _matrix(context, left), _matrix(context, right)
    adjoint_y ^= bool(node.integer("transB", 0))
    made = ValueType("float32", shape)
    label = f"{node.output()}_product"
    product = context.emit("BATCH_MATMUL", [x, y], made, label, adjX=adjoint_x, adjY=adjoint_y)
    return _scaled(context, product, alpha)


def _scaled(context: Context, tensor: str, factor: float) -> str:
    if factor == 1:
        return tensor
    held = context.graph.tensors[tensor]
    constant = context.add_constant(np.array(factor, np.float32), "factor")
    return context.emit("MUL", [tensor, constant], ValueType(held.dtype, held.shape), f"{tensor}_scaled")


def _add(context: Context, left: str, right: str, shape: tuple[int, ...], label: str) -> str:
    return context.emit("ADD", [left, right], ValueType("float32", shape), label)
