"""Smaller weights without calibration: dynamic, weight-int8, weight-int4 and float16.

Which form an operator's weights may have was found by running each of them on LiteRT 1.0.1 and 2.3.0 (with
XNNPACK, without, and with the reference kernels) and on tflite-runtime 2.14; tests/converters/quantize/
test_weights.py repeats it.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np
from attrs import evolve, frozen

from converters.graph.ir import Graph, GraphOperator, GraphTensor
from converters.quantize.engine import Fallback
from device_agent.bundle import Quantization
from device_agent.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

LEAST_ELEMENTS = 1024  # as TensorFlow Lite's converter: below, a scale and an operator cost what they save
GREATEST_FLOAT16 = float(np.finfo(np.float16).max)
PRECISIONS = ("dynamic", "weight-int8", "weight-int4", "float16")


@frozen
class _Form:
    """How an operator may hold quantised weights.

    `weights` are their positions among its inputs, `axis` that of their output channels (of BATCH_MATMUL the
    last but one where its option `adjY` is set, else the last). `hybrid` is for each runtime what its kernel
    with float activations and int8 weights takes: a scale per `channel`, one per `tensor`, or "" where there
    is none or it is wrong.
    """

    weights: tuple[int, ...]
    axis: int
    hybrid: dict[str, str]


def _both(kind: str) -> dict[str, str]:
    return {"litert": kind, "tflite": kind}


_CHANNELS_IN_LITERT = {
    "litert": "channel",
    "tflite": "tensor",
}  # tflite gives garbage for one per channel
_FORMS = {
    "CONV_2D": _Form((1,), 0, _both("channel")),
    # one scale for all gives garbage in every runtime
    "DEPTHWISE_CONV_2D": _Form((1,), 3, _both("channel")),
    "FULLY_CONNECTED": _Form((1,), 0, _CHANNELS_IN_LITERT),
    # LiteRT 1.0.1 refuses a scale per channel
    "BATCH_MATMUL": _Form((1,), -1, _both("tensor")),
    "TRANSPOSE_CONV": _Form((1,), 0, {"litert": "channel", "tflite": ""}),
    "EMBEDDING_LOOKUP": _Form((1,), 0, _CHANNELS_IN_LITERT),
    "GATHER": _Form((0,), 0, _both("")),  # int8 rows come out, and a DEQUANTIZE of them follows
    "CONV_3D": _Form((1,), 4, _both("")),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": _Form((*range(1, 9), 16), 0, _both("")),
    "CONV_3D_TRANSPOSE": _Form((1,), 3, _both("")),
}
_ASYMMETRIC = ("BATCH_MATMUL", "FULLY_CONNECTED")  # may take the zero-point from the values; the others do


def apply(graph: Graph, precision: str, *, runtime: str = "litert") -> tuple[Graph, tuple[Fallback, ...]]:
    """A float graph with smaller weights; the activations stay float32.

    Constants of fewer than `LEAST_ELEMENTS` elements stay as they are. Integers are symmetric, in [-127, 127]
    or [-7, 7], with a scale per output channel where the operator's kernel takes one.

    Args:
        graph: float32; it is not changed.
        precision: one of `PRECISIONS`.
        runtime: what it shall run on, `litert` or `tflite`.

    Returns:
        The graph, and the weighted operators that are in another precision than asked for.

    Raises:
        InvalidRequest: another precision.
    """
    if precision not in PRECISIONS:
        raise InvalidRequest("not a precision of weights", got=precision, expected=" or ".join(PRECISIONS))
    made = Graph(
        dict(graph.tensors),
        [evolve(op, inputs=list(op.inputs), outputs=list(op.outputs)) for op in graph.operators],
        dict(graph.inputs),
        dict(graph.outputs),
    )
    rewriter = _Weights(made, precision, runtime)
    for name, uses in _constants(made).items():
        rewriter.change(name, uses)
    made.operators = _placed(made, rewriter.before, rewriter.after)
    return made, tuple(rewriter.fallbacks[index] for index in sorted(rewriter.fallbacks))


def symmetric(weights: np.ndarray, axis: int | None, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights as integers in [-m, m], m = 2^(bits-1) - 1, and their scales: `weights = integers * scale`.

    See https://ai.google.dev/edge/litert/models/quantization_spec. A channel of zeros has the scale 1.

    Args:
        weights: float32, finite.
        axis: of the channels that have a scale each; None: all have the same.
        bits: 8 or 4.

    Returns:
        int8 of the weights' shape, float32[C] or float32[1].
    """
    greatest = 2 ** (bits - 1) - 1
    others = tuple(place for place in range(weights.ndim) if place != axis) if axis is not None else None
    peak = np.abs(weights).max(axis=others, keepdims=True).astype(np.float64)
    scale = np.maximum(peak / greatest, float(np.finfo(np.float32).tiny))
    scale = np.where(peak > 0, scale, 1.0).astype(np.float32)
    steps = np.rint(weights.astype(np.float64) / scale)
    return np.clip(steps, -greatest, greatest).astype(np.int8), scale.reshape(-1)


