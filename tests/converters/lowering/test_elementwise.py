"""Operators of two and more operands against ONNX Runtime."""

import numpy as np
import pytest
from onnx import helper


@pytest.mark.parametrize("operator", ["Add", "Sub", "Mul", "Div"])
@pytest.mark.parametrize(
    ("left", "right"),
    [
        ((1, 3, 4, 5), (1, 3, 4, 5)),
        ((1, 3, 4, 5), (1, 3, 1, 1)),
        ((1, 3, 4, 5), (5,)),
        ((4, 1), (1, 3, 4, 5)),
        ((2, 3), (3,)),
        ((2, 1, 3, 4, 5), (5,)),
        ((3,), ()),
    ],
)
@pytest.mark.parametrize("constant", [None, "left", "right"])
def test_broadcasting(convert, operator, left, right, constant):
    """Both operands broadcast, computed or constant."""
    generator = np.random.default_rng(3)
    shapes = {"a": left, "b": right}
    name = {"left": "a", "right": "b"}.get(constant or "")
    constants = {}
    if name is not None:
        constants[name] = np.asarray(generator.normal(size=shapes.pop(name)) + 3, np.float32)
    inputs = {key: np.asarray(generator.normal(size=shape) + 3, np.float32) for key, shape in shapes.items()}
    convert([helper.make_node(operator, ["a", "b"], ["y"])], inputs, constants=constants)


@pytest.mark.parametrize("constant", [(1, 4, 1, 1), (4, 6, 6), (1,), (6,), (), (6, 1)])
def test_constants_follow_the_layout(convert, constant):
    """A constant beside a feature map that lies in NHWC is laid out for it; no transpose is left."""
    generator = np.random.default_rng(3)
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=(0, 3, 1, 2)),
        helper.make_node("Conv", ["t", "w"], ["c"], pads=(1, 1, 1, 1)),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Add", ["r", "k"], ["a"]),
        helper.make_node("Transpose", ["a"], ["y"], perm=(0, 2, 3, 1)),
    ]
    constants = {
        "w": generator.normal(size=(4, 3, 3, 3)).astype(np.float32),
        "k": np.asarray(generator.normal(size=constant), np.float32),
    }
    made = convert(nodes, {"x": (1, 6, 6, 3)}, constants=constants)
    assert ["CONV_2D", "ADD"] == made.types


def test_operands_of_two_layouts(convert):
    """A feature map in NHWC meets an input in NCHW: only one of them is transposed."""
    weights = np.random.default_rng(3).normal(size=(4, 3, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=(0, 3, 1, 2)),
        helper.make_node("Conv", ["t", "w"], ["c"], pads=(1, 1, 1, 1)),
        helper.make_node("Add", ["c", "z"], ["a"]),
        helper.make_node("Transpose", ["a"], ["y"], perm=(0, 2, 3, 1)),
    ]
    made = convert(nodes, {"x": (1, 6, 6, 3), "z": (1, 4, 6, 6)}, constants={"w": weights})
    assert 1 == made.types.count("TRANSPOSE")


def test_squeeze_and_excite(convert):
    """A gate per channel stays in NHWC all the way."""
    generator = np.random.default_rng(3)
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=(0, 3, 1, 2)),
        helper.make_node("Conv", ["t", "w"], ["c"], pads=(1, 1, 1, 1)),
        helper.make_node("GlobalAveragePool", ["c"], ["p"]),
        helper.make_node("Conv", ["p", "v"], ["g"]),
        helper.make_node("Sigmoid", ["g"], ["s"]),
        helper.make_node("Mul", ["c", "s"], ["m"]),
        helper.make_node("Transpose", ["m"], ["y"], perm=(0, 2, 3, 1)),
    ]
    constants = {
        "w": generator.normal(size=(4, 3, 3, 3)).astype(np.float32),
        "v": generator.normal(size=(4, 4, 1, 1)).astype(np.float32),
    }
    made = convert(nodes, {"x": (1, 6, 6, 3)}, constants=constants)
    assert ["CONV_2D", "MEAN", "CONV_2D", "LOGISTIC", "MUL"] == made.types


@pytest.mark.parametrize("operator", ["Max", "Min", "Sum"])
@pytest.mark.parametrize("count", [1, 2, 4])
def test_variadic(convert, operator, count):
    """Any number of operands is a chain."""
    names = [f"x{index}" for index in range(count)]
    generator = np.random.default_rng(3)
    inputs = {name: generator.normal(size=(2, 3)).astype(np.float32) for name in names}
    convert([helper.make_node(operator, names, ["y"])], inputs)


@pytest.mark.parametrize("dtype", ["int32", "int64"])
@pytest.mark.parametrize("operator", ["Add", "Sub", "Mul"])
def test_integers(convert, operator, dtype):
    """Integer arithmetic stays integer."""
    convert([helper.make_node(operator, ["a", "b"], ["y"])], {"a": (3, 4), "b": (4,)}, dtype=dtype)


def test_division_that_stays(convert):
    """A divisor whose reciprocal is not a normal float stays a division."""
    made = convert(
        [helper.make_node("Div", ["x", "d"], ["y"])],
        {"x": np.array([1e38, 2.0], np.float32)},
        constants={"d": np.array([2e38, 3e-38], np.float32)},
    )
    assert ["DIV"] == made.types


def test_power(convert):
    """Pow by a constant."""
    x = np.array([[0.5, 1.0, 2.5]], np.float32)
    constants = {"e": np.array(2.0, np.float32)}
    convert([helper.make_node("Pow", ["x", "e"], ["y"])], {"x": x}, constants=constants)


def test_too_many_axes(judge):
    """Broadcasting over more axes than the runtime has is refused."""
    (verdict,) = judge(
        [helper.make_node("Add", ["a", "b"], ["y"])], {"a": (1, 2, 3, 2, 2, 2), "b": (1, 1, 1, 2, 2, 2)}
    )
    assert "too many axes" in verdict.reason
