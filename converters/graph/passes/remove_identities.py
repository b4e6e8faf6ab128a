"""`x + 0`, `x 1`, and whatever else gives its input unchanged, is `x`."""

from __future__ import annotations

import math

import numpy as np

from converters.graph.ir import GraphOperator
from converters.graph.passes.links import Links
from converters.graph.passes.patterns import REDUCTIONS, plain

_NEUTRAL = {"ADD": 0, "SUB": 0, "MUL": 1, "DIV": 1}
_BY_SHAPE = ("SLICE", "STRIDED_SLICE", "PAD", "PADV2", "TILE", "BROADCAST_TO", "CAST", "CONCATENATION")
_POOLS = ("AVERAGE_POOL_2D", "MAX_POOL_2D")
_TWICE = {"RELU", "ABS", "FLOOR", "CEIL", "ROUND"}


def remove_identities(links: Links) -> int:
    """`ADD(x, 0)`, `MUL(x, 1)`, a slice of all, a pad by nothing, `RELU(RELU(x))` and their kin."""
    count = 0
    for operator in links.operators(*_NEUTRAL, *_BY_SHAPE, *REDUCTIONS, *_POOLS, *_TWICE):
        kept = _kept(links, operator)
        if kept is None:
            continue
        given, made = links.tensor(operator.inputs[kept]), links.tensor(operator.outputs[0])
        if given.shape != made.shape or given.dtype != made.dtype or given.data is not None:
            continue
        if kept:
            operator.inputs.reverse()  # the neutral one came first
        count += links.bypass(operator)
    return count


def _kept(links: Links, operator: GraphOperator) -> int | None:
    """Which input an operator gives unchanged if the shapes agree; None if it computes something."""
    if not plain(operator):
        return None
    if operator.type in _NEUTRAL:
        return _beside_neutral(links, operator)
    if operator.type in _TWICE:
        return 0 if links.maker_of(operator.inputs[0], operator.type) is not None else None
    if operator.type == "CONCATENATION":
        return 0 if len(operator.inputs) == 1 else None
    if operator.type == "CAST":
        return 0
    if not links.fixed:
        return None
    if operator.type in REDUCTIONS:
        shape, axes = links.tensor(operator.inputs[0]).shape, links.graph.constant(operator.inputs[1])
        one = axes is not None and math.prod(shape[axis] for axis in axes.reshape(-1)) == 1
        return 0 if one and operator.options.get("keepDims") else None
    if operator.type in _POOLS:
        names = ("filterHeight", "filterWidth", "strideH", "strideW")
        return 0 if all(operator.options.get(name) == 1 for name in names) else None
    if operator.type == "STRIDED_SLICE":  # of all in the same shape, unless it runs backwards
        strides = links.graph.constant(operator.inputs[3])
        return 0 if strides is not None and (strides > 0).all() else None
    return 0


def _beside_neutral(links: Links, operator: GraphOperator) -> int | None:
    """The input beside the neutral constant; quantised ones have none, their kernels round."""
    for place in (0, 1) if operator.type in ("ADD", "MUL") else (0,):
        neutral = operator.inputs[1 - place]
        filled = links.maker_of(neutral, "FILL")
        constant = links.tensor(neutral if filled is None else filled.inputs[1])
        if constant.data is None or constant.quantization is not None:
            continue
        if constant.data.dtype.kind in "fi" and np.all(constant.data == _NEUTRAL[operator.type]):
            return place
    return None
