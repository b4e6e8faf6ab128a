"""Conv: CONV_2D, DEPTHWISE_CONV_2D and CONV_3D, with the channels last."""

from __future__ import annotations

import numpy as np

from converters.lowering import layout
from converters.lowering.context import Context
from converters.lowering.formula import Formula, Operand
from converters.lowering.registry import Node, Refused, lowers
from converters.lowering.windows import Window, window_of


@lowers("Conv")
def conv(context: Context, node: Node) -> None:
    """`Conv` over one or two axes is CONV_2D (also in groups) or DEPTHWISE_CONV_2D, over three CONV_3D."""
    name, output = node.input(0), node.output()
    shape = context.shape(name)
    formula = Formula(context, output)
    weights = formula.value(node.input(1))
    kernel = formula.shape(weights)[2:]
    if "kernel_shape" in node.attributes and node.integers("kernel_shape") != kernel:
        raise Refused("its kernel_shape is not that of its weights", got=kernel)
    window = window_of(node, shape[2:], kernel, context.shape(output)[2:])
    bias = formula.value(node.input(2)) if node.optional(2) is not None else None
    order = layout.channels_last(len(shape))
    made = convolve(formula, context.arrange(name, order), weights, bias, window, node.integer("group", 1))
    formula.give(output, made, order)


def convolve(
    formula: Formula, x: Operand, weights: Operand, bias: Operand | None, window: Window, groups: int
) -> Operand:
    """The convolution of `x` [batch, space, in] with `weights` [out, in / groups, kernel], channels last.

    Raises:
        Refused: the weights do not fit the input.
    """
    channels = formula.shape(x)[-1]
    out, depth = formula.shape(weights)[:2]
    if groups < 1 or depth * groups != channels or out % groups:
        raise Refused(
            "its weights do not fit its input", got=list(formula.shape(weights)), limit=f"{channels} channels"
        )
    if bias is None:
        bias = np.zeros(out, np.float32)
    if len(window.size) == 3:
        return _solid(formula, x, weights, bias, window, groups)
    line = len(window.size) == 1
    result = (formula.shape(x)[0], *window.output, out)
    if line:
        x = formula.reshape(x, (formula.shape(x)[0], 1, *formula.shape(x)[1:]))
        weights = formula.reshape(weights, (out, depth, 1, window.kernel[0]))
        window = window.planar()
    padding = window.padding()
    if padding is None:
        x, padding = pad_explicitly(formula, x, window, 0.0), "VALID"
    options = {
        "padding": padding,
        "strideH": window.strides[0],
        "strideW": window.strides[1],
        "dilationHFactor": window.dilations[0],
        "dilationWFactor": window.dilations[1],
    }
    shape = (formula.shape(x)[0], *window.output, out)
    if groups == channels and groups > 1:  # [in * multiplier, 1, kernel] -> [1, kernel, in * multiplier]
        filters = formula.transpose(weights, (1, 2, 3, 0))
        options["depthMultiplier"] = out // channels
        made = formula.emit("DEPTHWISE_CONV_2D", [x, filters, bias], formula.dtype(x), shape, **options)
    else:  # [out, in, kernel] -> [out, kernel, in]
        filters = formula.transpose(weights, (0, 2, 3, 1))
        made = formula.emit("CONV_2D", [x, filters, bias], formula.dtype(x), shape, **options)
    return formula.reshape(made, result)


def _solid(
    formula: Formula, x: Operand, weights: Operand, bias: Operand, window: Window, groups: int
) -> Operand:
    """Over three axes; CONV_3D has no groups, so each has a convolution of its own."""
    padding = window.padding()
    if padding is None:
        x, padding = pad_explicitly(formula, x, window, 0.0), "VALID"
    options: dict[str, object] = {"padding": padding}
    for side, stride, dilation in zip("DHW", window.strides, window.dilations, strict=True):
        options[f"stride{side}"], options[f"dilation{side}Factor"] = stride, dilation
    depth, out = formula.shape(weights)[1], formula.shape(weights)[0] // groups
    parts: list[Operand] = []
    for group in range(groups):
        filters = formula.transpose(formula.part(weights, 0, group * out, out), (2, 3, 4, 1, 0))
        inputs = [formula.part(x, -1, group * depth, depth), filters, formula.part(bias, 0, group * out, out)]
        shape = (formula.shape(x)[0], *window.output, out)
        parts.append(formula.emit("CONV_3D", inputs, "float32", shape, **options))
    return formula.concat(parts, -1)


def pad_explicitly(formula: Formula, x: Operand, window: Window, value: float | None) -> Operand:
    """`x` with its channels last padded as the window says, with `value` or its own elements mirrored."""
    amounts = [(0, 0), *zip(window.begin, window.end, strict=True), (0, 0)]
    if value is not None:
        return formula.pad(x, amounts, value)
    shape = tuple(size + sum(amount) for size, amount in zip(formula.shape(x), amounts, strict=True))
    paddings = np.array(amounts, np.int32)
    return formula.emit("MIRROR_PAD", [x, paddings], formula.dtype(x), shape, mode="SYMMETRIC")
