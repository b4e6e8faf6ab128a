"""CausalConvWithState: a depthwise convolution that remembers the end of what it saw."""

from __future__ import annotations

from converters.lowering.context import Context
from converters.lowering.convolution import convolve
from converters.lowering.formula import Formula, Operand
from converters.lowering.registry import Node, Refused, lowers
from converters.lowering.windows import Window


@lowers("CausalConvWithState")
def causal_conv_with_state(context: Context, node: Node) -> None:
    """`CausalConvWithState` is CONCATENATION of the state and the input, DEPTHWISE_CONV_2D and a SLICE."""
    formula = Formula(context, node.name)
    x, weights = formula.value(node.input(0)), formula.value(node.input(1))
    batch, channels, length = formula.shape(x)
    kernel = formula.shape(weights)[2]
    activation = node.text("activation", "none")
    if activation not in ("none", "silu", "swish"):
        raise Refused("it has an unknown activation", got=activation, limit="none, silu, swish")
    if node.optional(3) is not None:
        padded = formula.concat([formula.value(node.input(3)), x], 2)
    else:
        padded = formula.pad(x, [(0, 0), (0, 0), (kernel - 1, 0)])
    size = length + kernel - 1
    window = Window((size,), (length,), (kernel,), (1,), (1,), (0,), (0,))
    bias = formula.value(node.input(2)) if node.optional(2) is not None else None
    line: Operand = formula.transpose(padded, (0, 2, 1))
    y = formula.transpose(convolve(formula, line, weights, bias, window, channels), (0, 2, 1))
    if activation != "none":
        y = formula.mul(y, formula.unary("LOGISTIC", y))
    state = formula.slice(padded, (0, 0, size - kernel + 1), (batch, channels, kernel - 1))
    for name, operand in zip(node.outputs, (y, state), strict=False):
        if name is not None:
            formula.give(name, operand)
