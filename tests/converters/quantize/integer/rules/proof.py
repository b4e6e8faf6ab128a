"""Quantise a one-operator graph, run it on a runtime, and compare it with its float model."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from attrs import frozen

from converters.graph.ir import Graph, GraphOperator, GraphTensor
from converters.graph.write import write
from converters.quantize.integer import quantizer
from converters.quantize.integer.prepared import Prepared, Range
from converters.quantize.scheme import Scheme
from tests.converters.quantize.integer.rules.cases import Case, Flag, Index, Real

SAMPLES = 3
Arrays = dict[str, np.ndarray]
Run = Callable[[bytes, Arrays], Arrays | str]


@frozen
class Proof:
    """What became of a case: `off` is the greatest difference in steps, over all outputs and samples."""

    fallbacks: tuple[str, ...]
    floats: tuple[str, ...]
    said: str  # by the runtime, where it refuses
    off: float
    graph: Graph


def litert(model: bytes, feed: Arrays) -> Arrays | str:
    """LiteRT as it comes."""
    return _run(model, feed, OpResolverType.AUTO)


def plain(model: bytes, feed: Arrays) -> Arrays | str:
    """LiteRT without XNNPACK, as it is where that takes no part."""
    return _run(model, feed, OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES)


def _run(model: bytes, feed: Arrays, kernels: Any) -> Arrays | str:
    try:
        interpreter = Interpreter(model_content=model, num_threads=1, experimental_op_resolver_type=kernels)
        interpreter.allocate_tensors()
        found: Arrays = interpreter.get_signature_runner()(**feed)
    except (ValueError, RuntimeError) as e:
        return str(e)
    return found


def whole(case: Case) -> Graph:
    """The float graph; LiteRT is asked for the shapes of its outputs."""
    tensors: dict[str, GraphTensor] = {}
    names: list[str | None] = []
    for place, given in enumerate(case.inputs):
        if given is None:
            names.append(None)
            continue
        names.append(f"i{place}")
        dtype = {Real: "float32", Index: "int32", Flag: "bool"}.get(type(given)) or str(given.dtype)
        data = given if isinstance(given, np.ndarray) else None
        tensors[f"i{place}"] = GraphTensor(f"i{place}", given.shape, dtype, data)
    inputs = {name: name for name, tensor in tensors.items() if tensor.data is None}
    guess = next(tensor.shape for tensor in tensors.values() if tensor.data is None)
    made = [f"y{place}" for place in range(len(case.outputs))]
    for place, (name, dtype) in enumerate(zip(made, case.outputs, strict=True)):
        tensors[name] = GraphTensor(name, case.shapes[place] if case.shapes else guess, dtype)
    operators = [GraphOperator(case.type, names, made, dict(case.options), (0,))]
    graph = Graph(tensors, operators, inputs, {name: name for name in made})
    for name, array in computed(graph, drawn(case, np.random.default_rng(0))).items():
        tensors[name].shape = array.shape
    return graph


def computed(graph: Graph, feed: Arrays) -> Arrays:
    """The float model's outputs."""
    found = plain(write(graph), feed)
    if isinstance(found, str):
        pytest.fail(f"LiteRT refuses the float model: {found}")
    return found


def drawn(case: Case, draw: np.random.Generator) -> Arrays:
    """Inputs, uniform in their ranges with both ends among them."""
    found = {}
    for place, given in enumerate(case.inputs):
        if isinstance(given, Real):
            values = draw.uniform(given.low, given.high, given.shape).astype(np.float32)
            values.flat[:2] = given.low, given.high
            found[f"i{place}"] = values
        elif isinstance(given, Index):
            found[f"i{place}"] = draw.integers(0, given.limit, given.shape).astype(np.int32)
        elif isinstance(given, Flag):
            found[f"i{place}"] = draw.random(given.shape) < 0.5
    return found


