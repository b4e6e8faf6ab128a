"""Recurrent cells that keep their state in the graph."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from attrs import evolve

from converters.quantize.integer import parameters
from converters.quantize.integer.rules.base import Rule
from device_agent.bundle import Quantization

if TYPE_CHECKING:
    from converters.graph.ir import Graph, GraphOperator
    from converters.quantize.integer.expansion import Expansion

# inputs of UNIDIRECTIONAL_SEQUENCE_LSTM: four gates each
_INPUT_WEIGHTS, _RECURRENT_WEIGHTS, _BIASES = range(1, 5), range(5, 9), range(12, 16)
_OUTPUT_STATE, _CELL_STATE = 18, 19
_MORE = (*range(9, 12), 16, 17, *range(20, 24))  # peepholes, projection, layer normalisation
_INTERMEDIATES = 5  # that the integer kernel asks for; the last has the parameters of the hidden state
_WHOLE_BITS = 4  # of the cell state at most: it is held to 16


def lstm(expansion: Expansion) -> None:
    """The integer LSTM of the kernels: activations int8, gates and cell state int16.

    Weights have one scale each, a bias that of its input weights times the input's. The cell state's scale is
    a power of two; what a step adds is at most 1, so that few steps need few bits before the point.
    https://ai.google.dev/edge/litert/models/quantization_spec, tflite/kernels/unidirectional_sequence_lstm.cc
    """
    operator, building = expansion.operator, expansion.building
    source, made = expansion.inputs[0] or "", expansion.outputs[0]
    inputs: list[str | None] = [source, *[None] * (len(operator.inputs) - 1)]
    scale = expansion.quantization(source).scale[0]
    for weights, recurrent, bias in zip(_INPUT_WEIGHTS, _RECURRENT_WEIGHTS, _BIASES, strict=True):
        values = building.source.constant(operator.inputs[bias])
        least = parameters.least_scale(values, scale, 1)
        inputs[weights], taken = _weights(expansion, weights, least)
        inputs[recurrent], _ = _weights(expansion, recurrent, np.zeros(1))
        if values is not None:
            steps, held = parameters.bias(values, scale, taken.scale, "int32")
            inputs[bias] = building.constant(operator.inputs[bias] or "", steps, held)
    hidden = expansion.quantization(made)
    inputs[_OUTPUT_STATE] = _state(expansion, _OUTPUT_STATE, "int8", hidden)
    length = expansion.shape(source)[0 if operator.options.get("timeMajor") else 1]
    bits = min(_WHOLE_BITS, math.ceil(math.log2(length + 1)))
    inputs[_CELL_STATE] = _state(expansion, _CELL_STATE, "int16", Quantization((2.0 ** (bits - 15),), (0,)))
    between = [expansion.tensor("hidden", (), "int8", hidden) for _ in range(_INTERMEDIATES)]
    options = {**operator.options, "asymmetricQuantizeInputs": False}
    building.operators.append(
        evolve(operator, inputs=inputs, outputs=[made], options=options, intermediates=between)
    )


def plain(graph: Graph, operator: GraphOperator, precision: str) -> str | None:  # noqa: ARG001 - as every check
    """Why an LSTM is none that `lstm` makes: of four gates with constant weights, and nothing beside."""
    given = [*operator.inputs, *[None] * 24]
    if any(given[place] is not None for place in _MORE):
        return "it has peepholes, a projection or layer normalisation"
    if any(graph.constant(given[place]) is None for place in (*_INPUT_WEIGHTS, *_RECURRENT_WEIGHTS)):
        return "its gates are coupled or their weights computed"
    return None


def _weights(expansion: Expansion, place: int, least: np.ndarray) -> tuple[str, Quantization]:
    name = expansion.operator.inputs[place] or ""
    values = expansion.building.source.tensors[name].data
    if values is None:
        raise ValueError(f"{name!r} is no constant")
    integers, quantization, _ = parameters.weights(values, None, least=least, chosen=None)
    return expansion.building.constant(name, integers, quantization), quantization


def _state(expansion: Expansion, place: int, dtype: str, quantization: Quantization) -> str:
    """A tensor that keeps its value from one run to the next."""
    name = expansion.operator.inputs[place] or ""
    return expansion.building.home(name, dtype, quantization)


RULES: dict[str, Rule] = {
    "UNIDIRECTIONAL_SEQUENCE_LSTM": Rule(
        (),
        own=(*_INPUT_WEIGHTS, *_RECURRENT_WEIGHTS, *_BIASES, _OUTPUT_STATE, _CELL_STATE),
        fused=("TANH",),
        check=plain,
        expand={"int8": lstm},
        how="the integer kernel: gates and cell state int16",
    )
}
TFLITE: dict[str, Rule] = {}
