"""Well-formed graphs, and the ways in which they are not."""

import numpy as np
import pytest

from converters.graph.ir import Graph, GraphOperator, GraphTensor
from converters.graph.verify import verify
from device_agent.errors import InvalidModel


def _graph() -> Graph:
    names = ["x", "h", "y"]
    return Graph(
        {name: GraphTensor(name, (2,), "float32") for name in names},
        [GraphOperator("RELU", ["x"], ["h"]), GraphOperator("ABS", ["h"], ["y"])],
        {"x": "x"},
        {"y": "y"},
    )


def _swap(graph: Graph) -> None:
    graph.operators.reverse()


def _unknown_operator(graph: Graph) -> None:
    graph.operators[0].type = "FROBNICATE"


def _unknown_tensor(graph: Graph) -> None:
    graph.operators[0].inputs = ["z"]


def _twice(graph: Graph) -> None:
    graph.operators[1].outputs = ["h"]


def _undefined_output(graph: Graph) -> None:
    graph.tensors["z"] = GraphTensor("z", (2,), "float32")
    graph.outputs["z"] = "z"


def _dangling(graph: Graph) -> None:
    graph.tensors["z"] = GraphTensor("z", (2,), "float32")


def _open_shape(graph: Graph) -> None:
    graph.tensors["h"].shape = (-1,)


def _unknown_dtype(graph: Graph) -> None:
    graph.tensors["h"].dtype = "float31"


def _other_value(graph: Graph) -> None:
    graph.tensors["k"] = GraphTensor("k", (2,), "float32", np.zeros(3, np.float32))
    graph.operators[0].inputs = ["x", "k"]


def _constant_input(graph: Graph) -> None:
    graph.tensors["x"].data = np.zeros(2, np.float32)


def _other_name(graph: Graph) -> None:
    graph.tensors["h"].name = "g"


def _other_signature(graph: Graph) -> None:
    graph.tensors["x"].signature = (-1,) * 7


def test_well_formed():
    """A well-formed graph passes."""
    verify(_graph())


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_swap, "before anything defines it"),
        (_unknown_operator, "no such operator"),
        (_unknown_tensor, "no tensor 'z'"),
        (_twice, "defined already"),
        (_undefined_output, "nothing defines this output"),
        (_dangling, "no operator reads or makes"),
        (_open_shape, "not static"),
        (_unknown_dtype, "no dtype float31"),
        (_other_value, "not what it states"),
        (_constant_input, "a constant or another input"),
        (_other_name, "filed as"),
        (_other_signature, "another number of axes"),
    ],
)
def test_ill_formed(spoil, message):
    """Every way in which a graph can be wrong is named."""
    graph = _graph()
    spoil(graph)
    with pytest.raises(InvalidModel, match=message):
        verify(graph)
