"""Activations against ONNX Runtime."""

import numpy as np
import pytest
from onnx import helper

X = np.linspace(-8, 8, 60, dtype=np.float32).reshape(1, 3, 4, 5)


@pytest.mark.parametrize(
    ("operator", "builtin"),
    [
        ("Abs", "ABS"),
        ("Cos", "COS"),
        ("Exp", "EXP"),
        ("Floor", "FLOOR"),
        ("HardSwish", "HARD_SWISH"),
        ("Neg", "NEG"),
        ("Relu", "RELU"),
        ("Sigmoid", "LOGISTIC"),
        ("Sin", "SIN"),
        ("Tanh", "TANH"),
    ],
)
def test_functions(convert, operator, builtin):
    """Functions of one operand become their builtin."""
    made = convert([helper.make_node(operator, ["x"], ["y"])], {"x": X})
    assert [builtin] == made.types


@pytest.mark.parametrize("operator", ["Sqrt", "Log"])
def test_functions_of_positives(convert, operator):
    """Functions that are defined for positive operands."""
    convert([helper.make_node(operator, ["x"], ["y"])], {"x": np.abs(X) + 0.1})


@pytest.mark.parametrize("attributes", [{}, {"alpha": 0.3}])
def test_leaky_relu(convert, attributes):
    """LeakyRelu keeps its slope."""
    convert([helper.make_node("LeakyRelu", ["x"], ["y"], **attributes)], {"x": X})


@pytest.mark.parametrize("attributes", [{}, {"alpha": 1 / 6, "beta": 0.5}, {"alpha": 0.5, "beta": 0.1}])
def test_hard_sigmoid(convert, attributes):
    """HardSigmoid is arithmetic around a fused RELU6."""
    made = convert([helper.make_node("HardSigmoid", ["x"], ["y"], **attributes)], {"x": X})
    assert {"ADD", "MUL"} == set(made.types)


@pytest.mark.parametrize(
    ("low", "high", "types"),
    [
        (0.0, 6.0, ["RELU6"]),
        (-1.0, 1.0, ["RELU_N1_TO_1"]),
        (0.0, 1.0, ["RELU_0_TO_1"]),
        (0.0, None, ["RELU"]),
        (0.0, 4.0, ["RELU", "MINIMUM"]),
        (-2.0, 3.0, ["MAXIMUM", "MINIMUM"]),
        (None, 3.0, ["MINIMUM"]),
        (0.0, float(np.finfo(np.float32).max), ["RELU"]),
    ],
)
@pytest.mark.parametrize("opset", [6, 17])
def test_clip(convert, low, high, types, opset):
    """Clip is the RELU with its bounds, else MAXIMUM and MINIMUM; bounds as attributes or as inputs."""
    bounds = {"min": low, "max": high}
    given = {name: value for name, value in bounds.items() if value is not None}
    if opset < 11:
        made = convert([helper.make_node("Clip", ["x"], ["y"], **given)], {"x": X}, opset=opset)
    else:
        names = ["x", *(name if value is not None else "" for name, value in bounds.items())]
        constants = {name: np.array(value, np.float32) for name, value in given.items()}
        made = convert([helper.make_node("Clip", names, ["y"])], {"x": X}, constants=constants)
    assert types == made.types


def test_clip_to_nothing(convert):
    """A Clip without bounds is a copy, which an output of the graph needs."""
    made = convert([helper.make_node("Clip", ["x"], ["y"])], {"x": X})
    assert ["RESHAPE"] == made.types


@pytest.mark.parametrize("dtype", ["float32", "int8", "int64"])
def test_clip_by_computed_bounds(convert, dtype):
    """Bounds that the model computes are operands of MAXIMUM and MINIMUM."""
    node = helper.make_node("Clip", ["x", "low", "high"], ["y"])
    bounds = {"low": np.array(-1, dtype), "high": np.array(2, dtype)}
    made = convert([node], {"x": (X.shape), **bounds}, dtype=dtype)
    assert ["MAXIMUM", "MINIMUM"] == made.types
