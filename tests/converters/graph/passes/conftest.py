"""A small graph builder, and the comparison that every rewrite must pass."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from converters.graph.ir import Graph, GraphOperator, GraphTensor
from converters.graph.options import complete
from converters.graph.passes import run
from converters.graph.verify import verify
from converters.graph.write import write


class Builder:
    """Builds a graph operator by operator; operator `n` stands for source operator `n`."""

    def __init__(self, shape: Sequence[int], dtype: str = "float32") -> None:
        self.graph = Graph({"x": GraphTensor("x", tuple(shape), dtype)}, [], {"x": "x"}, {})

    def constant(self, *shape: int, value: Any = None, dtype: str = "float32") -> str:
        """A constant: random normal numbers, or `value`."""
        name = f"constant_{len(self.graph.tensors)}"
        data = (
            np.random.default_rng(len(self.graph.tensors)).normal(size=shape)
            if value is None
            else np.array(value)
        )
        self.graph.tensors[name] = GraphTensor(name, data.shape, dtype, data.astype(dtype))
        return name

    def add(self, builtin: str, inputs: list[str | None], shape: Sequence[int], **options: Any) -> str:
        """An operator with one output of this shape; gives its name."""
        name = f"t{len(self.graph.operators)}"
        self.graph.tensors[name] = GraphTensor(name, tuple(shape), "float32")
        source = (len(self.graph.operators),)
        self.graph.operators.append(
            GraphOperator(builtin, inputs, [name], complete(builtin, options), source)
        )
        return name

    def conv(self, tensor: str, channels: int, padding: str = "VALID", stride: int = 1, **more: Any) -> str:
        """A CONV_2D with a 3x3 kernel."""
        batch, height, width, into = self.graph.tensors[tensor].shape
        inputs = [tensor, self.constant(channels, 3, 3, into), self.constant(channels)]
        cut = 0 if padding == "SAME" else 2
        shape = (batch, -(-(height - cut) // stride), -(-(width - cut) // stride), channels)
        options = {"padding": padding, "strideH": stride, "strideW": stride, **more}
        return self.add("CONV_2D", list(inputs), shape, **options)

    def dense(self, tensor: str, channels: int, *, bias: bool = True, **options: Any) -> str:
        """A FULLY_CONNECTED over two axes."""
        rows, into = self.graph.tensors[tensor].shape
        weights, added = self.constant(channels, into), self.constant(channels) if bias else None
        return self.add("FULLY_CONNECTED", [tensor, weights, added], (rows, channels), **options)

    def reshape(self, tensor: str, *shape: int) -> str:
        """A RESHAPE."""
        target = self.constant(value=shape, dtype="int32")
        return self.add("RESHAPE", [tensor, target], shape, newShape=list(shape))

    def transpose(self, tensor: str, *perm: int) -> str:
        """A TRANSPOSE."""
        shape = [self.graph.tensors[tensor].shape[axis] for axis in perm]
        return self.add("TRANSPOSE", [tensor, self.constant(value=perm, dtype="int32")], shape)

    def binary(self, builtin: str, left: str, right: str, **options: Any) -> str:
        """ADD, MUL and their kin."""
        shapes = (self.graph.tensors[left].shape, self.graph.tensors[right].shape)
        return self.add(builtin, [left, right], np.broadcast_shapes(*shapes), **options)

    def unary(self, builtin: str, tensor: str) -> str:
        """RELU and its kin."""
        return self.add(builtin, [tensor], self.graph.tensors[tensor].shape)

    def scaled(self, builtin: str, tensor: str, value: float, **options: Any) -> str:
        """A tensor and a number."""
        return self.binary(builtin, tensor, self.constant(value=[value]), **options)

    def gate(self) -> str:
        """`relu6(x + 3)`."""
        return self.scaled("ADD", "x", 3, fusedActivationFunction="RELU6")

    def outputs(self, *tensors: str) -> Graph:
        """The graph, with these outputs."""
        self.graph.outputs.update({f"y{index}": name for index, name in enumerate(tensors)})
        return self.graph


@pytest.fixture
def build() -> type[Builder]:
    """The builder."""
    return Builder


@pytest.fixture
def rewrite() -> Callable[[Graph], tuple[dict[str, int], list[str]]]:
    """Rewrite a graph, compare its outputs before and after, and give the counts and the types left."""

    def rewrite(graph: Graph) -> tuple[dict[str, int], list[str]]:
        before = _run(graph)
        sources = {source for operator in graph.operators for source in operator.sources}
        counts = run(graph)
        verify(graph)
        after = _run(graph)
        assert list(before) == list(after)
        for name, value in before.items():
            assert value.shape == after[name].shape
            np.testing.assert_allclose(after[name], value, rtol=0, atol=1e-5 * np.abs(value).max())
        assert {} == run(graph)
        if not counts.get("remove_dead"):
            assert sources == {source for operator in graph.operators for source in operator.sources}
        return counts, [operator.type for operator in graph.operators]

    return rewrite


@pytest.fixture
def run_graph() -> Callable[[Graph], dict[str, np.ndarray]]:
    """Run a graph in LiteRT on the same inputs each time."""
    return _run


def _run(graph: Graph) -> dict[str, np.ndarray]:
    interpreter = Interpreter(model_content=write(graph), num_threads=1)
    interpreter.allocate_tensors()
    generator = np.random.default_rng(0)
    feeds = {name: _drawn(generator, graph.tensors[tensor]) for name, tensor in graph.inputs.items()}
    return interpreter.get_signature_runner("serving_default")(**feeds)


def _drawn(generator: np.random.Generator, tensor: GraphTensor) -> np.ndarray:
    if tensor.dtype == "float32":
        return generator.normal(size=tensor.shape).astype(np.float32)
    return generator.integers(-100, 100, tensor.shape).astype(tensor.dtype)
