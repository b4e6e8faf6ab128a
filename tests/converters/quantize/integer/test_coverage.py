"""What becomes of operators in integer precisions, as a plan says it."""

import numpy as np

from converters.graph.ir import Graph, GraphOperator, GraphTensor
from converters.quantize.integer.coverage import integer_forms, left_in_float


def chain(*kinds: str) -> Graph:
    """x -> one operator of each type -> y, each standing for a source operator of its own."""
    tensors = {name: GraphTensor(name, (1, 2, 2, 4), "float32") for name in ("x", *kinds)}
    names = ["x", *kinds]
    operators = [
        GraphOperator(kind, [before], [kind], {}, (index,))
        for index, (before, kind) in enumerate(zip(names, kinds, strict=False))
    ]
    return Graph(tensors, operators, {"x": "x"}, {"y": kinds[-1]})


def test_what_has_an_integer_kernel_is_not_mentioned():
    """A plan says its precision then, and no more."""
    assert {} == integer_forms(chain("RELU", "LOGISTIC"), "litert")
    assert [] == left_in_float(chain("RELU", "LOGISTIC"))


def test_tables_decompositions_and_floats_are_told():
    """Each with the precision that it is for."""
    table, other = "looked up in a table of its values", "made of other integer operators"
    graph = chain("SIN", "SQUARE", "GELU", "ZEROS_LIKE")
    assert {
        0: {"int8": f"in int8, {table}", "int16x8": f"in int16x8, {table}"},
        1: {"int8": f"in int8, {other}", "int16x8": f"in int16x8, {other}"},
        2: {"int16x8": f"in int16x8, {table}"},
        3: dict.fromkeys(("int8", "int16x8"), "in float32: it has no integer form"),
    } == integer_forms(graph, "litert")
    assert ["ZEROS_LIKE"] == [operator.type for operator, _ in left_in_float(graph)]


def test_the_runtime_counts():
    """tflite-runtime 2.14 has no integer LOG."""
    assert ["int16x8"] == list(integer_forms(chain("LOG"), "litert")[0])
    assert ["int8", "int16x8"] == list(integer_forms(chain("LOG"), "tflite")[0])


def test_a_source_operator_of_several_operators():
    """Those are named that are not kernels of the precision."""
    graph = chain("RELU", "RSQRT", "ZEROS_LIKE")
    graph.tensors["c"] = GraphTensor("c", (4,), "float32", np.ones(4, np.float32))
    for operator in graph.operators:
        operator.sources = (7,)
    found = integer_forms(graph, "litert")[7]
    lost = "but ZEROS_LIKE in float32: it has no integer form"
    assert f"in int8, {lost}" == found["int8"]
    assert f"in int16x8, RSQRT looked up in a table of its values, {lost}" == found["int16x8"]
