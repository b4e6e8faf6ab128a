"""Pools: MAX_POOL_2D, AVERAGE_POOL_2D and MEAN, in NHWC."""

from __future__ import annotations

import numpy as np

from converters.lowering import layout
from converters.lowering.context import Context
from converters.lowering.convolution import pad_explicitly
from converters.lowering.reduction import reduce
from converters.lowering.registry import Node, Refused, lowers
from converters.lowering.windows import Window, window_of

_NEVER_NEGATIVE = frozenset(("ABS", "EXP", "LOGISTIC", "RELU", "RELU6", "RELU_0_TO_1", "SOFTMAX", "SQRT"))
_LOWEST = float(np.finfo(np.float32).min)


@lowers("MaxPool")
def max_pool(context: Context, node: Node) -> None:
    """`MaxPool` is MAX_POOL_2D; padding that is not SAME's is filled with what changes no maximum.

    That is zero behind an operator that gives nothing negative; else each window's own elements,
    mirrored, as long as it has enough of them; else the lowest float. The last would ruin the range of
    an integer tensor, so it is the last.
    """
    window = _window(context, node)
    tensor = context.arrange(node.input(0), layout.channels_last(4))
    padding = window.padding()
    if padding is None:
        padding = "VALID"
        if context.made_by(tensor) in _NEVER_NEGATIVE:
            tensor = pad_explicitly(context, tensor, window, 0.0)
        elif _mirrors(window):
            tensor = pad_explicitly(context, tensor, window, None)
        else:
            tensor = pad_explicitly(context, tensor, window, _LOWEST)
    _pool(context, node, "MAX_POOL_2D", tensor, window, padding)


@lowers("AveragePool")
def average_pool(context: Context, node: Node) -> None:
    """`AveragePool` is AVERAGE_POOL_2D where both count the same elements.

    TFLite leaves SAME's padding out of the count. `count_include_pad` counts explicit padding, so it is
    an explicit PAD with zeros, but never what `ceil_mode` adds.
    """
    window = _window(context, node)
    tensor = context.arrange(node.input(0), layout.channels_last(4))
    padding = window.padding()
    if padding is None or (padding == "SAME" and node.integer("count_include_pad", 0)):
        if not node.integer("count_include_pad", 0):
            raise Refused(
                "padding that is left out of the average must be TFLite's SAME",
                got=f"{list(window.begin)} before, {list(window.end)} after",
                help="Export it with count_include_pad=1, or with padding SAME_UPPER.",
            )
        if node.integer("ceil_mode", 0) and _overhangs(node, window):
            raise Refused(
                "ceil_mode adds elements that count_include_pad does not count",
                help="Export it with ceil_mode=0.",
            )
        padding = "VALID"
        if any((*window.begin, *window.end)):
            tensor = pad_explicitly(context, tensor, window, 0.0)
    _pool(context, node, "AVERAGE_POOL_2D", tensor, window, padding)


@lowers("GlobalAveragePool")
def global_average_pool(context: Context, node: Node) -> None:
    """`GlobalAveragePool` is MEAN over the spatial axes."""
    rank = len(context.shape(node.input(0)))
    reduce(context, node, "MEAN", tuple(range(2, rank)), keep=True)


@lowers("GlobalMaxPool")
def global_max_pool(context: Context, node: Node) -> None:
    """`GlobalMaxPool` over two axes is MAX_POOL_2D with a window as large as they are."""
    shape = context.shape(node.input(0))
    if len(shape) != 4:
        reduce(context, node, "REDUCE_MAX", tuple(range(2, len(shape))), keep=True)
        return
    size = (shape[2], shape[3])
    window = Window(size, size, (1, 1), (1, 1), (0, 0), (0, 0))
    tensor = context.arrange(node.input(0), layout.channels_last(4))
    _pool(context, node, "MAX_POOL_2D", tensor, window, "VALID")


def _window(context: Context, node: Node) -> Window:
    shape, output = context.shape(node.input(0)), context.shape(node.output())
    kernel = node.integers("kernel_shape") or ()
    window = window_of(node, shape[2:], kernel, output[2:])
    if window.dilations != (1, 1):
        raise Refused("TFLite's pools have no dilation", got=list(window.dilations), limit="[1, 1]")
    return window


def _mirrors(window: Window) -> bool:
    """Whether every window that reaches into the padding holds the elements that are mirrored there."""
    return all(
        2 * amount <= window.kernel[axis] and amount <= window.size[axis]
        for axis in (0, 1)
        for amount in (window.begin[axis], window.end[axis])
    )


def _overhangs(node: Node, window: Window) -> bool:
    pads = node.integers("pads") or (0, 0, 0, 0)
    return node.text("auto_pad", "NOTSET") == "NOTSET" and window.end != (pads[2], pads[3])


def _pool(context: Context, node: Node, builtin: str, tensor: str, window: Window, padding: str) -> None:
    context.produce(
        node.output(),
        builtin,
        [tensor],
        layout.channels_last(4),
        padding=padding,
        strideH=window.strides[0],
        strideW=window.strides[1],
        filterHeight=window.kernel[0],
        filterWidth=window.kernel[1],
    )
