"""Conv: CONV_2D and DEPTHWISE_CONV_2D, in NHWC."""

from __future__ import annotations

import numpy as np

from converters.lowering import layout
from converters.lowering.context import Context
from converters.lowering.facts import ValueType
from converters.lowering.registry import Node, Refused, lowers
from converters.lowering.windows import Window, window_of


@lowers("Conv")
def conv(context: Context, node: Node) -> None:
    """`Conv` over two axes; of `group` only 1 and depthwise."""
    name, output = node.input(0), node.output()
    shape, out_shape = context.shape(name), context.shape(output)
    if len(shape) != 4:
        raise Refused(
            "only two-dimensional convolutions can be lowered",
            got=f"{len(shape) - 2}D",
            limit="2D",
            help="A 1D convolution can be exported as a 2D one whose height is 1.",
        )
    weights = context.need_constant(node.input(1), "weights")
    groups, channels = node.integer("group", 1), shape[1]
    depthwise = groups == channels and groups > 1
    if groups != 1 and not depthwise:
        raise Refused(
            "a grouped convolution that is not depthwise cannot be lowered",
            got=f"group {groups} of {channels} channels",
            limit=f"1 or {channels}",
            help="Split it into one convolution per group and a concatenation.",
        )
    if weights.shape[1] * groups != channels or weights.shape[0] % groups:
        raise Refused(
            "its weights do not fit its input", got=list(weights.shape), limit=f"{channels} channels"
        )
    bias = np.zeros(weights.shape[0], np.float32)
    if node.optional(2) is not None:
        bias = context.need_constant(node.input(2), "bias")
    order = layout.channels_last(4)
    window = window_of(node, shape[2:], weights.shape[2:], out_shape[2:])
    tensor, padding = context.arrange(name, order), window.padding()
    if padding is None:
        tensor, padding = pad_explicitly(context, tensor, window, 0.0), "VALID"
    options = {
        "padding": padding,
        "strideH": window.strides[0],
        "strideW": window.strides[1],
        "dilationHFactor": window.dilations[0],
        "dilationWFactor": window.dilations[1],
    }
    if depthwise:  # [channels * multiplier, 1, height, width] -> [1, height, width, channels * multiplier]
        builtin, weights = "DEPTHWISE_CONV_2D", np.transpose(weights, (1, 2, 3, 0))
        options["depthMultiplier"] = weights.shape[3] // channels
    else:  # [out, in, height, width] -> [out, height, width, in]
        builtin, weights = "CONV_2D", np.transpose(weights, (0, 2, 3, 1))
    filters = context.add_constant(weights, node.input(1))
    added = context.add_constant(bias, node.optional(2) or f"{output}_bias")
    context.produce(output, builtin, [tensor, filters, added], order, **options)


def pad_explicitly(context: Context, tensor: str, window: Window, value: float | None) -> str:
    """The NHWC tensor padded as the window says, with `value` or with its own elements mirrored."""
    held = context.graph.tensors[tensor]
    amounts = np.array([(0, 0), *zip(window.begin, window.end, strict=True), (0, 0)], np.int32)
    sizes = [size + int(amount.sum()) for size, amount in zip(held.shape, amounts, strict=True)]
    made = ValueType(held.dtype, tuple(sizes))
    inputs: list[str | None] = [tensor, context.add_constant(amounts, "paddings")]
    if value is None:
        return context.emit("MIRROR_PAD", inputs, made, f"{tensor}_padded", mode="SYMMETRIC")
    if value:
        inputs.append(context.add_constant(np.array(value, np.float32), "pad_value"))
    return context.emit("PADV2" if value else "PAD", inputs, made, f"{tensor}_padded")
