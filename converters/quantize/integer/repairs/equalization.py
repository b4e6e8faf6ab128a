"""`f(x, W / s) -> g(., s W')`: channels of an activation are brought to one range, the function stays.

Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", 2019, section 4.1
(arXiv 1906.04721); the factors after Xiao et al., "SmoothQuant", 2022, equation 4 (arXiv 2211.10438).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from attrs import frozen

from converters.quantize.engine import Effect
from converters.quantize.integer.repairs.patches import blocks
from converters.quantize.integer.repairs.tied import groups
from converters.quantize.integer.repairs.weighted import (
    input_factors,
    replace_bias,
    replace_constant,
    replace_weights,
    scaled_inputs,
    scaled_outputs,
)
from converters.quantize.scheme import STATIC

if TYPE_CHECKING:
    from collections.abc import Mapping

    from converters.graph.ir import Graph
    from converters.quantize.integer.prepared import Prepared
    from converters.quantize.integer.repairs.base import Context
    from converters.quantize.integer.repairs.tied import Group
    from converters.quantize.integer.repairs.weighted import Weighted
    from converters.quantize.integer.statistics import Statistics

NAME = "equalization"
SHARES = (0.25, 0.5, 0.75, 1.0)  # of the activation in a factor; the weights have the rest
ROUNDS = 8  # of choosing a share
LEAST_GAIN = 0.1  # share of the expected noise that must go: about half a decibel
LEAST_RANGE = 2.0**-12  # of a channel, as a share of the widest: those near zero are not blown up
SAME_SCALE = frozenset(  # of the operators that hand a factor on, by TFLite's quantisation specification
    {"AVERAGE_POOL_2D", "BATCH_TO_SPACE_ND", "EXPAND_DIMS", "MAX_POOL_2D", "MIRROR_PAD", "PAD", "RESHAPE"}
    | {"RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "SLICE", "SPACE_TO_BATCH_ND", "SPACE_TO_DEPTH"}
    | {"SQUEEZE", "TRANSPOSE"}
)
RELU6_BOUND = 6.0
ROOM = 1.1  # what is left above a widened channel, for values that calibration did not see
HEADROOM = 2.0  # how far below 6 a channel stays that is widened under a RELU6


def equalization(prepared: Prepared, context: Context) -> Effect:
    """Equalise the channels of every activation between weights; see `docs/quantization/repairs.md`.

    The ranges of `prepared` and the statistics are collected anew where anything changed. Applying it a
    second time finds nothing to do.
    """
    if context.scheme.precision not in STATIC:
        return Effect(NAME, 0, "activations stay in floating point")
    levels = 255 if context.scheme.precision == "int8" else 65535
    done: list[float] = []
    for group in groups(prepared.graph):
        if not all(name in context.statistics.tensors for name in group.tensors):
            continue
        measured = _measured(prepared, group, context.statistics, levels)
        factor = factors(measured)
        if factor is not None:
            _scale(prepared, group, factor)
            done.append(float(factor.max() / factor.min()))
    if not done:
        return Effect(NAME, 0, "no activation between weights has channels of ranges that differ much")
    context.recalibrate()
    return Effect(
        NAME, len(done), f"{len(done)} activations equalised, channels by factors up to {max(done):.3g} apart"
    )


@frozen
class Reader:
    """A layer that reads the activation: how its weights see the channels.

    `norms` is float64[O, C], the sum of the squares of the weights from a channel to an output channel;
    `peaks` the greatest magnitude of them, `counts` how many are not zero. `span` is of what the scale of
    the tensor that it reads must hold: float64[2, C], least and greatest values, zero included.
    """

    norms: np.ndarray
    peaks: np.ndarray
    counts: np.ndarray
    span: np.ndarray
    separate: bool  # each output channel reads one channel: a depthwise convolution


@frozen
class Measured:
    """A group of tensors as far as its factors depend on it.

    `extent` is float64[C], the greatest magnitude of each channel in any of the tensors; `power` the mean
    square of a channel; `least` the least factor that each channel may have, `fixed` those that must keep 1.
    """

    extent: np.ndarray
    power: np.ndarray
    least: np.ndarray
    fixed: np.ndarray
    readers: tuple[Reader, ...]
    levels: int


def factors(measured: Measured) -> np.ndarray | None:
    """What each channel is to be divided by, float64[C]; None where equalising gains nothing worth having.

    s = extent^a / w^(1 - a), w being the greatest share that a channel has of an output channel's range of
    weights; a is tried from `SHARES`, and what `noise` says is best is kept, repeatedly.
    """
    total = np.ones_like(measured.extent)
    if not measured.extent.all():
        return None
    current = noise(measured, total)
    for _ in range(ROUNDS):
        tried = [_bounded(measured, total * _step(measured, total, share)) for share in SHARES]
        scores = [noise(measured, factor) for factor in tried]
        best = int(np.argmin(scores))
        if not scores[best] < (1 - LEAST_GAIN) * current:
            break
        total, current = tried[best], scores[best]
    return None if (total == 1).all() else total


def noise(measured: Measured, factor: np.ndarray) -> float:
    """Expected noise of the readers' outputs as a share of their power, mean over outputs and readers.

    Rounding to a step D adds D^2 / 12 to every value. With channels divided by s, an output channel gets
    `D_x^2 / 12 sum_c s_c^2 |w_c|^2` from the activation, whose one step D_x covers all channels, and
    `D_w^2 / 12 sum_c n_c E[x_c^2] / s_c^2` from its n_c weights of a channel that are not zero, whose step
    covers the widest of `s_c w_c`. Each output channel counts alike: what reads it may need the small ones
    as much.
    """
    scores = []
    for reader in measured.readers:
        low, high = (reader.span / factor).min(axis=1)[0], (reader.span / factor).max(axis=1)[1]
        step = (high - low) / measured.levels
        from_activation = step**2 / 12 * (reader.norms @ factor**2)
        scaled = reader.peaks * factor
        steps = (scaled if reader.separate else scaled.max(axis=1, keepdims=True)) / 127
        from_weights = (steps**2 / 12 * reader.counts * (measured.power / factor**2)).sum(axis=1)
        both = from_activation + from_weights
        power = reader.norms @ measured.power
        scores.append(float(np.divide(both, both + power, out=np.zeros_like(both), where=both > 0).mean()))
    return float(np.mean(scores))


def _step(measured: Measured, factor: np.ndarray, share: float) -> np.ndarray:
    """The factor for that share, on top of the one there is; the widest channel keeps its range."""
    extent = measured.extent / factor
    extent = np.maximum(extent, extent.max() * LEAST_RANGE)
    weight = np.zeros_like(extent)
    for reader in measured.readers:
        if not reader.separate:  # which takes any factor without loss
            scaled = reader.peaks * factor
            widest = scaled.max(axis=1, keepdims=True)
            shares = np.divide(scaled, widest, out=np.zeros_like(scaled), where=widest > 0)
            weight = np.maximum(weight, shares.max(axis=0))
    weight = np.maximum(weight, LEAST_RANGE) if weight.any() else np.ones_like(weight)
    made = extent**share / weight ** (1 - share)
    return np.asarray(made * ((extent / made).max() / extent.max()))


def _bounded(measured: Measured, factor: np.ndarray) -> np.ndarray:
    """The factor where each channel may have it; those that must not change keep 1."""
    return np.where(measured.fixed, 1.0, np.maximum(factor, measured.least))


def _measured(prepared: Prepared, group: Group, statistics: Statistics, levels: int) -> Measured:
    """The group in numbers."""
    spans = {name: _span(statistics, name, group.channels) for name in group.tensors}
    extent = np.max([np.abs(span).max(axis=0) for span in spans.values()], axis=0)
    if extent.any():  # a channel that calibration never woke is taken for a usual one
        extent = np.where(extent > 0, extent, np.median(extent[extent > 0]))
    read = [_held(prepared.graph, layer.input, spans) for layer in group.readers]
    power = np.mean([_power(statistics, layer.input, spans[layer.input]) for layer in group.readers], axis=0)
    least = np.minimum(1.0, ROOM * extent / max(extent.max(), np.finfo(float).tiny))
    fixed = np.zeros(len(extent), bool)
    for name in group.bounded:
        top = spans[name][1]
        fixed |= top >= RELU6_BOUND * 0.999
        least = np.maximum(least, np.minimum(1.0, top * HEADROOM / RELU6_BOUND))
    readers = tuple(
        _reader(prepared, layer, group.channels, span)
        for layer, span in zip(group.readers, read, strict=True)
    )
    return Measured(extent, power, least, fixed, readers, levels)


def _held(graph: Graph, name: str, spans: Mapping[str, np.ndarray]) -> np.ndarray:
    """What the scale of a tensor must hold: with an operator that has one scale, its input's span too."""
    found = spans[name]
    while (maker := graph.producer(name)) is not None and maker.type in SAME_SCALE:
        name = maker.inputs[0] or ""
        low, high = found[0], found[1]
        found = np.stack([np.minimum(low, spans[name][0]), np.maximum(high, spans[name][1])])
    return found