def packed(integers: np.ndarray) -> np.ndarray:
    """int4 values, given as int8, two in a byte, the first in its low half: uint8[(count + 1) // 2].

    See the comment on INT4 in
    https://github.com/google-ai-edge/LiteRT/blob/main/tflite/schema/schema.fbs
    """
    flat = integers.reshape(-1).view(np.uint8) & 0xF
    pairs = np.append(flat, np.zeros(flat.size % 2, np.uint8)).reshape(-1, 2)
    return np.asarray(pairs[:, 0] | (pairs[:, 1] << 4), np.uint8)


def _constants(graph: Graph) -> dict[str, list[tuple[int, int]]]:
    """The float32 constants that operators read: their uses, as operator and position of its inputs."""
    uses: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    for index, operator in enumerate(graph.operators):
        for place, name in enumerate(operator.inputs):
            if name is not None and graph.tensors[name].dtype == "float32":
                uses[name].append((index, place))
    ends = set(graph.outputs.values())
    return {
        name: found
        for name, found in uses.items()
        if graph.tensors[name].data is not None and name not in ends
    }


def _placed(
    graph: Graph, before: dict[int, list[GraphOperator]], after: dict[int, list[GraphOperator]]
) -> list[GraphOperator]:
    """The operators with the new ones before and after those they belong to."""
    found = []
    for index, operator in enumerate(graph.operators):
        found += [*before.get(index, ()), operator, *after.get(index, ())]
    return found


