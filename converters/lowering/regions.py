"""RoiAlign: regions sampled between elements, by products with computed matrices."""

from __future__ import annotations

import numpy as np

from converters.lowering import layout
from converters.lowering.context import Context
from converters.lowering.formula import Formula, Operand
from converters.lowering.registry import Node, Refused, lowers


@lowers("RoiAlign")
def roi_align(context: Context, node: Node) -> None:
    """`RoiAlign` by averages is two BATCH_MATMULs: its bilinear samples separate into rows and columns.

    A sample at `p` takes `max(0, 1 - |p - i|)` of element `i`, with `p` clamped to the elements, and
    nothing where it lies more than one element outside
    (https://onnx.ai/onnx/operators/onnx__RoiAlign.html).
    """
    if node.text("mode", "avg") != "avg":
        raise Refused("runtimes differ in what its maximum is of", got="mode = max", limit="avg")
    count = node.integer("sampling_ratio", 0)
    if count < 1:
        raise Refused(
            "how many samples it takes is known only when the model runs",
            got="sampling_ratio = 0",
            limit="1 or more",
            help="Export the model with a sampling_ratio, 2 for instance.",
        )
    name, output = node.input(0), node.output()
    formula, order = Formula(context, output), layout.channels_last(4)
    batch, channels, height, width = context.shape(name)
    # before operator set 16 there was no half pixel
    half = node.opset >= 16 and node.text("coordinate_transformation_mode", "half_pixel") == "half_pixel"
    rois = formula.mul(formula.value(node.input(1)), np.array(node.number("spatial_scale", 1.0), np.float32))
    rois = formula.sub(rois, 0.5) if half else rois
    sizes = node.integer("output_height", 1), node.integer("output_width", 1)
    x: Operand = context.arrange(name, order)
    regions = formula.shape(rois)[0]
    rows = _shares(formula, rois, 1, sizes[0], count, height, half)  # [regions, output height, height]
    columns = _shares(formula, rois, 0, sizes[1], count, width, half)
    x = formula.reshape(x, (batch, height, width * channels))
    if batch > 1:
        x = formula.gather(x, formula.cast(formula.value(node.input(2)), "int32"))
        x = formula.matmul(rows, x)
    else:
        rows = formula.reshape(rows, (regions * sizes[0], height))
        x = formula.matmul(rows, formula.reshape(x, (height, width * channels)))
    x = formula.reshape(x, (regions, sizes[0], width, channels))
    columns = formula.reshape(columns, (regions, 1, sizes[1], width))
    formula.give(output, formula.matmul(columns, x), order)


def _shares(
    formula: Formula, rois: Operand, first: int, bins: int, count: int, size: int, half: bool
) -> Operand:
    """What each bin of each region takes of each element along an axis: float32[regions, bins, size]."""
    start = formula.part(rois, 1, first, 1)
    reach = formula.sub(formula.part(rois, 1, first + 2, 1), start)
    if not half:
        reach = formula.binary("MAXIMUM", reach, 1.0)
    # the samples of all bins lie evenly between both ends of the region
    inside = ((np.arange(bins * count, dtype=np.float32) + 0.5) / (bins * count)).astype(np.float32)
    places = formula.add(formula.mul(reach, inside[None, :]), start)
    far = formula.binary(
        "LOGICAL_OR", formula.binary("LESS", places, -1.0), formula.binary("GREATER", places, float(size))
    )
    held = formula.binary("MINIMUM", formula.binary("MAXIMUM", places, 0.0), float(size - 1))
    regions = formula.shape(rois)[0]
    away = formula.sub(
        formula.reshape(held, (regions, bins * count, 1)), np.arange(size, dtype=np.float32)[None, None, :]
    )
    hats = formula.binary("MAXIMUM", formula.sub(np.ones((), np.float32), formula.unary("ABS", away)), 0.0)
    seen = formula.select(far, np.zeros((), np.float32), np.array(1 / count, np.float32))
    hats = formula.mul(hats, formula.reshape(seen, (regions, bins * count, 1)))
    if count == 1:
        return hats
    return formula.reduce("SUM", formula.reshape(hats, (regions, bins, count, size)), [2], keep=False)