@cache
def float_model(case: Case) -> tuple[Graph, tuple[Arrays, ...], dict[str, Range]]:
    """The float graph of a case, seeded inputs, and the ranges of all tensors over them."""
    graph = whole(case)
    draw = np.random.default_rng(1)
    samples = tuple(drawn(case, draw) for _ in range(SAMPLES))
    return graph, samples, _ranges(graph, samples)


def prove(case: Case, precision: str, runtime: str, *runs: Run) -> Proof:
    """Quantise a case for a runtime, and compare what each of `runs` makes of it with the float model."""
    graph, samples, ranges = float_model(case)
    made, fallbacks = quantizer.apply(Prepared(graph, dict(ranges)), Scheme(precision), runtime=runtime)
    floats = quantizer.float_operators(made, ends_convert=False)
    if fallbacks or floats:
        return Proof(tuple(one.reason for one in fallbacks), floats, "", 0.0, made)
    reference, data = _with_constants(graph, made), write(made)
    off = 0.0
    for sample in samples:
        feed = {name: steps_of(array, made.tensors[name]) for name, array in sample.items()}
        real = {name: real_of(array, made.tensors[name]) for name, array in feed.items()}
        expected = computed(reference, real)
        for run in runs:
            got = run(data, feed)
            if isinstance(got, str):
                return Proof((), (), got, 0.0, made)
            for public, name in made.outputs.items():
                far = _difference(got[public], expected[public], made.tensors[name])
                if expected[public].dtype == bool and len(case.inputs) == 2:
                    far = far * _apart(reference, made, real)
                off = max(off, float(far.max()))
    return Proof((), (), "", off, made)


def _difference(got: np.ndarray, expected: np.ndarray, tensor: GraphTensor) -> np.ndarray:
    wanted = steps_of(expected, tensor)
    return np.abs(got.astype(np.float64) - wanted.astype(np.float64))


def _apart(reference: Graph, made: Graph, real: Arrays) -> np.ndarray:
    """Where the two operands of a comparison differ by more than a step: within it the kernels round."""
    a, b = (real.get(name, reference.tensors[name].data) for name in ("i0", "i1"))
    scales = [
        tensor.quantization.scale[0]
        for name in ("i0", "i1")
        if (tensor := made.tensors.get(name)) is not None and tensor.quantization is not None
    ]
    return np.abs(np.asarray(a) - np.asarray(b)) > max(scales)


def _ranges(graph: Graph, samples: tuple[Arrays, ...]) -> dict[str, Range]:
    found: dict[str, Range] = {}
    for sample in samples:
        for name, array in {**sample, **computed(graph, sample)}.items():
            if array.dtype == np.float32:
                held = found.get(name, Range(np.inf, -np.inf))
                found[name] = Range(
                    min(held.minimum, float(array.min())), max(held.maximum, float(array.max()))
                )
    return found


def _with_constants(graph: Graph, made: Graph) -> Graph:
    """The float graph with the constants that the integer graph holds, rounded as they are there."""
    copied = copy.deepcopy(graph)
    for name, tensor in copied.tensors.items():
        held = made.tensors.get(name)
        if tensor.data is not None and held is not None and held.data is not None and held.quantization:
            tensor.data = real_of(held.data, held)
    return copied


def steps_of(values: np.ndarray, tensor: GraphTensor) -> np.ndarray:
    quantization = tensor.quantization
    if quantization is None:
        return values
    limits = np.iinfo(tensor.dtype)
    steps = np.rint(values / np.float64(quantization.scale[0])) + quantization.zero_point[0]
    return np.clip(steps, limits.min, limits.max).astype(tensor.dtype)


def real_of(steps: np.ndarray, tensor: GraphTensor) -> np.ndarray:
    quantization = tensor.quantization
    if quantization is None:
        return steps
    shape = [1] * steps.ndim
    if len(quantization.scale) > 1:
        shape[quantization.axis] = -1
    scale, zero = np.array(quantization.scale, np.float64), np.array(quantization.zero_point)
    real = (steps.astype(np.float64) - zero.reshape(shape)) * scale.reshape(shape)
    return np.asarray(real, np.float32)
