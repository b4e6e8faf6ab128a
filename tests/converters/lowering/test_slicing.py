"""Parts and repetitions of tensors against ONNX Runtime."""

import numpy as np
import pytest
from onnx import helper

I64 = np.int64


@pytest.mark.parametrize(
    ("starts", "ends", "axes", "steps", "types"),
    [
        ([1, 0], [3, 4], [0, 2], [1, 1], ["SLICE"]),
        ([-2], [1 << 62], [1], [1], ["SLICE"]),
        ([0], [5], [2], [2], ["STRIDED_SLICE"]),
        ([-1], [-(1 << 62)], [1], [-1], ["STRIDED_SLICE"]),
        ([4, 3], [0, -5], [2, 1], [-2, -1], ["STRIDED_SLICE"]),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "int8", "bool"])
def test_slice(convert, starts, ends, axes, steps, types, dtype):
    """Forwards, backwards, past either end, of any dtype."""
    numbers = {"s": starts, "e": ends, "a": axes, "t": steps}
    constants = {name: np.array(value, I64) for name, value in numbers.items()}
    node = helper.make_node("Slice", ["x", *numbers], ["y"])
    values = (np.arange(60).reshape(3, 4, 5) % 7 // 3).astype(dtype)
    made = convert([node], {"x": values}, constants=constants, dtype=dtype)
    assert types == made.types


def test_slice_that_takes_nothing(judge):
    """A tensor without elements is a constant, and here an output."""
    node = helper.make_node("Slice", ["x", "s", "e"], ["y"])
    constants = {"s": np.array([3], I64), "e": np.array([3], I64)}
    (verdict,) = judge([node], {"x": (3, 4)}, constants=constants)
    assert "folded into a constant" == verdict.reason


@pytest.mark.parametrize(
    ("split", "dtype", "types"),
    [
        (None, "float32", {"SPLIT"}),
        ([1, 2, 3], "float32", {"SPLIT_V"}),
        ([2, 2, 2], "bool", {"SLICE"}),
    ],
)
def test_split(convert, split, dtype, types):
    """Equal and unequal parts; bools have no SPLIT_V."""
    names, constants = ["x"], {}
    if split is not None:
        names.append("s")
        constants["s"] = np.array(split, I64)
    node = helper.make_node("Split", names, ["a", "b", "c"], axis=1)
    values = (np.arange(12).reshape(2, 6) % 5).astype(dtype)
    made = convert([node], {"x": values}, outputs=("a", "b", "c"), constants=constants, dtype=dtype)
    assert types == set(made.types)


@pytest.mark.parametrize("upper", [0, 1])
@pytest.mark.parametrize("k", [-1, 0, 2])
def test_trilu(convert, upper, k):
    """Both triangles, above and below the diagonal; what is left out is zero even where it was no number."""
    values = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    node = helper.make_node("Trilu", ["x", "k"], ["y"], upper=upper)
    convert([node], {"x": values}, constants={"k": np.array(k, I64)})


@pytest.mark.parametrize(("operator", "what"), [("Expand", [2, 3, 4]), ("Tile", [2, 1, 3])])
def test_repetition(convert, operator, what):
    """Broadcast and repeated."""
    node = helper.make_node(operator, ["x", "n"], ["y"])
    convert([node], {"x": (2, 1, 4)}, constants={"n": np.array(what, I64)})


@pytest.mark.parametrize("time", [0, 1])
def test_reverse_sequence(convert, time):
    """Each batch item by its own length."""
    node = helper.make_node("ReverseSequence", ["x", "n"], ["y"], time_axis=time, batch_axis=1 - time)
    convert([node], {"x": (4, 4)}, constants={"n": np.array([1, 2, 3, 4], I64)})


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_depth_to_space(convert, mode):
    """Both orders of channels."""
    node = helper.make_node("DepthToSpace", ["x"], ["y"], blocksize=2, mode=mode)
    convert([node], {"x": (1, 8, 2, 3)})


def test_space_to_depth(convert):
    """SpaceToDepth is SPACE_TO_DEPTH."""
    made = convert([helper.make_node("SpaceToDepth", ["x"], ["y"], blocksize=2)], {"x": (1, 3, 4, 6)})
    assert "SPACE_TO_DEPTH" in made.types


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_upsample(convert, mode):
    """By whole factors, from the upper left corner."""
    node = helper.make_node("Upsample", ["x", "s"], ["y"], mode=mode)
    scales = np.array([1, 1, 2, 3], np.float32)
    convert([node], {"x": (1, 2, 3, 4)}, constants={"s": scales}, opset=9)


def test_many_axes(convert):
    """A transposition of seven axes is one of those that part."""
    node = helper.make_node("Transpose", ["x"], ["y"], perm=(2, 3, 0, 1, 4, 5, 6))
    made = convert([node], {"x": (2, 3, 2, 1, 2, 2, 2)})
    (transpose,) = (operator for operator in made.graph.operators if operator.type == "TRANSPOSE")
    assert 3 == len(made.graph.tensors[transpose.inputs[0]].shape)
