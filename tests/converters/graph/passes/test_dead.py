"""Operators and tensors that nothing reads."""

from converters.graph.ir import GraphTensor
from converters.graph.passes.dead import remove_dead


def test_dead(build):
    """A chain that leads nowhere goes with its constants; inputs stay."""
    b = build((1, 6, 6, 3))
    b.unary("RELU", b.conv("x", 4))
    kept = b.unary("ABS", "x")
    graph = b.outputs(kept)
    graph.tensors["loose"] = GraphTensor("loose", (1,), "float32")
    assert 2 == remove_dead(graph)
    assert ["ABS"] == [operator.type for operator in graph.operators]
    assert ["x", kept] == list(graph.tensors)


def test_unused_input(build):
    """An input that nothing reads is still an input."""
    b = build((2,))
    graph = b.outputs(b.reshape(b.constant(2), 2))
    remove_dead(graph)
    assert "x" in graph.tensors