def _span(statistics: Statistics, name: str, channels: int) -> np.ndarray:
    """Least and greatest value of each channel of a tensor, zero included: float64[2, C]."""
    found = statistics.tensors[name]
    low = found.channel_minimum.astype(np.float64).reshape(-1, channels).min(axis=0)
    high = found.channel_maximum.astype(np.float64).reshape(-1, channels).max(axis=0)
    return np.stack([np.minimum(low, 0), np.maximum(high, 0)])


def _power(statistics: Statistics, name: str, span: np.ndarray) -> np.ndarray:
    """The mean square of each channel: the tensor's, from its histogram, shared by the squares of extents."""
    found = statistics.tensors[name]
    edges = np.linspace(found.minimum, found.maximum, len(found.histogram) + 1)
    middles = (edges[:-1] + edges[1:]) / 2
    mean = float((found.histogram * middles**2).sum() / max(1, found.histogram.sum()))
    squares = np.abs(span).max(axis=0) ** 2
    whole = squares.mean()
    return np.asarray(squares * (mean / whole if whole > 0 else 0.0))


def _reader(prepared: Prepared, layer: Weighted, channels: int, span: np.ndarray) -> Reader:
    """The layer's weights by output channel and channel of the group."""
    tensor = prepared.graph.tensors[layer.weights]
    size = prepared.graph.tensors[layer.input].shape[-1]
    channel = input_factors(layer, tensor.shape, np.arange(size) % channels)
    weights = np.moveaxis(np.asarray(tensor.data), layer.axis, 0)
    places = np.moveaxis(np.broadcast_to(channel, tensor.shape), layer.axis, 0)
    norms, peaks, counts = np.zeros((3, len(weights), channels))
    for rows in blocks(weights.shape):
        data = np.abs(weights[rows].astype(np.float64)).reshape(-1)
        row = np.arange(len(weights[rows])).reshape(-1, *[1] * (weights.ndim - 1))
        flat = (row * channels + places[rows]).reshape(-1)
        part = norms[rows]
        for made, values in ((norms, data**2), (counts, data > 0)):
            made[rows] = np.bincount(flat, values, part.size).reshape(part.shape)
        np.maximum.at(peaks[rows].reshape(-1), flat, data)  # a view: the places are of the flat array
    return Reader(norms, peaks, counts, span, separate=layer.type == "DEPTHWISE_CONV_2D")


