"""`RESHAPE(MEAN(x))` that drops the axes of size 1 which MEAN kept -> `MEAN(x)` that keeps none."""

from __future__ import annotations

from converters.graph.passes.links import Links
from converters.graph.passes.patterns import REDUCTIONS, inner


def merge_reduction(links: Links) -> int:
    """`RESHAPE(MEAN(x, keepDims)) -> MEAN(x)` where just its axes go; so other reductions."""
    count = 0
    for operator in links.operators("RESHAPE") if links.fixed else ():
        reduction = inner(links, operator, 0, *REDUCTIONS)
        if reduction is None or not reduction.options.get("keepDims"):
            continue
        axes, kept = links.graph.constant(reduction.inputs[1]), links.tensor(reduction.outputs[0])
        if axes is None or kept.quantization != links.tensor(operator.outputs[0]).quantization:
            continue
        gone = {int(axis) % len(kept.shape) for axis in axes.reshape(-1)}
        left = tuple(size for axis, size in enumerate(kept.shape) if axis not in gone)
        if left == links.tensor(operator.outputs[0]).shape:
            links.absorb(reduction, operator)
            reduction.options["keepDims"] = False
            count += 1
    return count
