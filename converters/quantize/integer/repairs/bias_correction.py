"""`b -> b - E[quantised - float]`: biases take back what rounding shifts the means of a layer's outputs by.

Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", 2019, section 4.2
and appendix D (arXiv 1906.04721): the empirical form, layer after layer.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from attrs import evolve

from converters.graph.passes.channels import bias_name, bias_place
from converters.graph.write import write
from converters.quantize.accuracy.fidelity import spread
from converters.quantize.engine import Effect
from converters.quantize.integer.repairs.patches import READABLE, mean, product
from converters.quantize.integer.repairs.stepwise import Stepwise, most_samples
from converters.quantize.integer.repairs.weighted import replace_constant, weighted
from converters.quantize.integer.tracing import Tracing
from converters.quantize.scheme import STATIC

if TYPE_CHECKING:
    from converters.graph.ir import Graph, GraphOperator
    from converters.quantize.integer.prepared import Prepared, Range
    from converters.quantize.integer.repairs.base import Context
    from converters.quantize.integer.repairs.weighted import Weighted

    Samples = Sequence[Mapping[str, np.ndarray]]

NAME = "bias_correction"
SAMPLES = 64  # at most: each gives a value for every position of an output
MEMORY = 1 << 28  # bytes of activations that are held at once
LEAST_SHIFT = 1 / 8 / 255  # of the output's range: an eighth of a step of int8; less is noise


def bias_correction(prepared: Prepared, context: Context) -> Effect:
    """Correct the biases of convolutions and FULLY_CONNECTED; see `docs/quantization/repairs.md`.

    The mean of an output before its activation is linear in the means of what the layer reads; so it is
    taken of those, in the float model and in the integer one, whose layers before have been corrected. It
    belongs after the other repairs, whose rounding it makes up for. Graph and ranges stay; applying it a
    second time finds nothing to do.
    """
    from converters.quantize.integer.quantizer import apply

    graph = prepared.graph
    if context.scheme.precision not in STATIC:
        return Effect(NAME, 0, "activations stay in floating point")
    if any(tensor.variable for tensor in graph.tensors.values()):
        return Effect(NAME, 0, "the model carries a state from run to run")
    found = [weighted(graph, operator) for operator in graph.operators]
    layers = {layer.output: layer for layer in found if layer is not None and layer.type in READABLE}
    if not layers:
        return Effect(NAME, 0, "there is no layer with weights")
    count = min(SAMPLES, most_samples(graph, MEMORY))
    samples = list(spread(context.calibration, count))
    means = _float_means(graph, layers.values(), samples)
    made, _ = apply(prepared, evolve(context.scheme, io="float"), runtime=context.runtime)
    run = Stepwise(made, samples)
    shifts: dict[str, np.ndarray] = {}
    for index, operator in enumerate(made.operators):
        layer = layers.get(operator.outputs[0]) if operator.type in READABLE else None
        if layer is None or layer.output not in prepared.ranges:
            continue
        run.run(index)
        context.progress("correcting biases", index, len(made.operators))
        shift = _shift(graph, layer, means[layer.output], made, operator, run)
        kept = np.where(np.abs(shift) >= LEAST_SHIFT * _width(prepared.ranges[layer.output]), shift, 0.0)
        if kept.any():
            _take_back(made, operator, kept)
            shifts[layer.output] = kept
    for output, shift in shifts.items():
        before = prepared.corrections.get(output, np.float32(0))
        prepared.corrections[output] = np.asarray(before - shift, np.float32)
    return _effect(shifts, prepared.ranges, len(samples))


def _float_means(graph: Graph, layers: Collection[Weighted], samples: Samples) -> dict[str, np.ndarray]:
    """The mean of each layer's output before its activation, in the float model: float64[C]."""
    tracing = Tracing(graph, write(graph))
    inputs = {layer.input for layer in layers}
    sums = {name: np.zeros(graph.tensors[name].shape, np.float32) for name in inputs}
    for sample in samples:
        tracing.run(sample)
        for name, total in sums.items():
            total += tracing.value(name)
    found = {}
    for layer in layers:
        weights = np.asarray(graph.constant(layer.weights))
        patch = mean(graph, layer, sums[layer.input] / len(samples))
        found[layer.output] = product(layer, weights, patch) + _or_zero(graph.constant(layer.bias))
    return found


def _shift(
    graph: Graph, layer: Weighted, expected: np.ndarray, made: Graph, operator: GraphOperator, run: Stepwise
) -> np.ndarray:
    """How far the mean of the integer layer's output is from the float one's, for what it reads now."""
    read = operator.inputs[0] or ""
    values = run.values(read)
    total = np.zeros(values[0].shape, np.float64)
    for value in values:
        total += value
    source = _dequantised(made, read, total / len(values))
    patch = mean(graph, layer, source)
    stated = made.tensors[operator.inputs[1] or ""].quantization
    scale = 1.0 if stated is None else np.array(stated.scale)  # one for each output channel, or for all
    weights = np.asarray(made.constant(operator.inputs[1]))
    bias = bias_name(operator)
    added = 0.0 if bias is None else _dequantised(made, bias, made.constant(bias))
    return np.asarray(product(layer, weights, patch) * scale + added - expected)


def _take_back(made: Graph, operator: GraphOperator, shift: np.ndarray) -> None:
    """Subtract the shift from the bias of a layer of the integer graph."""
    source, weights = (made.tensors[operator.inputs[place] or ""] for place in (0, 1))
    name = bias_name(operator)
    if weights.quantization is None or source.quantization is None:  # a layer that stays in floating point
        value = (_or_zero(made.constant(name)) - shift).astype(np.float32)
        replace_constant(made, operator, bias_place(operator), value, f"{operator.outputs[0]}_bias")
        return
    scale = source.quantization.scale[0] * np.array(weights.quantization.scale)
    dtype = np.dtype("int32" if source.dtype == "int8" else "int64")
    steps = _or_zero(made.constant(name)) - np.rint(shift / scale)
    limits = np.iinfo(dtype)
    value = np.clip(steps, float(limits.min), float(limits.max) if dtype.itemsize == 4 else 2.0**62)
    replace_constant(made, operator, bias_place(operator), value.astype(dtype), f"{operator.outputs[0]}_bias")


def _dequantised(graph: Graph, name: str | None, integers: np.ndarray | None) -> np.ndarray:
    """Integers of a tensor as the numbers that they stand for; of a float tensor as they are."""
    found = graph.tensors[name or ""].quantization
    values = np.asarray(integers, np.float64)
    if found is None:
        return values
    lined = [1] * values.ndim
    if len(found.scale) > 1:
        lined[found.axis] = -1
    zero, scale = (np.array(part, np.float64).reshape(lined) for part in (found.zero_point, found.scale))
    return np.asarray((values - zero) * scale)


def _or_zero(value: np.ndarray | None) -> np.ndarray:
    return np.zeros(1) if value is None else value


def _width(found: Range) -> float:
    return max(found.maximum, 0.0) - min(found.minimum, 0.0)


def _effect(shifts: Mapping[str, np.ndarray], ranges: Mapping[str, Range], samples: int) -> Effect:
    channels = sum(int(np.count_nonzero(shift)) for shift in shifts.values())
    if not channels:
        return Effect(NAME, 0, "no layer's mean output is off by an eighth of a step")
    worst = max(float(np.abs(shift).max()) / _width(ranges[name]) for name, shift in shifts.items())
    what = f"{channels} channels of {len(shifts)} layers corrected over {samples} samples"
    return Effect(NAME, channels, f"{what}, by up to {255 * worst:.3g} steps of 1/255 of a range")
