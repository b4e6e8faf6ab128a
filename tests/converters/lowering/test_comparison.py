"""Comparisons, logic and choice against ONNX Runtime."""

import numpy as np
import pytest
from onnx import helper

BOOLS = np.array([[True, False, True], [False, False, True]])


@pytest.mark.parametrize("operator", ["Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"])
@pytest.mark.parametrize("dtype", ["float32", "int32", "int64"])
def test_comparison(convert, operator, dtype):
    """With a broadcast operand."""
    node = helper.make_node(operator, ["a", "b"], ["y"])
    inputs = {"a": np.array([[1, 2, 3], [3, 2, 1]], dtype), "b": np.array([2, 2, 2], dtype)}
    convert([node], inputs, output_dtype="bool")


@pytest.mark.parametrize("operator", ["And", "Or", "Xor"])
def test_logic(convert, operator):
    """With a broadcast operand."""
    node = helper.make_node(operator, ["a", "b"], ["y"])
    convert([node], {"a": BOOLS, "b": np.array([True, True, False])}, output_dtype="bool")


def test_not(convert):
    """Not is LOGICAL_NOT."""
    made = convert([helper.make_node("Not", ["a"], ["y"])], {"a": BOOLS}, output_dtype="bool")
    assert ["LOGICAL_NOT"] == made.types


@pytest.mark.parametrize(
    ("operator", "attributes"),
    [("IsNaN", {}), ("IsInf", {}), ("IsInf", {"detect_negative": 0}), ("IsInf", {"detect_positive": 0})],
)
def test_what_is_no_number(convert, operator, attributes):
    """NaN and both infinities are told apart."""
    values = np.array([1.0, np.nan, np.inf, -np.inf], np.float32)
    convert([helper.make_node(operator, ["x"], ["y"], **attributes)], {"x": values}, output_dtype="bool")


@pytest.mark.parametrize("dtype", ["float32", "int64"])
def test_where(convert, dtype):
    """Condition and values broadcast against each other."""
    nodes = [helper.make_node("Where", ["c", "a", "k"], ["y"])]
    inputs = {"c": BOOLS, "a": np.arange(3).astype(dtype)}
    made = convert(nodes, inputs, constants={"k": np.array(-1, dtype)}, output_dtype=dtype)
    assert ["SELECT_V2"] == made.types


def test_many_axes_broadcast_as_few(convert):
    """Comparisons and choices broadcast over four axes at most, so axes that go together are one."""
    nodes = [
        helper.make_node("Greater", ["x", "k"], ["m"]),
        helper.make_node("Where", ["m", "x", "k"], ["y"]),
    ]
    made = convert(nodes, {"x": (2, 3, 2, 2, 3)}, constants={"k": np.ones((3, 1, 1, 1), np.float32)})
    (select,) = (operator for operator in made.graph.operators if operator.type == "SELECT_V2")
    assert (2, 3, 12) == made.graph.tensors[select.outputs[0]].shape