def _scale(prepared: Prepared, group: Group, factor: np.ndarray) -> None:
    """Divide the tensors of a group by a factor per channel, in the weights around them."""
    graph = prepared.graph
    for layer in group.makers:
        weights, bias = graph.constant(layer.weights), graph.constant(layer.bias)
        if weights is None:
            continue
        inverse = np.tile(1 / factor, weights.shape[layer.axis] // len(factor))
        replace_weights(prepared, layer, scaled_outputs(layer, weights, inverse))
        if bias is not None:
            replace_bias(prepared, layer, bias * inverse)
        if layer.output in prepared.corrections:
            prepared.corrections[layer.output] = (prepared.corrections[layer.output] * inverse).astype(
                np.float32
            )
    for layer in group.readers:
        weights = graph.constant(layer.weights)
        if weights is None:
            continue
        tiled = np.tile(factor, graph.tensors[layer.input].shape[-1] // len(factor))
        replace_weights(prepared, layer, scaled_inputs(layer, weights, tiled))
    for operator, place in group.added:
        constant = graph.constant(operator.inputs[place])
        if constant is not None:
            inverse = np.tile(1 / factor, constant.shape[-1] // len(factor))
            value = (constant * inverse).astype(np.float32)
            replace_constant(graph, operator, place, value, f"{operator.inputs[place]}_repaired")
