"""Quantised operators: scales are kept, and products are exact."""

import numpy as np
import pytest
from onnx import helper

from device_agent.bundle import Quantization


def _number(value: float) -> np.ndarray:
    return np.array(value, np.float32)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16"])
def test_scales_are_kept(convert, dtype):
    """QuantizeLinear and DequantizeLinear are QUANTIZE and DEQUANTIZE of one tensor with that scale."""
    zero = 0 if dtype == "int16" else 7
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]
    constants = {"s": _number(0.25), "z": np.array(zero, dtype)}
    made = convert(nodes, {"x": (3, 4)}, constants=constants, opset=21, tolerance=0.05)
    assert ["QUANTIZE", "DEQUANTIZE"] == made.types
    held = made.graph.tensors[made.graph.operators[0].outputs[0]]
    assert Quantization((0.25,), (zero,)) == held.quantization


def test_a_scale_per_channel(convert):
    """Scales along an axis follow it to where it lies."""
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=(0, 2, 1)),
        helper.make_node("QuantizeLinear", ["t", "s"], ["q"], axis=1),
        helper.make_node("DequantizeLinear", ["q", "s"], ["y"], axis=1),
    ]
    constants = {"s": np.array([0.125, 0.25, 0.5], np.float32)}
    made = convert(nodes, {"x": (2, 4, 3)}, constants=constants, opset=13, tolerance=0.05)
    assert 2 == made.graph.tensors[made.graph.operators[0].outputs[0]].quantization.axis


def test_computed_scale(convert):
    """A scale that the model computes is arithmetic, rounded to even."""
    values = np.array([0.5, 1.5, 2.5, -0.5, -300, 300], np.float32)
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s"], ["y"]),
    ]
    convert(nodes, {"x": values, "s": _number(1.0)}, opset=13, tolerance=0)


@pytest.mark.parametrize("values", [(0, 2, -3, -2.5, 1.34, 0.5), (-1, -2.1, -1.3), (0, 0, 0)])
def test_dynamic_quantize_linear(convert, values):
    """Range, scale and zero point are computed."""
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]
    convert(nodes, {"x": np.array(values, np.float32)}, tolerance=0.01)


def _bytes(seed: int, dtype: str, *shape: int) -> np.ndarray:
    limits = np.iinfo(dtype)
    return np.random.default_rng(seed).integers(limits.min, limits.max + 1, shape).astype(dtype)


@pytest.mark.parametrize(("left", "right"), [("uint8", "int8"), ("int8", "int8"), ("uint8", "uint8")])
@pytest.mark.parametrize("terms", [5, 700])
def test_matmul_integer(convert, left, right, terms):
    """Sums are exact, however long."""
    node = helper.make_node("MatMulInteger", ["a", "b", "p", "q"], ["y"])
    inputs = {"a": _bytes(1, left, 3, terms), "b": _bytes(2, right, terms, 4)}
    constants = {"p": np.array(3, left), "q": np.array(5, right)}
    convert([node], inputs, constants=constants, output_dtype="int32", tolerance=0)


def test_conv_integer(convert):
    """A convolution of bytes is exact."""
    node = helper.make_node("ConvInteger", ["x", "w", "p"], ["y"], pads=(1, 1, 1, 1))
    inputs = {"x": _bytes(1, "uint8", 1, 40, 6, 6), "w": _bytes(2, "uint8", 3, 40, 3, 3)}
    convert([node], inputs, constants={"p": np.array(9, np.uint8)}, output_dtype="int32", tolerance=0)


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("groups", [1, 4])
def test_qlinear_conv_in_int8(convert, dtype, groups):
    """By constant int8 weights it is one integer convolution, to within a step."""
    zero = 3 if dtype == "int8" else 131
    node = helper.make_node(
        "QLinearConv",
        ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz", "b"],
        ["q"],
        group=groups,
        pads=(1, 1, 1, 1),
    )
    constants = {
        "xs": _number(0.02),
        "xz": np.array(zero, dtype),
        "w": _bytes(3, "int8", 4, 4 // groups, 3, 3),
        "ws": np.array([0.01, 0.02, 0.005, 0.01], np.float32),
        "wz": np.zeros(4, np.int8),
        "ys": _number(0.1),
        "yz": np.array(zero, dtype),
        "b": np.array([100, -200, 0, 50], np.int32),
    }
    last = helper.make_node("Cast", ["q"], ["y"], to=1)
    made = convert(
        [node, last],
        {"x": _bytes(4, dtype, 1, 4, 6, 6)},
        constants=constants,
        output_dtype="float32",
        tolerance=0.01,
    )
    convolution = next(op for op in made.graph.operators if "CONV_2D" in op.type)
    assert "int8" == made.graph.tensors[convolution.inputs[0]].dtype
    assert ("CONV_2D" if groups == 1 else "DEPTHWISE_CONV_2D") == convolution.type


@pytest.mark.parametrize("constant", [True, False])
def test_qlinear_matmul(convert, constant):
    """By constant int8 weights it is FULLY_CONNECTED in int8, else exact arithmetic."""
    node = helper.make_node("QLinearMatMul", ["a", "as", "az", "b", "bs", "bz", "ys", "yz"], ["q"])
    weights = {"b": _bytes(5, "int8", 6, 4)}
    constants = {
        "as": _number(0.02),
        "az": np.array(120, np.uint8),
        "bs": _number(0.01),
        "bz": np.array(0, np.int8),
        "ys": _number(0.05),
        "yz": np.array(128, np.uint8),
        **(weights if constant else {}),
    }
    last = helper.make_node("Cast", ["q"], ["y"], to=1)
    inputs = {"a": _bytes(6, "uint8", 3, 6), **({} if constant else weights)}
    made = convert([node, last], inputs, constants=constants, output_dtype="float32", tolerance=0.01)
    assert constant == ("FULLY_CONNECTED" in made.types)
