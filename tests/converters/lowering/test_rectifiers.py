"""Composed activations against ONNX Runtime."""

import numpy as np
import pytest
from onnx import helper

X = np.linspace(-6, 6, 120, dtype=np.float32).reshape(1, 4, 5, 6)


@pytest.mark.parametrize(
    ("operator", "attributes", "opset"),
    [
        ("Elu", {"alpha": 0.5}, 17),
        ("Selu", {}, 17),
        ("Celu", {"alpha": 2.0}, 17),
        ("Softplus", {}, 17),
        ("Softsign", {}, 17),
        ("ThresholdedRelu", {"alpha": 1.5}, 17),
        ("Shrink", {"lambd": 1.0, "bias": 0.5}, 17),
        ("Mish", {}, 18),
        ("Gelu", {}, 20),
        ("Gelu", {"approximate": "tanh"}, 20),
    ],
)
def test_activation(convert, operator, attributes, opset):
    """On both sides of zero."""
    node = helper.make_node(operator, ["x"], ["y"], **attributes)
    convert([node], {"x": X}, opset=opset, tolerance=5e-6)


def test_softplus_and_mish_do_not_overflow(convert):
    """Values whose exponential is no float."""
    values = np.array([-200.0, -90.0, 0.0, 90.0, 200.0], np.float32)
    nodes = [helper.make_node("Softplus", ["x"], ["y"]), helper.make_node("Mish", ["x"], ["z"])]
    convert(nodes, {"x": values}, outputs=("y", "z"), opset=18)


@pytest.mark.parametrize(
    ("shape", "slope", "types"),
    [
        ((1, 4, 5, 6), (4, 1, 1), ["PRELU"]),
        ((2, 3), (1,), ["PRELU"]),
        ((1, 2, 2, 3, 4), (2, 1, 1), ["MAXIMUM", "MINIMUM", "MUL", "ADD"]),
    ],
)
def test_prelu(convert, shape, slope, types):
    """PRelu by a constant slope per channel; of five axes it is composed."""
    node = helper.make_node("PRelu", ["x", "s"], ["y"])
    values = np.random.default_rng(3).normal(size=slope).astype(np.float32)
    made = convert([node], {"x": shape}, constants={"s": values})
    assert sorted(types) == sorted("MAXIMUM" if name == "RELU" else name for name in made.types)
