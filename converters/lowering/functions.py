"""Functions of one number that TFLite has not, as formulas of those that it has."""

from __future__ import annotations

import numpy as np

from converters.lowering.activation import unary
from converters.lowering.context import Context
from converters.lowering.facts import ValueType
from converters.lowering.registry import FLOAT, NUMBERS, SMALL, Node, lowers
from converters.lowering.writing import apply, operand

# Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26: within 1.5e-7 everywhere
_ERF = (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429)
_ERF_SCALE = 0.3275911


@lowers("Ceil", "Round")
def rounding(context: Context, node: Node) -> None:
    """`Ceil` is CEIL and `Round`, half to even, is ROUND."""
    unary(context, node, node.type.upper())


@lowers("Abs", "Neg", dtypes=("float32", "int32", "int64"), through=SMALL)
def absolute(context: Context, node: Node) -> None:
    """`Abs` and `Neg` are ABS and NEG; of int64, which ABS has not, it is `max(x, -x)`."""
    if node.type == "Neg" or context.dtype(node.input(0)) in FLOAT:
        unary(context, node, node.type.upper())
        return
    tensor, order = operand(context, node.input(0))
    context.produce(node.output(), "MAXIMUM", [tensor, apply(context, "NEG", tensor)], order)


@lowers("Sign", dtypes=NUMBERS, through=SMALL)
def sign(context: Context, node: Node) -> None:
    """`Sign` is SIGN; of integers it is `min(max(x, -1), 1)`."""
    if context.dtype(node.input(0)) in FLOAT:
        unary(context, node, "SIGN")
        return
    tensor, order = operand(context, node.input(0))
    one = context.add_constant(np.array(1, context.dtype(node.input(0))), "one")
    context.produce(node.output(), "MINIMUM", [apply(context, "MAXIMUM", tensor, -1), one], order)


@lowers("Reciprocal")
def reciprocal(context: Context, node: Node) -> None:
    """`1 / x` is DIV."""
    tensor, order = operand(context, node.input(0))
    one = context.add_constant(np.array(1, np.float32), "one")
    context.produce(node.output(), "DIV", [one, tensor], order)


@lowers("Erf")
def erf(context: Context, node: Node) -> None:
    """`Erf` by a polynomial in `1 / (1 + p |x|)` times `exp(-x^2)`, within 1.5e-7."""
    tensor, order = operand(context, node.input(0))
    size = apply(context, "ABS", tensor)
    one = context.add_constant(np.array(1, np.float32), "one")
    t = apply(context, "DIV", one, apply(context, "ADD", apply(context, "MUL", size, _ERF_SCALE), 1))
    total = apply(context, "MUL", t, _ERF[-1])
    for factor in reversed(_ERF[:-1]):
        total = apply(context, "MUL", apply(context, "ADD", total, factor), t)
    tail = apply(context, "EXP", apply(context, "NEG", apply(context, "MUL", tensor, tensor)))
    upper = apply(context, "SUB", one, apply(context, "MUL", total, tail))
    context.produce(node.output(), "MUL", [apply(context, "SIGN", tensor), upper], order)


@lowers("Tan", "Sinh", "Cosh")
def quotient(context: Context, node: Node) -> None:
    """`tan x = sin x / cos x`; `sinh x` and `cosh x` are halves of `exp x -+ exp -x`."""
    tensor, order = operand(context, node.input(0))
    if node.type == "Tan":
        parts: list[str | None] = [apply(context, "SIN", tensor), apply(context, "COS", tensor)]
        context.produce(node.output(), "DIV", parts, order)
        return
    up, down = apply(context, "EXP", tensor), apply(context, "EXP", apply(context, "NEG", tensor))
    both = apply(context, "SUB" if node.type == "Sinh" else "ADD", up, down)
    context.produce(
        node.output(), "MUL", [both, context.add_constant(np.array(0.5, np.float32), "half")], order
    )


@lowers("Asin", "Acos", "Atan")
def arc(context: Context, node: Node) -> None:
    """ATAN2: `asin x = atan2(x, c)`, `acos x = atan2(c, x)`, `atan x = atan2(x, 1)`; `c = sqrt(1 - x^2)`."""
    tensor, order = operand(context, node.input(0))
    shape = context.graph.tensors[tensor].shape
    if node.type == "Atan":
        # a FILL, since ATAN2 does not broadcast
        inputs: list[str | None] = [
            context.add_constant(np.array(shape, np.int32), "shape"),
            context.add_constant(np.array(1, np.float32), "one"),
        ]
        ones = context.emit("FILL", inputs, ValueType("float32", shape), "ones")
        context.produce(node.output(), "ATAN2", [tensor, ones], order)
        return
    one = context.add_constant(np.array(1, np.float32), "one")
    product = apply(context, "MUL", apply(context, "SUB", one, tensor), apply(context, "ADD", tensor, 1))
    other = apply(context, "SQRT", product)
    pair: list[str | None] = [tensor, other] if node.type == "Asin" else [other, tensor]
    context.produce(node.output(), "ATAN2", pair, order)


@lowers("Asinh", "Acosh", "Atanh")
def area(context: Context, node: Node) -> None:
    """Logarithms: `asinh x = sign x log(|x| + sqrt(x^2 + 1))`, `atanh x = log((1 + x) / (1 - x)) / 2`."""
    tensor, order = operand(context, node.input(0))
    one = context.add_constant(np.array(1, np.float32), "one")
    if node.type == "Atanh":
        ratio = apply(context, "DIV", apply(context, "ADD", tensor, 1), apply(context, "SUB", one, tensor))
        half = context.add_constant(np.array(0.5, np.float32), "half")
        context.produce(node.output(), "MUL", [apply(context, "LOG", ratio), half], order)
        return
    if node.type == "Acosh":
        square = apply(context, "MUL", apply(context, "SUB", tensor, 1), apply(context, "ADD", tensor, 1))
        context.produce(
            node.output(), "LOG", [apply(context, "ADD", tensor, apply(context, "SQRT", square))], order
        )
        return
    square = apply(context, "ADD", apply(context, "MUL", tensor, tensor), 1)
    grown = apply(context, "ADD", apply(context, "ABS", tensor), apply(context, "SQRT", square))
    context.produce(
        node.output(), "MUL", [apply(context, "SIGN", tensor), apply(context, "LOG", grown)], order
    )
