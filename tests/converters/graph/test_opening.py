"""Graphs of one model at several sizes: what may differ, and what keeps the size."""

from collections.abc import Callable

import numpy as np
import pytest

from converters.graph.ir import Graph, GraphOperator, GraphTensor
from converters.graph.opening import StaysFixed, free
from converters.graph.options import complete

Make = Callable[[int], Graph]


def graph_of(tensors: list[GraphTensor], operators: list[GraphOperator]) -> Graph:
    return Graph({tensor.name: tensor for tensor in tensors}, operators, {"x": "x"}, {"y": "y"})


def op(builtin: str, inputs: list[str | None], output: str = "y", **options: object) -> GraphOperator:
    return GraphOperator(builtin, inputs, [output], complete(builtin, options))


def floats(name: str, *shape: int) -> GraphTensor:
    return GraphTensor(name, shape, "float32")


def integers(name: str, *values: int) -> GraphTensor:
    return GraphTensor(name, (len(values),), "int32", np.array(values, np.int32))


def slices(n: int) -> Graph:
    """x[1:, :2]"""
    tensors = [floats("x", n, 3), integers("b", 1, 0), integers("s", n - 1, 2), floats("y", n - 1, 2)]
    return graph_of(tensors, [op("SLICE", ["x", "b", "s"])])


def reshapes(n: int) -> Graph:
    tensors = [floats("x", n, 4), integers("s", n, 2, 2), floats("y", n, 2, 2)]
    return graph_of(tensors, [op("RESHAPE", ["x", "s"], newShape=[n, 2, 2])])


def two_reshapes_of_one_shape(n: int) -> Graph:
    """The shape is the target of one and, at the first size only by chance, the operand of another."""
    made = reshapes(n)
    made.tensors["z"] = floats("z", n, 2, 2)
    made.operators.append(op("RESHAPE", ["x", "s"], "z", newShape=[n, 2, 2]))
    made.outputs["z"] = "z"
    return made


def test_a_slice_to_the_end():
    """SLICE to the end is STRIDED_SLICE with a mask where the size changes; other ends stay."""
    graph = slices(4)
    free(graph, [slices(5), slices(9)])
    (operator,) = graph.operators
    assert ("STRIDED_SLICE", 1) == (operator.type, operator.options["endMask"])
    read = [graph.constant(name) for name in operator.inputs[1:]]
    assert [[1, 0], [4, 2], [1, 1]] == [list(array) for array in read if array is not None]
    assert ((-1, 3), (-1, 2)) == (graph.tensors["x"].signature, graph.tensors["y"].signature)


def test_a_shape():
    """The size that changes is -1, in the operand and in the option, of each RESHAPE that reads it."""
    graph = two_reshapes_of_one_shape(4)
    free(graph, [two_reshapes_of_one_shape(5)])
    for operator in graph.operators:
        shape = graph.constant(operator.inputs[1])
        assert [-1, 2, 2] == list(shape if shape is not None else ())
        assert [-1, 2, 2] == operator.options["newShape"]


def with_state(n: int) -> Graph:
    state = GraphTensor("h", (n, 3), "float32", variable=True)
    return graph_of([floats("x", n, 3), state, floats("y", n, 3)], [op("ADD", ["x", "h"])])


def with_another_operator(n: int) -> Graph:
    return graph_of([floats("x", n, 3), floats("y", n, 3)], [op("ABS" if n == 4 else "NEG", ["x"])])


def with_another_option(n: int) -> Graph:
    return graph_of([floats("x", n, 3), floats("y", n, 3)], [op("SOFTMAX", ["x"], beta=float(n))])


def with_a_shorter_slice(n: int) -> Graph:
    tensors = [floats("x", n, 3), integers("b", 1, 0), integers("s", n - 2, 2), floats("y", n - 2, 2)]
    return graph_of(tensors, [op("SLICE", ["x", "b", "s"])])


def with_one_more(n: int) -> Graph:
    made = graph_of([floats("x", n, 3), floats("y", n, 3)], [op("ABS", ["x"])])
    if n != 4:
        made.tensors["z"] = floats("z", n, 3)
        made.operators.append(op("NEG", ["y"], "z"))
        made.outputs = {"y": "z"}
    return made


def reading_itself(n: int) -> Graph:
    tensors = [floats("x", n, 3), floats("a", n, 3), floats("y", n, 3)]
    return graph_of(tensors, [op("ABS", ["x"], "a"), op("MUL", ["a", "a" if n == 4 else "x"])])


def with_a_constant_at_some_sizes(n: int) -> Graph:
    other = integers("k", 1) if n == 4 else GraphTensor("k", (1,), "int32")
    return graph_of([floats("x", n, 3), other, floats("y", n, 3)], [op("ADD", ["x", "k"])])


def of_another_rank(n: int) -> Graph:
    shape = (n, 3) if n == 4 else (n, 3, 1)
    return graph_of([floats("x", n, 3), floats("y", *shape)], [op("ABS", ["x"])])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (with_state, "a state whose shape"),
        (with_another_operator, "other operators at other sizes"),
        (with_another_option, "its options depend"),
        (with_a_shorter_slice, "a constant that depends"),
        (with_one_more, "followed by other operators"),
        (reading_itself, "reads other values"),
        (with_a_constant_at_some_sizes, "constant at some sizes only"),
        (of_another_rank, "the number of its axes"),
    ],
)
def test_what_stays_fixed(make: Make, words: str):
    """A difference that is no size of a tensor is refused."""
    with pytest.raises(StaysFixed, match=words):
        free(make(4), [make(4), make(7)])


@pytest.mark.parametrize(
    ("padding", "stride", "sizes", "fits"),
    [
        ("SAME", 1, (8, 9), True),
        ("SAME", 2, (8, 9), True),
        ("SAME", 2, (8, 10), False),
        ("VALID", 3, (8, 9), False),
        ("VALID", 3, (8, 9, 10), True),
    ],
)
def test_a_window_is_trusted_only_if_every_remainder_was_tried(padding, stride, sizes, fits):
    """Padding goes by the remainder of the size by the stride, so each must be among the sizes."""

    def make(n: int) -> Graph:
        options = {"padding": padding, "strideH": stride, "strideW": 1, "filterHeight": 2, "filterWidth": 1}
        tensors = [floats("x", 1, n, 4, 3), floats("y", 1, n // stride, 4, 3)]
        return graph_of(tensors, [op("MAX_POOL_2D", ["x"], **options)])

    if fits:
        free(make(sizes[0]), [make(n) for n in sizes[1:]])
        return
    with pytest.raises(StaysFixed, match="its padding goes by the size"):
        free(make(sizes[0]), [make(n) for n in sizes[1:]])
