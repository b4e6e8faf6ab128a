"""Activations that are composed: one side of zero at a time, or of a gate."""

from __future__ import annotations

import numpy as np

from converters.lowering import layout
from converters.lowering.activation import unary
from converters.lowering.context import Context
from converters.lowering.elementwise import binary
from converters.lowering.registry import NUMBERS, SMALL, Node, Refused, lowers
from converters.lowering.writing import apply, operand

_STEEPEST = 1000.0  # ELU is exact to 1e-7, which an alpha multiplies

_MISH_SATURATED = 20.0  # tanh(softplus(x)) is 1 in float32 from here on
_MAX_PRELU_RANK = 4


@lowers("Gelu")
def gelu(context: Context, node: Node) -> None:
    """`Gelu` is GELU, exact or by tanh."""
    unary(context, node, "GELU", approximate=node.text("approximate", "none") == "tanh")


@lowers("Elu", "Celu", "Selu")
def exponential(context: Context, node: Node) -> None:
    """`Elu` is ELU; with an alpha the part below zero is scaled by itself."""
    alpha = node.number("alpha", 1.0)
    if node.type == "Celu" and not 1 / _STEEPEST <= abs(alpha) <= _STEEPEST:
        raise Refused("its alpha is too small or too large for float32", got=alpha, limit=_STEEPEST)
    below, above, within = {
        "Elu": (alpha, 1.0, 1.0),
        "Celu": (alpha, 1.0, 1 / (alpha or 1.0)),
        "Selu": (
            node.number("alpha", 1.67326319217681884765625) * node.number("gamma", 1.05070102214813232421875),
            node.number("gamma", 1.05070102214813232421875),
            1.0,
        ),
    }[node.type]
    if (below, above, within) == (1.0, 1.0, 1.0):
        unary(context, node, "ELU")
        return
    tensor, order = operand(context, node.input(0))
    upper = apply(context, "RELU", tensor)
    if above != 1:
        upper = apply(context, "MUL", upper, above)
    lower = apply(context, "MINIMUM", tensor, 0)
    if within != 1:
        lower = apply(context, "MUL", lower, within)
    lower = apply(context, "MUL", apply(context, "ELU", lower), below)
    context.produce(node.output(), "ADD", [upper, lower], order)


@lowers("Softplus")
def softplus(context: Context, node: Node) -> None:
    """`log(1 + exp x) = max(x, 0) + log(1 + exp(-|x|))`, which does not overflow."""
    tensor, order = operand(context, node.input(0))
    tail = apply(context, "EXP", apply(context, "NEG", apply(context, "ABS", tensor)))
    tail = apply(context, "LOG", apply(context, "ADD", tail, 1))
    context.produce(node.output(), "ADD", [apply(context, "RELU", tensor), tail], order)


@lowers("Mish")
def mish(context: Context, node: Node) -> None:
    """`x tanh(log(1 + e))` with `e = exp x` is `x n / (n + 2)` with `n = e (e + 2)`."""
    tensor, order = operand(context, node.input(0))
    power = apply(context, "EXP", apply(context, "MINIMUM", tensor, _MISH_SATURATED))
    product = apply(context, "MUL", power, apply(context, "ADD", power, 2))
    gate = apply(context, "DIV", product, apply(context, "ADD", product, 2))
    context.produce(node.output(), "MUL", [tensor, gate], order)


@lowers("Swish")
def swish(context: Context, node: Node) -> None:
    """`x sigmoid(alpha x)` is LOGISTIC and MUL."""
    tensor, order = operand(context, node.input(0))
    alpha = node.number("alpha", 1.0)
    gate = apply(context, "LOGISTIC", tensor if alpha == 1 else apply(context, "MUL", tensor, alpha))
    context.produce(node.output(), "MUL", [tensor, gate], order)


@lowers("Softsign")
def softsign(context: Context, node: Node) -> None:
    """`x / (1 + |x|)`."""
    tensor, order = operand(context, node.input(0))
    divisor = apply(context, "ADD", apply(context, "ABS", tensor), 1)
    context.produce(node.output(), "DIV", [tensor, divisor], order)


@lowers("ThresholdedRelu")
def thresholded_relu(context: Context, node: Node) -> None:
    """`x` where it is above alpha, else 0: GREATER and SELECT_V2."""
    tensor, order = operand(context, node.input(0))
    above = apply(context, "GREATER", tensor, node.number("alpha", 1.0), dtype="bool")
    zero = context.add_constant(np.array(0, np.float32), "zero")
    context.produce(node.output(), "SELECT_V2", [above, tensor, zero], order)


@lowers("Shrink")
def shrink(context: Context, node: Node) -> None:
    """`x` moved towards zero by bias where it is beyond lambd, else 0: two SELECT_V2."""
    tensor, order = operand(context, node.input(0))
    limit, bias = node.number("lambd", 0.5), node.number("bias", 0.0)
    above = apply(context, "GREATER", tensor, limit, dtype="bool")
    below = apply(context, "LESS", tensor, -limit, dtype="bool")
    zero = context.add_constant(np.array(0, np.float32), "zero")
    lower = apply(context, "SELECT_V2", below, apply(context, "ADD", tensor, bias), zero, dtype="float32")
    upper = apply(context, "SUB", tensor, bias)
    context.produce(node.output(), "SELECT_V2", [above, upper, lower], order)


@lowers("PRelu", dtypes=NUMBERS, through=SMALL)
def prelu(context: Context, node: Node) -> None:
    """`PRelu` is PRELU; of integers, and of more than four axes, `max(x, 0) + slope min(x, 0)`."""
    name, slope, output = node.input(0), node.input(1), node.output()
    shape = context.shape(name)
    if len(shape) < len(context.shape(slope)) or np.broadcast_shapes(shape, context.shape(slope)) != shape:
        raise Refused("its slope does not broadcast to its input", got=context.shape(slope), limit=shape)
    if context.dtype(name) == "float32" and len(shape) <= _MAX_PRELU_RANK:
        binary(context, output, "PRELU", name, slope)
        return
    tensor, order = operand(context, name)
    lower, product = f"{output}^lower", f"{output}^product"
    for made in (lower, product):
        context.declare(made, context.type(name))
    context.bind(lower, apply(context, "MINIMUM", tensor, 0), order)
    binary(context, product, "MUL", lower, slope)
    scaled = context.arrange(product, order or layout.identity(len(shape)))
    context.produce(output, "ADD", [apply(context, "MAXIMUM", tensor, 0), scaled], order)
