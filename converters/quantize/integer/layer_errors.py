"""How far each operator's output in a quantised graph is from the float graph's, over samples."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from attrs import define

from converters.graph.ir import Graph, GraphTensor
from converters.graph.write import write
from converters.quantize.engine import Layer, LayerError
from converters.quantize.integer import parameters
from converters.quantize.integer.tracing import Tracing

_PRECISIONS = {
    "int8": "int8",
    "int16": "int16x8",
}  # dtype -> what an operator with such an output computes in


def layer_errors(
    graph: Graph,
    quantized: Graph,
    layers: Sequence[Layer],
    samples: Iterable[Mapping[str, np.ndarray]],
) -> tuple[LayerError, ...]:
    """The error of each layer's output, in execution order.

    Both graphs run in LiteRT with every tensor kept; tensors are matched by name. Layers whose outputs are
    no floats in the float graph, or that the quantised one has not, are left out.

    Args:
        graph: float.
        quantized: made of it, with the names of its tensors.
        layers: of the float graph.
        samples: inputs of the float model by public name; streamed.

    Raises:
        QuantizationError: LiteRT cannot run one of them.
    """
    compared = [
        layer
        for layer in layers
        if graph.tensors[layer.name].dtype == "float32" and layer.name in quantized.tensors
    ]
    totals = {layer.name: _Total() for layer in compared}
    runs = _Run(graph), _Run(quantized)
    for sample in samples:
        for run in runs:
            run.invoke(sample)
        for name, total in totals.items():
            total.add(runs[0].value(name), runs[1].value(name), quantized.tensors[name])
    return tuple(totals[layer.name].result(layer, quantized.tensors[layer.name]) for layer in compared)


class _Run:
    """A graph in LiteRT whose tensors can be looked at."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._tracing = Tracing(graph, write(graph))

    def invoke(self, sample: Mapping[str, np.ndarray]) -> None:
        """Run a sample of the float model."""
        given = {}
        for public, name in self._graph.inputs.items():
            tensor, array = self._graph.tensors[name], sample[public]
            if tensor.quantization is not None and array.dtype.kind == "f":
                array = parameters.rounded(array, tensor.quantization, tensor.dtype)
            given[public] = array
        self._tracing.run(given)

    def value(self, name: str) -> np.ndarray:
        """A tensor of the last run, dequantised: float64, a copy, flat."""
        found = self._tracing.value(name).astype(np.float64).ravel()
        quantization = self._graph.tensors[name].quantization
        if quantization is None:
            return found
        found -= quantization.zero_point[0]
        found *= quantization.scale[0]
        return found


@define
class _Total:
    """Sums over samples: of squares and products, and of values that the quantised range does not hold."""

    reference: float = 0.0  # sum r^2
    other: float = 0.0  # sum q^2
    product: float = 0.0  # sum r q
    error: float = 0.0  # sum (r - q)^2
    outside: int = 0
    count: int = 0
    low: float = math.inf
    high: float = -math.inf

    def add(self, reference: np.ndarray, other: np.ndarray, tensor: GraphTensor) -> None:
        """Take a sample's values in."""
        r, q = reference, other
        difference = r - q
        self.reference += _product(r, r)
        self.other += _product(q, q)
        self.product += _product(r, q)
        self.error += _product(difference, difference)
        self.count += r.size
        self.low = min(self.low, float(r.min(initial=math.inf)))
        self.high = max(self.high, float(r.max(initial=-math.inf)))
        if tensor.quantization is not None:
            limits = parameters.range_of(tensor.quantization, tensor.dtype)
            half = tensor.quantization.scale[0] / 2  # what rounds to the last step is held
            self.outside += int(((r < limits.minimum - half) | (r > limits.maximum + half)).sum())

    def result(self, layer: Layer, tensor: GraphTensor) -> LayerError:
        """The layer's error."""
        range_use = saturation = None
        if tensor.quantization is not None and self.count:
            limits = parameters.range_of(tensor.quantization, tensor.dtype)
            low, high = max(self.low, limits.minimum), min(self.high, limits.maximum)
            range_use = max(0.0, high - low) / (limits.maximum - limits.minimum)
            saturation = self.outside / self.count
        norms = math.sqrt(self.reference * self.other)
        return LayerError(
            layer=layer.name,
            type=layer.type,
            label=layer.label,
            precision=_PRECISIONS.get(tensor.dtype, "float32"),
            snr_db=_decibels(self.reference, self.error),
            cosine=self.product / norms if norms else float(self.error == 0),
            range_use=range_use,
            saturation=saturation,
        )


def _product(one: np.ndarray, other: np.ndarray) -> float:
    """The sum of products; not by BLAS, whose threads cost more than they bring on vectors."""
    return float(np.einsum("i,i->", one, other))


def _decibels(signal: float, noise: float) -> float | None:
    """10 log10(signal / noise), None where there is no noise; a signal of 0 counts as the least float."""
    if noise == 0:
        return None
    return 10 * math.log10(max(signal, 5e-324) / noise)
