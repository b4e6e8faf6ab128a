"""Integers of weights chosen for what they do to a layer's outputs, not for being the nearest.

GPTQ (Frantar et al., 2022, arXiv 2210.17323) on layers as matrices, as the rounding that Nagel et al. learn
in "Up or Down? Adaptive Rounding for Post-Training Quantization", 2020 (arXiv 2004.10568), in closed form.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from attrs import define, field

from converters.graph.write import write
from converters.quantize.engine import Effect
from converters.quantize.fidelity import spread
from converters.quantize.prepared import Rounded
from converters.quantize.repairs import gptq
from converters.quantize.repairs.patches import READABLE, sampled
from converters.quantize.repairs.weighted import weighted
from converters.quantize.scheme import STATIC
from converters.quantize.tracing import Tracing

if TYPE_CHECKING:
    from converters.graph.ir import Graph
    from converters.quantize.prepared import Prepared
    from converters.quantize.repairs.base import Context
    from converters.quantize.repairs.weighted import Weighted

NAME = "weight_rounding"
SAMPLES = 64  # at most
ROWS = (2048, 16384)  # output positions of a layer that its Hessian is of: 8 for each input, within these
WIDEST = 2048  # inputs of one Hessian: wider layers are cut, and inputs of different parts taken as unrelated
MEMORY = 1 << 28  # bytes of Hessians that are held at once
MOST = 127  # the greatest magnitude of an int8 weight
LEAST_GAIN = 0.01  # share of the layer's expected error that must go


def weight_rounding(prepared: Prepared, context: Context) -> Effect:
    """Choose the integers of the weights of convolutions and FULLY_CONNECTED; see `docs/quantization/repairs.md`.

    Graph and ranges stay. Applying it a second time changes nothing.
    """
    if context.scheme.precision not in STATIC:
        return Effect(NAME, 0, "only weights of integer operators are rounded here")
    graph = prepared.graph
    works = []
    for operator in graph.operators:
        layer = weighted(graph, operator)
        asked = context.scheme.precision_of(operator.outputs[0])
        if layer is not None and layer.type in READABLE and asked in STATIC:
            works.append(_Work.of(graph, layer))
    gains: list[float] = []
    changed = 0
    for part in _parts(works):
        _measure(graph, part, context)
        for work in part:
            count, gain = _round(prepared, work)
            changed += count
            gains += [gain] if count else []
    if not changed:
        return Effect(NAME, 0, "the nearest integers are as good as any")
    what = f"{changed} weights of {len(gains)} layers rounded the other way"
    return Effect(NAME, changed, f"{what}: their expected errors fall by {100 * float(np.mean(gains)):.0f} % on average")


@define
class _Work:
    """A layer and its Hessians: the mean of x x^T over what its output positions read.

    `hessians` are float32[G, K, K]: of a depthwise convolution one for each input channel, of a grouped one
    for each group, of layers wider than `WIDEST` one for each part of the inputs.
    """

    layer: Weighted
    hessians: np.ndarray = field(repr=False)
    rows: int = 0

    @classmethod
    def of(cls, graph: Graph, layer: Weighted) -> _Work:
        """With nothing summed yet; arrays of zeros take no memory until they are written to."""
        raise NotImplementedError
