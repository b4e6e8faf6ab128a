"""Small ONNX networks, converted and compared with ONNX Runtime."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from ai_edge_litert.interpreter import Interpreter
from attrs import frozen
from onnx import helper, numpy_helper

from converters.graph import read, write
from converters.graph.ir import Graph
from converters.graph.passes import run
from converters.readers.onnx import reader
from converters.shaping import Shaping
from converters.verdict import Verdict


@frozen
class Network:
    """ONNX nodes with their inputs (random values of these shapes) and constants."""

    nodes: Sequence[onnx.NodeProto]
    inputs: Mapping[str, Sequence[int] | np.ndarray]
    outputs: Sequence[str] = ("y",)
    constants: Mapping[str, np.ndarray] = {}
    opset: int = 17
    dtype: str = "float32"  # of inputs and outputs
    output_dtype: str | None = None

    def samples(self) -> dict[str, np.ndarray]:
        """Values for the inputs, the same at every call."""
        generator = np.random.default_rng(7)
        return {
            name: value
            if isinstance(value, np.ndarray)
            else (generator.normal(size=value) * 3).astype(self.dtype)
            for name, value in self.inputs.items()
        }

    def proto(self) -> onnx.ModelProto:
        """The network as an ONNX model whose outputs' shapes are left to inference."""
        made = helper.np_dtype_to_tensor_dtype(np.dtype(self.output_dtype or self.dtype))
        inputs = [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
            for name, value in self.samples().items()
        ]
        graph = helper.make_graph(
            list(self.nodes),
            "network",
            inputs,
            [helper.make_tensor_value_info(name, made, None) for name in self.outputs],
            [numpy_helper.from_array(value, name) for name, value in self.constants.items()],
        )
        domains = {node.domain for node in self.nodes} - {""}
        opsets = [helper.make_opsetid("", self.opset), *(helper.make_opsetid(name, 1) for name in domains)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
        del inferred.graph.value_info[:]
        for value in inferred.graph.output:  # the checker wants one, where inference knows none
            value.type.tensor_type.shape.SetInParent()
        return inferred


@frozen
class Converted:
    """What became of a network: the graph before and after rewriting."""

    lowered: list[str]  # operator types
    graph: Graph
    counts: dict[str, int]
    verdicts: tuple[Verdict, ...]

    @property
    def types(self) -> list[str]:
        """The operator types after rewriting."""
        return [operator.type for operator in self.graph.operators]


@pytest.fixture
def judge(tmp_path: Path) -> Callable[..., tuple[Verdict, ...]]:
    """The verdicts on a network's nodes (arguments as of `Network`), through a file."""

    def judge(*args: object, **kwargs: object) -> tuple[Verdict, ...]:
        network = Network(*args, **kwargs)
        file = tmp_path / "network.onnx"
        onnx.save(network.proto(), file)
        graph, verdicts = reader.lower(reader.read(file, Shaping()))
        assert (graph is None) == any(not verdict.ok for verdict in verdicts)
        return verdicts

    return judge


@pytest.fixture
def convert(tmp_path: Path) -> Callable[..., Converted]:
    """Convert a network (arguments as of `Network`) and compare it with ONNX Runtime.

    Both the graph as it was lowered and as it was rewritten must compute what the source computes, to
    within `tolerance` of the largest output.
    """

    def convert(*args: object, tolerance: float = 2e-6, **kwargs: object) -> Converted:
        network = Network(*args, **kwargs)
        file = tmp_path / "network.onnx"
        onnx.save(network.proto(), file)
        model = reader.read(file, Shaping())
        graph, verdicts = reader.lower(model)
        assert graph is not None, [str(verdict) for verdict in verdicts if not verdict.ok]
        lowered = [operator.type for operator in graph.operators]
        _, reference = reader.reference(model)
        samples = network.samples()
        expected = reference(samples)
        shapes = {spec.name: spec.shape for spec in model.outputs}
        assert shapes == {name: value.shape for name, value in expected.items()}
        before = write.write(graph)
        _compare(expected, _run(before, samples), tolerance)
        assert graph == read.read(before, where="network")
        counts = run(graph)
        _compare(expected, _run(write.write(graph), samples), tolerance)
        assert run(graph) == {}
        return Converted(lowered, graph, counts, verdicts)

    return convert


def _run(data: bytes, samples: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    interpreter = Interpreter(model_content=data, num_threads=1)
    interpreter.allocate_tensors()
    return interpreter.get_signature_runner("serving_default")(**samples)


def _compare(expected: Mapping[str, np.ndarray], actual: Mapping[str, np.ndarray], tolerance: float) -> None:
    assert set(expected) == set(actual)
    for name, value in expected.items():
        assert value.shape == actual[name].shape
        assert value.dtype == actual[name].dtype
        scale = max(float(np.abs(value).max()), 1e-6)
        np.testing.assert_allclose(actual[name], value, rtol=0, atol=tolerance * scale)
