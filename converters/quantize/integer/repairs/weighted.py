"""Operators with weights: which constants they have, and what scaling their channels does to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from attrs import evolve, frozen

from converters.graph.ir import GraphTensor
from converters.graph.passes.channels import OUTPUT_AXIS, bias_name, bias_place

if TYPE_CHECKING:
    from converters.graph.ir import Graph, GraphOperator
    from converters.quantize.integer.prepared import Prepared


@frozen
class Weighted:
    """An operator of a float graph with constant weights, and constant biases or none.

    `input`, `weights`, `bias` and `output` are tensors.
    """

    operator: GraphOperator
    input: str
    weights: str
    bias: str | None
    output: str

    @property
    def type(self) -> str:
        """TFLite's name of the operator."""
        return self.operator.type

    @property
    def axis(self) -> int:
        """The axis of the weights that counts output channels: the one they are quantised along."""
        return OUTPUT_AXIS[self.type]


def weighted(graph: Graph, operator: GraphOperator) -> Weighted | None:
    """The operator as one with weights that may be changed, None where it is none."""
    if operator.type not in OUTPUT_AXIS or operator.options.get("weightsFormat", "DEFAULT") != "DEFAULT":
        return None
    source, weights = operator.inputs[2 if operator.type == "TRANSPOSE_CONV" else 0], operator.inputs[1]
    bias, output = bias_name(operator), graph.tensors[operator.outputs[0]]
    if source is None or weights is None or output.dtype != "float32" or output.quantization is not None:
        return None
    data, added = graph.constant(weights), graph.constant(bias)
    channels = graph.tensors[source].shape[-1:]
    if (
        data is None
        or data.dtype != np.float32
        or not data.size
        or graph.constant(source) is not None
        or not channels
    ):
        return None
    if data.shape[OUTPUT_AXIS[operator.type]] != output.shape[-1]:
        return None
    if bias is not None and (added is None or added.shape != output.shape[-1:]):
        return None
    return Weighted(operator, source, weights, bias, output.name)


def scaled_outputs(layer: Weighted, weights: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """The weights with output channel `o` multiplied by `factor[o]`."""
    lined = [1] * weights.ndim
    lined[layer.axis] = -1
    return np.asarray(weights * factor.reshape(lined).astype(np.float32), np.float32)


def scaled_inputs(layer: Weighted, weights: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """The weights with what reads input channel `c` multiplied by `factor[c]`.

    `factor` has one value for each channel of the input tensor; the rows of a FULLY_CONNECTED may hold
    several of its last axis.
    """
    lined = input_factors(layer, weights.shape, factor.astype(np.float32))
    return np.asarray(weights * lined, np.float32)


def input_factors(layer: Weighted, shape: tuple[int, ...], factor: np.ndarray) -> np.ndarray:
    """A value per input channel, lined up with weights of this shape.

    A depthwise output channel `c * multiplier + m` reads input channel `c`. A CONV_2D whose weights have
    fewer input channels than its input is grouped: output channels are split evenly over the groups.
    """
    if layer.type == "DEPTHWISE_CONV_2D":
        return np.repeat(factor, shape[3] // len(factor))
    if layer.type == "FULLY_CONNECTED":
        return np.tile(factor, shape[1] // len(factor))
    groups = len(factor) // shape[3]
    return np.repeat(factor.reshape(groups, shape[3]), shape[0] // groups, axis=0)[:, None, None, :]


def reads_evenly(graph: Graph, layer: Weighted) -> bool:
    """Whether the sizes of weights and input fit each other as `input_factors` needs them to."""
    channels, shape = graph.tensors[layer.input].shape[-1], graph.tensors[layer.weights].shape
    if layer.type == "DEPTHWISE_CONV_2D":
        return shape[3] % channels == 0
    if layer.type == "FULLY_CONNECTED":
        return shape[1] % channels == 0
    return shape[3] > 0 and channels % shape[3] == 0 and shape[0] % (channels // shape[3]) == 0


def replace_constant(graph: Graph, operator: GraphOperator, place: int, value: np.ndarray, hint: str) -> None:
    """Give an operator another constant at a place; operators that share the old one keep it.

    Tensors and arrays may belong to other graphs too: they are replaced, never written to.
    """
    while len(operator.inputs) <= place:
        operator.inputs.append(None)
    name = operator.inputs[place]
    data = np.ascontiguousarray(value)
    readers = sum(other.inputs.count(name) for other in graph.operators)
    if name is not None and readers == 1 and name not in graph.outputs.values():
        graph.tensors[name] = evolve(graph.tensors[name], data=data, shape=data.shape)
        return
    made, count = hint, 0
    while made in graph.tensors:
        count += 1
        made = f"{hint}_{count}"
    stated = GraphTensor(made, data.shape, data.dtype.name)
    if name is not None:
        stated = graph.tensors[name]
    graph.tensors[made] = evolve(stated, name=made, shape=data.shape, data=data)
    operator.inputs[place] = made


def replace_weights(prepared: Prepared, layer: Weighted, value: np.ndarray) -> None:
    """Give a layer other weights; integers that were chosen for the old ones go."""
    prepared.rounded.pop(layer.weights, None)
    replace_constant(prepared.graph, layer.operator, 1, value, f"{layer.weights}_repaired")


def replace_bias(prepared: Prepared, layer: Weighted, value: np.ndarray) -> None:
    """Give a layer other biases: float32[C]."""
    place = bias_place(layer.operator)
    replace_constant(
        prepared.graph, layer.operator, place, value.astype(np.float32), f"{layer.output}_bias_repaired"
    )
