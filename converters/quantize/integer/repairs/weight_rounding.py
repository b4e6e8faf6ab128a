"""Integers of weights chosen for what they do to a layer's outputs, not for being the nearest.

GPTQ (Frantar et al., 2022, arXiv 2210.17323) on layers as matrices, as the rounding that Nagel et al. learn
in "Up or Down? Adaptive Rounding for Post-Training Quantization", 2020 (arXiv 2004.10568), in closed form.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from attrs import define, field

from converters.graph.write import write
from converters.quantize.accuracy.fidelity import spread
from converters.quantize.engine import Effect
from converters.quantize.integer.prepared import Rounded
from converters.quantize.integer.repairs import gptq
from converters.quantize.integer.repairs.patches import READABLE, sampled
from converters.quantize.integer.repairs.weighted import weighted
from converters.quantize.integer.tracing import Tracing
from converters.quantize.scheme import STATIC

if TYPE_CHECKING:
    from converters.graph.ir import Graph
    from converters.quantize.integer.prepared import Prepared
    from converters.quantize.integer.repairs.base import Context
    from converters.quantize.integer.repairs.weighted import Weighted

NAME = "weight_rounding"
SAMPLES = 64  # at most
ROWS = (2048, 16384)  # output positions of a layer that its Hessian is of: 8 for each input, within these
WIDEST = 2048  # inputs of one Hessian: wider layers are cut, and inputs of different parts taken as unrelated
MEMORY = 1 << 28  # bytes of Hessians that are held at once
MOST = 127  # the greatest magnitude of an int8 weight
TRUST = 4  # how many inputs a row tells as much of as the diagonal does: see `shrunk`
LEAST_GAIN = 0.01  # share of the layer's expected error that must go


def weight_rounding(prepared: Prepared, context: Context) -> Effect:
    """Choose the integers of convolutions and FULLY_CONNECTED; see `docs/quantization/repairs.md`.

    Graph and ranges stay. Applying it a second time changes nothing.
    """
    graph = prepared.graph
    parts: list[_Part] = []
    for operator in graph.operators:
        layer = weighted(graph, operator)
        asked = context.scheme.precision_of(operator.outputs[0])
        if layer is not None and layer.type in READABLE and asked in STATIC:
            parts += _parts(graph, layer)
    if not parts:
        return Effect(NAME, 0, "no convolution or FULLY_CONNECTED is to compute in integers")
    gains: dict[str, list[float]] = {}
    changed = 0
    for batch in _batches(parts):
        _measure(graph, batch, context)
        for part in batch:
            count, gain = _round(prepared, part)
            part.hessian = np.zeros(())
            changed += count
            if count:
                gains.setdefault(part.layer.weights, []).append(gain)
    if not changed:
        return Effect(NAME, 0, "the nearest integers are as good as any")
    mean = 100 * float(np.mean([np.mean(found) for found in gains.values()]))
    what = f"{changed} weights of {len(gains)} layers rounded otherwise"
    return Effect(NAME, changed, f"{what}: their layers' expected errors fall by {mean:.0f} % on average")


@define
class _Part:
    """Some output channels of a layer and the inputs that they read, or a part of these.

    Weights are seen as a matrix [O, taps * I]: `outputs` are rows of it, `columns` columns, which read the
    input channels `channels`. `hessian` is the sum of x x^T over `rows` inputs x: float32[K, K]. Of a
    depthwise convolution, which is one part, it is float32[C, taps, taps], one for each input channel.
    """

    layer: Weighted
    outputs: slice
    channels: slice
    columns: slice
    shape: tuple[int, ...]  # of the Hessian
    hessian: np.ndarray = field(factory=lambda: np.zeros(()), repr=False)
    rows: int = 0

    def add(self, patches: np.ndarray) -> None:
        """Take in what output positions read: float32[rows, taps, C]."""
        if not self.hessian.shape:
            self.hessian = np.zeros(self.shape, np.float32)
        self.rows += len(patches)
        if len(self.shape) == 3:
            lined = np.ascontiguousarray(patches.transpose(2, 1, 0))
            self.hessian += lined @ lined.transpose(0, 2, 1)
            return
        read = patches[:, :, self.channels].reshape(len(patches), -1)[:, self.columns]
        self.hessian += read.T @ read

    def shrunk(self) -> np.ndarray:
        """The Hessian with less of what so few rows say of how inputs go together: float64[K, K].

        `(1 - a) H + a diag(H)`, a = K / (K + 4 rows): after Ledoit and Wolf, "A well-conditioned estimator
        for large-dimensional covariance matrices", 2004. Of 64 rows, 1,000 inputs would seem to depend on
        each other wholly, and integers would be chosen for these rows and no others.
        """
        made = self.hessian.astype(np.float64)
        diagonal = np.diag(made).copy()
        made *= TRUST * self.rows / (len(made) + TRUST * self.rows)
        np.fill_diagonal(made, diagonal)
        return made


def _parts(graph: Graph, layer: Weighted) -> list[_Part]:
    """A layer in parts of at most `WIDEST` inputs; see `_Part`."""
    shape, channels = graph.tensors[layer.weights].shape, graph.tensors[layer.input].shape[-1]
    every = slice(None)
    if layer.type == "DEPTHWISE_CONV_2D":
        taps = shape[1] * shape[2]
        return [_Part(layer, every, every, every, (channels, taps, taps))]
    columns = math.prod(shape[1:])
    groups = channels // shape[3] if layer.type == "CONV_2D" else 1
    count = -(-columns // WIDEST)
    ends = [columns * index // count for index in range(count + 1)]
    found = []
    for group in range(groups):
        outputs = slice(group * shape[0] // groups, (group + 1) * shape[0] // groups)
        read = slice(group * shape[3], (group + 1) * shape[3]) if groups > 1 else every
        for start, end in pairwise(ends):
            found.append(_Part(layer, outputs, read, slice(start, end), (end - start, end - start)))
    return found


def _batches(parts: Sequence[_Part]) -> Iterator[list[_Part]]:
    """The parts in groups whose Hessians are held at once."""
    batch: list[_Part] = []
    size = 0
    for part in parts:
        needed = 4 * math.prod(part.shape)
        if batch and size + needed > MEMORY:
            yield batch
            batch, size = [], 0
        batch.append(part)
        size += needed
    if batch:
        yield batch


def _measure(graph: Graph, batch: Sequence[_Part], context: Context) -> None:
    """Sum the Hessians of these parts over calibration samples, in one pass."""
    tracing = Tracing(graph, write(graph))
    samples = min(SAMPLES, context.calibration.count)
    generator = np.random.default_rng(0)
    by_layer: dict[str, list[_Part]] = {}
    for part in batch:
        by_layer.setdefault(part.layer.output, []).append(part)
    for index, sample in enumerate(spread(context.calibration, samples)):
        tracing.run(sample)
        context.progress("rounding weights", index, samples)
        for parts in by_layer.values():
            layer = parts[0].layer
            rows = int(np.clip(8 * max(part.shape[-1] for part in parts), *ROWS))
            patches = sampled(graph, layer, tracing.value(layer.input), -(-rows // samples), generator)
            for part in parts:
                part.add(patches)


def _round(prepared: Prepared, part: _Part) -> tuple[int, float]:
    """Choose the integers of one part: how many changed, and by which share its expected error fell."""
    layer = part.layer
    weights = np.asarray(prepared.graph.constant(layer.weights))
    rows = np.moveaxis(weights, layer.axis, 0).reshape(weights.shape[layer.axis], -1)
    held = prepared.rounded.get(layer.weights)
    scale = np.abs(rows).max(axis=1) / np.float32(MOST) if held is None else held.scale
    if held is None:
        integers = gptq.nearest(rows, np.where(scale > 0, scale, 1), MOST)
    else:
        integers = np.moveaxis(held.integers, layer.axis, 0).reshape(rows.shape)
    live = np.flatnonzero(scale > 0)
    live = live[np.isin(live, np.arange(len(rows))[part.outputs])]
    work = rows[live][:, part.columns]
    before = integers[live][:, part.columns]
    steps = scale[live].astype(np.float64)
    if len(part.shape) == 3:
        hessian = part.hessian[live // (len(rows) // part.shape[0])].astype(np.float64)
        found = gptq.descended(work, steps, hessian, before, MOST)
    else:
        hessian = part.shrunk()
        found = gptq.chosen(work, steps, hessian, MOST)
    old, new = (gptq.loss(work, steps, hessian, each) for each in (before, found))
    if not new < (1 - LEAST_GAIN) * old:
        return 0, 0.0
    chosen = integers.copy()
    chosen[live[:, None], np.arange(rows.shape[1])[part.columns]] = found
    moved = np.moveaxis(weights, layer.axis, 0).shape
    shaped = np.ascontiguousarray(np.moveaxis(chosen.reshape(moved), 0, layer.axis))
    prepared.rounded[layer.weights] = Rounded(shaped, scale)
    return int(np.count_nonzero(found != before)), 1 - new / old
