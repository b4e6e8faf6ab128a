"""Col2Im and MaxUnpool: what puts windows back where they came from."""

from __future__ import annotations

import math

import numpy as np

from converters.lowering import layout
from converters.lowering.context import Context
from converters.lowering.conv_transpose import Spread, dilated, spread_out
from converters.lowering.formula import Formula
from converters.lowering.registry import Node, Refused, lowers


@lowers("Col2Im")
def col2im(context: Context, node: Node) -> None:
    """`Col2Im` is TRANSPOSE_CONV whose weights put each element of a window in its place."""
    name, output = node.input(0), node.output()
    image = tuple(int(n) for n in context.need_constant(node.input(1), "image_shape"))
    kernel = tuple(int(n) for n in context.need_constant(node.input(2), "block_shape"))
    axes = len(image)
    strides = node.integers("strides") or (1,) * axes
    dilations = node.integers("dilations") or (1,) * axes
    pads = node.integers("pads") or (0,) * (2 * axes)
    if not 1 <= axes <= 3 or not len(kernel) == len(strides) == len(dilations) == len(pads) / 2 == axes:
        raise Refused("its attributes are not those of its image", got=f"image {image}, block {kernel}")
    blocks = tuple(
        (image[a] + pads[a] + pads[a + axes] - dilations[a] * (kernel[a] - 1) - 1) // strides[a] + 1
        for a in range(axes)
    )
    shape, area = context.shape(name), math.prod(kernel)
    if shape[1] % area or math.prod(blocks) != shape[2]:
        raise Refused("its blocks are not those of its image", got=shape, limit=f"{blocks} of {kernel}")
    formula = Formula(context, output)
    planes = shape[0] * shape[1] // area
    x = formula.reshape(context.logical(name), (planes, area, *blocks))
    x = formula.transpose(x, layout.channels_last(axes + 2))
    weights = np.eye(area, dtype=np.float32).reshape(area, 1, *kernel)
    for axis, step in enumerate(dilations):
        weights = np.asarray(dilated(formula, weights, axis + 2, step))
    spread = Spread(blocks, image, kernel, strides, dilations, pads[:axes])
    y = spread_out(formula, x, weights, None, spread)
    formula.give(output, formula.reshape(y, context.shape(output)))


@lowers("MaxUnpool")
def max_unpool(context: Context, node: Node) -> None:
    """`MaxUnpool` is SCATTER_ND of the maxima to their indices, for windows that do not overlap."""
    name, output = node.input(0), node.output()
    shape, target = context.shape(name), context.shape(output)
    axes = len(shape) - 2
    kernel = node.integers("kernel_shape") or ()
    strides = node.integers("strides") or (1,) * axes
    pads = node.integers("pads") or (0,) * (2 * axes)
    if not len(kernel) == len(strides) == len(pads) / 2 == axes:
        raise Refused("its attributes do not fit its input", got=f"kernel {kernel}")
    if any(size > stride for size, stride in zip(kernel, strides, strict=True)):
        raise Refused(
            "its windows overlap, and SCATTER_ND adds what meets in one place",
            got=f"kernel {kernel}, strides {strides}",
            limit="a kernel no larger than the strides",
        )
    sizes = tuple((shape[a + 2] - 1) * strides[a] - pads[a] - pads[a + axes] + kernel[a] for a in range(axes))
    inferred = (*shape[:2], *sizes)
    if any(size > wanted for size, wanted in zip(inferred, target, strict=True)):
        raise Refused("its output_shape is smaller than its windows", got=target, limit=inferred)
    formula = Formula(context, output)
    count = math.prod(shape)
    places = formula.cast(formula.reshape(formula.value(node.input(1)), (count, 1)), "int32")
    values = formula.reshape(formula.value(name), (count,))
    total = math.prod(inferred)
    flat = formula.emit(
        "SCATTER_ND", [places, values, np.array([total], np.int32)], context.dtype(name), (total,)
    )
    amounts = [(0, wanted - size) for size, wanted in zip(inferred, target, strict=True)]
    formula.give(output, formula.pad(formula.reshape(flat, inferred), amounts))
