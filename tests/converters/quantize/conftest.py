"""Small graphs for the tests of quantisation."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from converters.graph.ir import Graph, GraphOperator, GraphTensor
from converters.model import Model
from converters.quantize.integer.prepared import Prepared
from converters.quantize.integer.ranges import choose
from converters.quantize.integer.statistics import collect
from converters.quantize.samples.calibration import Calibration
from device_agent.bundle import TensorSpec
from tests.converters.quantize.integer.older_runtime import OlderRuntime

CONV = {"padding": "SAME", "strideW": 1, "strideH": 1, "dilationWFactor": 1, "dilationHFactor": 1}


def _conv_graph(weights: np.ndarray, bias: np.ndarray, *, then: str | None = None) -> Graph:
    """x: float32[1, 4, 4, in] -> CONV_2D, weights [out, 3, 3, in] -> (an operator of type `then`) -> y."""
    out, _, _, into = weights.shape
    tensors = {
        "x": GraphTensor("x", (1, 4, 4, into), "float32"),
        "w": GraphTensor("w", weights.shape, "float32", weights.astype(np.float32)),
        "b": GraphTensor("b", bias.shape, "float32", bias.astype(np.float32)),
        "y": GraphTensor("y", (1, 4, 4, out), "float32"),
    }
    operators = [GraphOperator("CONV_2D", ["x", "w", "b"], ["y"], dict(CONV), (0,))]
    if then is not None:
        tensors["z"] = GraphTensor("z", (1, 4, 4, out), "float32")
        operators.append(GraphOperator(then, ["y"], ["z"], {}, (1,)))
    return Graph(tensors, operators, {"input": "x"}, {"output": "z" if then else "y"})


def _samples(channels: int, count: int = 24) -> Calibration:
    """Seeded normal inputs for `conv_graph`."""
    x = np.random.default_rng(0).normal(size=(count, 1, 4, 4, channels)).astype(np.float32)
    return Calibration("seeded", count, lambda: ({"input": sample} for sample in x))


def _graph(
    tensors: dict[str, tuple[int, ...] | np.ndarray],
    operators: list[tuple[str, list[str | None], list[str]] | tuple[str, list[str | None], list[str], dict]],
    inputs: list[str],
    outputs: list[str],
) -> Graph:
    """A graph of float32 tensors (given by shape) and constants (given by value, float64 becomes float32)."""
    made = {}
    for name, given in tensors.items():
        data = None
        if isinstance(given, np.ndarray):
            data = given.astype(np.float32) if given.dtype == np.float64 else given
        shape = given if data is None else data.shape
        made[name] = GraphTensor(name, shape, "float32" if data is None else str(data.dtype), data)
    rows = [GraphOperator(*row, sources=(index,)) for index, row in enumerate(operators)]
    return Graph(made, rows, {name: name for name in inputs}, {name: name for name in outputs})


def _prepared(graph: Graph, calibration: Calibration) -> Prepared:
    """The graph with the least and greatest values of these samples."""
    return Prepared(graph, choose(collect(graph, calibration, lambda *_: None), "minmax"))


def _normal(shapes: dict[str, tuple[int, ...]], count: int = 16) -> Calibration:
    """Seeded normal values of these shapes."""
    generator = np.random.default_rng(0)
    rows = [
        {name: generator.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
        for _ in range(count)
    ]
    return Calibration("seeded", count, lambda: iter(rows))


@pytest.fixture(scope="session")
def graph_of() -> Callable[..., Graph]:
    return _graph


@pytest.fixture(scope="session")
def prepared() -> Callable[..., Prepared]:
    return _prepared


@pytest.fixture(scope="session")
def normal() -> Callable[..., Calibration]:
    return _normal


@pytest.fixture(scope="session")
def conv_graph() -> Callable[..., Graph]:
    return _conv_graph


@pytest.fixture(scope="session")
def samples() -> Callable[..., Calibration]:
    return _samples


@pytest.fixture(scope="session")
def model_of_one_value() -> Model:
    """A model without a file: x float32[1, 8] -> y float32[1, 1]."""
    x, y = TensorSpec("x", "float32", (1, 8)), TensorSpec("y", "float32", (1, 1))
    return Model(Path("m.onnx"), "onnx", "0" * 64, 1, (x,), (y,), (), 0, None)


@pytest.fixture(scope="session")
def older() -> Iterator[OlderRuntime]:
    """tflite-runtime 2.14, where `EDGE_TFLITE_PYTHON` names a Python that has it."""
    runtime = OlderRuntime()
    yield runtime
    runtime.close()