class _Weights:
    """Changes the constants of a graph one by one, and notes what stays as it was."""

    def __init__(self, graph: Graph, precision: str, runtime: str) -> None:
        self._graph = graph
        self._precision = precision
        self._runtime = runtime
        self.before: defaultdict[int, list[GraphOperator]] = defaultdict(list)
        self.after: defaultdict[int, list[GraphOperator]] = defaultdict(list)
        self.fallbacks: dict[int, Fallback] = {}

    def change(self, name: str, uses: Sequence[tuple[int, int]]) -> None:
        """A constant in the smallest form that all its uses take."""
        data = self._graph.tensors[name].data
        weighted = [index for index, place in uses if self._is_weights(index, place)]
        if data is None or not (weighted or self._precision == "float16"):
            return
        refusal = None
        if data.size < LEAST_ELEMENTS:
            refusal = f"its weights have {data.size} elements; below {LEAST_ELEMENTS} it saves nothing"
        elif not np.isfinite(data).all():
            refusal = "its weights hold NaN or Inf"
        elif self._precision == "float16" and float(np.abs(data).max()) > GREATEST_FLOAT16:
            refusal = f"its weights reach {float(np.abs(data).max()):.3g}, past float16's 65504"
        if refusal is not None:
            self._fall_back(weighted, "float32", refusal)
        elif self._precision == "float16":
            self._dequantized(name, uses, "float16", data.astype(np.float16), None)
        else:
            self._quantize(name, uses, weighted, data)

    def _quantize(
        self, name: str, uses: Sequence[tuple[int, int]], weighted: Sequence[int], data: np.ndarray
    ) -> None:
        first = self._graph.operators[weighted[0]]
        alone = len(weighted) == len(uses) and all(
            self._graph.operators[index].type == first.type for index in weighted
        )
        axis = _axis(first, data.ndim)
        hybrid = _FORMS[first.type].hybrid[self._runtime] if alone else ""
        if self._precision == "weight-int4" and self._bits == 8:
            self._fall_back(weighted, "weight-int8", f"{self._runtime} has no DEQUANTIZE of int4")
        # an EMBEDDING_LOOKUP of integers gives what dequantised rows would: it rounds no activations
        if hybrid and (self._precision == "dynamic" or first.type == "EMBEDDING_LOOKUP"):
            self._direct(name, weighted, data, axis if hybrid == "channel" else None)
            return
        if alone and first.type == "GATHER" and self._bits == 8:
            self._gather(name, weighted, data)
            return
        if self._precision == "dynamic":
            reason = f"{self._runtime} has no kernel for float activations and int8 weights"
            reason = reason if alone else "its weights are shared with an operator of another kind"
            self._fall_back(weighted, "weight-int8", reason)
        integers, scale = symmetric(data, axis, self._bits)
        self._dequantized(name, uses, f"int{self._bits}", integers, _quantization(scale, axis))

    @property
    def _bits(self) -> int:
        return 4 if self._precision == "weight-int4" and self._runtime == "litert" else 8

    def _direct(self, name: str, weighted: Sequence[int], data: np.ndarray, axis: int | None) -> None:
        """The operators read the integers themselves."""
        integers, scale = symmetric(data, axis, self._bits)
        held = self._add(name, f"int{self._bits}", integers, _quantization(scale, axis or 0))
        for index in weighted:
            operator = self._graph.operators[index]
            operator.inputs[_FORMS[operator.type].weights[0]] = held
            if operator.type in _ASYMMETRIC:
                operator.options = {**operator.options, "asymmetricQuantizeInputs": True}
        del self._graph.tensors[name]

    def _gather(self, name: str, weighted: Sequence[int], data: np.ndarray) -> None:
        """The rows are gathered as integers and dequantised afterwards: the whole table never is."""
        integers, scale = symmetric(data, None, 8)
        quantization = _quantization(scale, 0)
        held = self._add(name, "int8", integers, quantization)
        for index in weighted:
            operator = self._graph.operators[index]
            made = operator.outputs[0]
            rows = self._fresh(made)
            self._graph.tensors[rows] = GraphTensor(
                rows, self._graph.tensors[made].shape, "int8", None, quantization,
                signature=self._graph.tensors[made].signature,
            )  # fmt: skip
            operator.inputs[0], operator.outputs = held, [rows]
            self.after[index].append(GraphOperator("DEQUANTIZE", [rows], [made], sources=operator.sources))
        del self._graph.tensors[name]

    def _dequantized(
        self,
        name: str,
        uses: Sequence[tuple[int, int]],
        dtype: str,
        data: np.ndarray,
        quantization: Quantization | None,
    ) -> None:
        """A DEQUANTIZE makes the constant; its readers stay as they are."""
        held = self._add(name, dtype, data, quantization)
        self._graph.tensors[name] = evolve(self._graph.tensors[name], data=None)
        first = min(index for index, _ in uses)
        sources = self._graph.operators[first].sources
        self.before[first].append(GraphOperator("DEQUANTIZE", [held], [name], sources=sources))

    def _add(self, name: str, dtype: str, data: np.ndarray, quantization: Quantization | None) -> str:
        held = self._fresh(name)
        value = packed(data) if dtype == "int4" else data
        shape = self._graph.tensors[name].shape
        self._graph.tensors[held] = GraphTensor(held, shape, dtype, value, quantization)
        return held

    def _fresh(self, name: str) -> str:
        fresh = f"{name}_quantized"
        while fresh in self._graph.tensors:
            fresh += "_"
        return fresh

    def _is_weights(self, index: int, place: int) -> bool:
        operator = self._graph.operators[index]
        return operator.type in _FORMS and place in _FORMS[operator.type].weights

    def _fall_back(self, weighted: Sequence[int], precision: str, reason: str) -> None:
        for index in weighted:
            operator = self._graph.operators[index]
            self.fallbacks[index] = Fallback(operator.outputs[0], operator.type, precision, reason)


def _axis(operator: GraphOperator, rank: int) -> int:
    axis = _FORMS[operator.type].axis
    if operator.type == "BATCH_MATMUL" and operator.options.get("adjY"):
        axis = -2
    return axis % rank


def _quantization(scale: np.ndarray, axis: int) -> Quantization:
    return Quantization(tuple(map(float, scale)), (0,) * len(scale), axis if len(scale) > 1 else 0)
