"""Gemm and MatMul against ONNX Runtime."""

import numpy as np
import pytest
from onnx import helper


def _array(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("transposed", [(0, 0), (1, 0), (0, 1), (1, 1)])
@pytest.mark.parametrize("factors", [(1.0, 1.0), (0.5, 2.0), (1.0, 0.0)])
@pytest.mark.parametrize("bias", [None, (3,), (1, 3), (2, 3), (2, 1), (1,), ()])
@pytest.mark.parametrize("constant", [True, False])
def test_gemm(convert, transposed, factors, bias, constant):
    """Gemm with every attribute, by a constant and by a computed matrix."""
    left = (4, 2) if transposed[0] else (2, 4)
    right = (3, 4) if transposed[1] else (4, 3)
    attributes = {"transA": transposed[0], "transB": transposed[1], "alpha": factors[0], "beta": factors[1]}
    names = ["a", "b"] if bias is None else ["a", "b", "c"]
    constants = {} if bias is None else {"c": np.asarray(_array(*bias), np.float32)}
    inputs = {"a": _array(*left)}
    (constants if constant else inputs)["b"] = _array(*right)
    made = convert([helper.make_node("Gemm", names, ["y"], **attributes)], inputs, constants=constants)
    if constant and bias in (None, (3,), (1, 3), (1,), ()) and not transposed[0]:
        assert ["FULLY_CONNECTED"] == made.types


def test_gemm_adds_a_computed_matrix(convert):
    """A computed C is scaled and added."""
    node = helper.make_node("Gemm", ["a", "b", "c"], ["y"], beta=0.5)
    convert([node], {"a": (2, 4), "c": (2, 3)}, constants={"b": _array(4, 3)})


def test_gemm_square_column(convert):
    """A column as long as the result is wide is added per row, not taken for a bias."""
    node = helper.make_node("Gemm", ["a", "b", "c"], ["y"])
    convert([node], {"a": (3, 4)}, constants={"b": _array(4, 3), "c": _array(3, 1)})


@pytest.mark.parametrize("left", [(4,), (2, 4), (2, 3, 4), (1, 2, 3, 4)])
def test_matmul_by_a_constant(convert, left):
    """MatMul by a constant matrix is FULLY_CONNECTED over any number of axes."""
    made = convert(
        [helper.make_node("MatMul", ["a", "b"], ["y"])], {"a": left}, constants={"b": _array(4, 5)}
    )
    assert 1 == made.types.count("FULLY_CONNECTED")


@pytest.mark.parametrize(
    ("left", "right"), [((2, 4), (4, 3)), ((2, 3, 4), (2, 4, 5)), ((1, 2, 3, 4), (4, 5)), ((3, 4), (2, 4, 5))]
)
@pytest.mark.parametrize("constant", [None, "a", "b"])
def test_matmul(convert, left, right, constant):
    """MatMul of two computed matrices is BATCH_MATMUL, with broadcasting."""
    inputs, constants = {"a": _array(*left), "b": _array(*right)}, {}
    if constant is not None:
        constants[constant] = inputs.pop(constant)
    convert([helper.make_node("MatMul", ["a", "b"], ["y"])], inputs, constants=constants)


def test_matmul_reads_a_transposed_operand(convert):
    """A transpose of the last two axes is an option of BATCH_MATMUL."""
    nodes = [
        helper.make_node("Transpose", ["b"], ["t"], perm=(0, 2, 1)),
        helper.make_node("MatMul", ["a", "t"], ["y"]),
    ]
    made = convert(nodes, {"a": (2, 3, 4), "b": (2, 5, 4)})
    assert ["BATCH_MATMUL"] == made.types


@pytest.mark.parametrize(
    ("left", "right"), [((3, 4), (4,)), ((4,), (2, 4, 3)), ((4,), (4,)), ((2, 3, 4), (4,))]
)
def test_matmul_of_vectors(convert, left, right):
    """A vector is a matrix of one row or column."""
    convert([helper.make_node("MatMul", ["a", "b"], ["y"])], {"a": left, "b": right})


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_matmul_of_integers(convert, dtype):
    """Integers are multiplied exactly, also where float32 would round."""
    large = np.array([[1 << 25, 3, -7], [1, (1 << 25) + 1, 2]], dtype)
    other = np.array([[1, 2], [3, 5], [-4, 7]], dtype)
    node = helper.make_node("MatMul", ["a", "b"], ["y"])
    convert([node], {"a": large, "b": other}, dtype=dtype, tolerance=0)


def test_feature_map_keeps_its_layout(convert):
    """A matrix product over the channels of a feature map in NHWC needs no transpose."""
    nodes = [
        helper.make_node("Transpose", ["x"], ["n"], perm=(0, 3, 1, 2)),
        helper.make_node("Conv", ["n", "w"], ["c"]),
        helper.make_node("Transpose", ["c"], ["t"], perm=(0, 2, 3, 1)),
        helper.make_node("MatMul", ["t", "b"], ["y"]),
    ]
    made = convert(nodes, {"x": (1, 5, 5, 3)}, constants={"w": _array(4, 3, 3, 3), "b": _array(4, 2)})
    assert ["CONV_2D", "FULLY_CONNECTED"] == made.types
