"""Quantise a one-operator graph, run it on a runtime, and compare it with its float model."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from attrs import frozen

from converters.graph.ir import Graph, GraphOperator, GraphTensor
from converters.graph.write import write
from converters.quantize import quantizer
from converters.quantize.prepared import Prepared, Range
from converters.quantize.scheme import Scheme
from tests.converters.quantize.older_runtime import OlderRuntime
from tests.converters.quantize.rules.cases import Case, Real

SAMPLES = 4
Arrays = dict[str, np.ndarray]
Run = Callable[[bytes, Arrays], Arrays | str]


@frozen
class Proof:
    """What became of a case: `off` is the greatest difference in steps, over all outputs and samples."""

    fallbacks: tuple[Any, ...]
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
        dtype = "float32" if isinstance(given, Real) else str(given.dtype)
        data = None if isinstance(given, Real) else given
        tensors[f"i{place}"] = GraphTensor(f"i{place}", given.shape, dtype, data)
    inputs = {name: name for name, tensor in tensors.items() if tensor.data is None}
    made = [f"y{place}" for place in range(len(case.outputs))]
    for name, dtype in zip(made, case.outputs, strict=True):
        tensors[name] = GraphTensor(name, (1,), dtype)
    operators = [GraphOperator(case.type, names, made, dict(case.options), (0,))]
    graph = Graph(tensors, operators, inputs, {name: name for name in made})
    if not inputs:  # a table alone: its rows are the model's input
        raise ValueError(f"{case.name} has no input")
    for name, array in computed(graph, drawn(case, np.random.default_rng(0))).items():
        tensors[name].shape = array.shape
    return graph


def computed(graph: Graph, feed: Arrays) -> Arrays:
    """The float model's outputs."""
    found = plain(write(graph), feed)
    if isinstance(found, str):
        raise ValueError(f"LiteRT refuses the float model: {found}")
    return found


def drawn(case: Case, draw: np.random.Generator) -> Arrays:
    """Inputs, uniform in their ranges with both ends among them."""
    found = {}
    for place, given in enumerate(case.inputs):
        if isinstance(given, Real):
            values = draw.uniform(given.low, given.high, given.shape).astype(np.float32)
            values.flat[:2] = given.low, given.high
            found[f"i{place}"] = values
    return found


def prove(case: Case, precision: str, runtime: str, run: Run) -> Proof:
    """Quantise a case with the ranges of seeded inputs, and run it."""
    graph = whole(case)
    draw = np.random.default_rng(1)
    samples = [drawn(case, draw) for _ in range(SAMPLES)]
    prepared = Prepared(graph, _ranges(graph, samples))
    made, fallbacks = quantizer.apply(prepared, Scheme(precision), runtime=runtime)
    floats = quantizer.float_operators(made, ends_convert=False)
    if fallbacks or floats:
        return Proof(fallbacks, floats, "", 0.0, made)
    reference = _with_constants(graph, made)
    data = write(made)
    off = 0.0
    for sample in samples:
        feed = {name: _steps(array, made.tensors[name]) for name, array in sample.items()}
        real = {name: _real(array, made.tensors[name]) for name, array in feed.items()}
        expected = computed(reference, real)
        got = run(data, feed)
        if isinstance(got, str):
            return Proof((), (), got, 0.0, made)
        for public, name in made.outputs.items():
            tensor = made.tensors[name]
            wanted = _steps(expected[public], tensor) if tensor.quantization else expected[public]
            far = np.abs(got[public].astype(np.float64) - wanted.astype(np.float64))
            off = max(off, float(far.max()))
    return Proof((), (), "", off, made)


def _ranges(graph: Graph, samples: list[Arrays]) -> dict[str, Range]:
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
            tensor.data = _real(held.data, held)
    return copied


def _steps(values: np.ndarray, tensor: GraphTensor) -> np.ndarray:
    quantization = tensor.quantization
    if quantization is None:
        return values
    limits = np.iinfo(tensor.dtype)
    steps = np.rint(values / np.float64(quantization.scale[0])) + quantization.zero_point[0]
    return np.clip(steps, limits.min, limits.max).astype(tensor.dtype)


def _real(steps: np.ndarray, tensor: GraphTensor) -> np.ndarray:
    quantization = tensor.quantization
    if quantization is None:
        return steps
    shape = [1] * steps.ndim
    if len(quantization.scale) > 1:
        shape[quantization.axis] = -1
    scale, zero = np.array(quantization.scale, np.float64), np.array(quantization.zero_point)
    real = (steps.astype(np.float64) - zero.reshape(shape)) * scale.reshape(shape)
    return np.asarray(real, np.float32)


__all__ = ["OlderRuntime", "Proof", "litert", "plain", "prove", "whole"]
