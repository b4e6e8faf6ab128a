"""Which operators of a quantised IR compute with integers, told from what they read."""

import pytest

from converters.openvino.integers import Node, float_operators


def node(name: str, kind: str, *reads: str, constants: int = 0, floats: bool = True) -> Node:
    return Node(name, kind, reads, constants, floats)


QUANTISED = node("q", "FakeQuantize", "input", constants=4)


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ([node("conv", "Convolution", "input", constants=1)], {"conv"}),
        ([QUANTISED, node("conv", "Convolution", "q", constants=1)], set()),
        ([QUANTISED, node("r", "Reshape", "q"), node("m", "MatMul", "r", constants=1)], set()),
        ([QUANTISED, node("m", "MatMul", "q", "input")], {"m"}),
        ([QUANTISED, node("m", "MatMul", "q"), node("a", "Add", "m"), node("g", "Gelu", "a")], set()),
        ([QUANTISED, node("m", "MatMul", "q"), node("s", "Softmax", "m")], {"s"}),
        ([QUANTISED, node("s", "Softmax", "q"), node("a", "Relu", "s")], {"s", "a"}),
        ([node("ids", "Gather", "input", floats=False), node("c", "Convert", "ids")], set()),
    ],
    ids=["float", "quantised", "carried", "half", "fused", "no kernel", "behind float", "no floats"],
)
def test_float_operators(nodes, expected):
    """An operator with an integer kernel uses it if all that it reads is quantised; what follows is fused."""
    assert expected == float_operators(nodes)
