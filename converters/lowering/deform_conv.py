"""DeformConv: elements gathered at computed places as in GridSample, then one product."""

from __future__ import annotations

import math

import numpy as np

from converters.lowering import layout
from converters.lowering.context import Context
from converters.lowering.formula import Formula, Operand
from converters.lowering.grid_sample import outer, taps_along
from converters.lowering.registry import Node, Refused, lowers

_MASK = 4  # place of the optional input


@lowers("DeformConv")
def deform_conv(context: Context, node: Node) -> None:
    """`DeformConv` is one GATHER of the elements around each place, BATCH_MATMUL and FULLY_CONNECTED.

    The column of a window holds, per kernel element, the channels at `stride * output - pad + dilation *
    element + offset`, between elements by bilinear weights and zero outside
    (https://onnx.ai/onnx/operators/onnx__DeformConv.html).
    """
    name, output = node.input(0), node.output()
    shape, made = context.shape(name), context.shape(output)
    if len(shape) != 4:
        raise Refused("it has another number of axes", got=len(shape) - 2, limit="2")
    formula, order = Formula(context, output), layout.channels_last(4)
    batch, channels, height, width = shape
    weights = formula.value(node.input(1))
    kernel, groups = formula.shape(weights)[2:], node.integer("offset_group", 1)
    elements, points = math.prod(kernel), math.prod(made[2:])
    count = batch * groups * points * elements
    offsets = formula.reshape(formula.value(node.input(2)), (batch, groups, elements, 2, points))
    offsets = formula.reshape(formula.transpose(offsets, (0, 1, 4, 2, 3)), (count, 2))
    places = formula.add(offsets, np.tile(_regular(node, made[2:], kernel), (batch * groups, 1)))
    rows, row_shares = taps_along(formula, formula.part(places, 1, 0, 1), height, "linear", "zeros", True)
    columns, column_shares = taps_along(
        formula, formula.part(places, 1, 1, 1), width, "linear", "zeros", True
    )
    if row_shares is None or column_shares is None:
        raise Refused("its samples have no weights")
    rows = formula.mul(formula.cast(rows, "int32"), np.array(width, np.int32))
    index = outer(formula, "ADD", rows, formula.cast(columns, "int32"))
    if batch * groups > 1:
        first = np.repeat(np.arange(batch * groups), points * elements) * height * width
        index = formula.add(index, first[:, None].astype(np.int32))
    shares = outer(formula, "MUL", row_shares, column_shares)
    if node.optional(_MASK) is not None:
        mask = formula.reshape(formula.value(node.input(_MASK)), (batch, groups, elements, points))
        shares = formula.mul(shares, formula.reshape(formula.transpose(mask, (0, 1, 3, 2)), (count, 1)))
    part = channels // groups
    x: Operand = formula.reshape(context.arrange(name, order), (batch, height * width, groups, part))
    x = formula.reshape(formula.transpose(x, (0, 2, 1, 3)), (batch * groups * height * width, part))
    taken = formula.matmul(formula.reshape(shares, (count, 1, 4)), formula.gather(x, index))
    taken = formula.reshape(taken, (batch, groups, points * elements, part))
    taken = formula.reshape(formula.transpose(taken, (0, 2, 1, 3)), (batch * points, elements * channels))
    if node.integer("group", 1) > 1:
        weights = _ungrouped(
            context.need_constant(node.input(1), "weights of groups"), node.integer("group", 1)
        )
    weights = formula.transpose(weights, (2, 3, 1, 0))
    y = formula.matmul(taken, formula.reshape(weights, (elements * channels, made[1])))
    if node.optional(3) is not None:
        y = formula.add(y, formula.value(node.input(3)))
    formula.give(output, formula.reshape(y, layout.physical(made, order)), order)


def _regular(node: Node, sizes: tuple[int, ...], kernel: tuple[int, ...]) -> np.ndarray:
    """Where a convolution would read: float32[output points * kernel elements, 2], rows first."""
    strides = node.integers("strides") or (1, 1)
    dilations = node.integers("dilations") or (1, 1)
    pads = node.integers("pads") or (0, 0, 0, 0)
    axes = [
        strides[a] * np.arange(sizes[a])[:, None] - pads[a] + dilations[a] * np.arange(kernel[a])[None]
        for a in range(2)
    ]
    rows = np.broadcast_to(axes[0][:, None, :, None], (*sizes, *kernel))
    columns = np.broadcast_to(axes[1][None, :, None, :], (*sizes, *kernel))
    return np.stack([rows, columns], -1).reshape(-1, 2).astype(np.float32)


def _ungrouped(weights: np.ndarray, groups: int) -> np.ndarray:
    """The weights [outputs, all channels, ...] of one group, with zeros between those of several."""
    outputs, part = weights.shape[:2]
    dense = np.zeros((outputs, part * groups, *weights.shape[2:]), weights.dtype)
    for group in range(groups):
        rows = slice(group * outputs // groups, (group + 1) * outputs // groups)
        dense[rows, group * part : (group + 1) * part] = weights[rows]
    return dense
