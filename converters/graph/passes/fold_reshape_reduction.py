"""`RESHAPE(MEAN(x, keep_dims)) -> MEAN(x)` where the reshape only drops the axes that were reduced."""

from __future__ import annotations

from converters.graph.passes.links import Links

_REDUCTIONS = ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD", "REDUCE_ANY", "REDUCE_ALL")


def fold_reshape_reduction(links: Links) -> int:
    """Apply it wherever it holds, to MEAN as to every other reduction."""
    count = 0
    for operator in links.operators("RESHAPE"):
        reduction = links.maker_of(operator.inputs[0], *_REDUCTIONS)
        if reduction is None or not reduction.options.get("keepDims"):
            continue
        axes = links.tensor(reduction.inputs[1]).data
        if axes is None or links.only_reader(reduction.outputs[0]) is not operator:
            continue
        kept = links.tensor(reduction.outputs[0]).shape
        reduced = {int(axis) % len(kept) for axis in axes.reshape(-1)}
        left = tuple(size for axis, size in enumerate(kept) if axis not in reduced)
        if left == links.tensor(operator.outputs[0]).shape:
            links.absorb(reduction, operator)
            reduction.options["keepDims"] = False
            count += 1
    return count
