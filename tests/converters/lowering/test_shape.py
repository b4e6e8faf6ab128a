"""Operators that move or reshape against ONNX Runtime."""

import numpy as np
import pytest
from onnx import TensorProto, helper


def _int64(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


FEATURES = np.random.default_rng(5).normal(size=(4, 3, 1, 1)).astype(np.float32)
TO_FEATURES = [
    helper.make_node("Transpose", ["x"], ["t"], perm=(0, 3, 1, 2)),
    helper.make_node("Conv", ["t", "w"], ["c"]),
]


@pytest.mark.parametrize("shape", [(2, -1), (0, 12, 2), (4, 6), (2, 3, 4, 1), (-1,), (1, 2, 1, 12)])
def test_reshape(convert, shape):
    """Reshape with -1 and 0."""
    node = helper.make_node("Reshape", ["x", "s"], ["y"])
    convert([node], {"x": (2, 12) if shape[0] else (2, 12, 2)}, constants={"s": _int64(*shape)})


def test_reshape_of_another_batch(judge):
    """A shape that fixes another batch than the model is read with is refused, with what to do."""
    node = helper.make_node("Reshape", ["x", "s"], ["y"])
    (verdict,) = judge([node], {"x": (2, 12)}, constants={"s": _int64(1, 12)})
    assert ("[1, 12]", "24 elements") == (verdict.got, verdict.limit)


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_flatten(convert, axis):
    """Flatten at any axis."""
    convert([helper.make_node("Flatten", ["x"], ["y"], axis=axis)], {"x": (2, 3, 4)})


@pytest.mark.parametrize("opset", [11, 17])
def test_squeeze_and_unsqueeze(convert, opset):
    """Axes as an attribute or as an input."""
    names, given = (["axes"], {}) if opset >= 13 else ([], {"axes": (0, 3)})
    constants = {"axes": _int64(0, 3)} if opset >= 13 else {}
    nodes = [
        helper.make_node("Squeeze", ["x", *names], ["s"], **given),
        helper.make_node("Relu", ["s"], ["r"]),
        helper.make_node("Unsqueeze", ["r", *names], ["y"], **given),
    ]
    convert(nodes, {"x": (1, 3, 4, 1)}, constants=constants, opset=opset)


@pytest.mark.parametrize("perm", [(0, 3, 1, 2), (3, 2, 1, 0), (1, 0, 2, 3), None])
@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (1, 3, 1, 5)])
def test_transpose(convert, perm, shape):
    """A Transpose before an output is made; of axes of size 1 alone it is a RESHAPE at most."""
    given = {} if perm is None else {"perm": perm}
    convert([helper.make_node("Transpose", ["x"], ["y"], **given)], {"x": shape})


def test_transposes_cancel(convert):
    """Two that undo each other leave nothing."""
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=(0, 3, 1, 2)),
        helper.make_node("Relu", ["t"], ["r"]),
        helper.make_node("Transpose", ["r"], ["y"], perm=(0, 2, 3, 1)),
    ]
    assert ["RELU"] == convert(nodes, {"x": (1, 4, 5, 6)}).types


@pytest.mark.parametrize(
    ("shape", "transposes"),
    [((1, 4, 30), 1), ((1, 4, 1, 5, 6), 1), ((1, 2, 2, 5, 6), 1), ((1, 120), 1), ((1, 20, 6), 1)],
)
def test_reshape_of_a_feature_map(convert, shape, transposes):
    """A reshape that leaves space and channels apart moves nothing until an output asks for ONNX's order."""
    nodes = [*TO_FEATURES, helper.make_node("Reshape", ["c", "s"], ["y"])]
    made = convert(nodes, {"x": (1, 5, 6, 3)}, constants={"w": FEATURES, "s": _int64(*shape)})
    assert transposes == made.types.count("TRANSPOSE")


def test_space_is_flattened_in_place(convert):
    """[N, C, H, W] -> [N, C, HW] -> transpose to [N, HW, C]: all of it is one RESHAPE."""
    nodes = [
        *TO_FEATURES,
        helper.make_node("Reshape", ["c", "s"], ["r"]),
        helper.make_node("Transpose", ["r"], ["y"], perm=(0, 2, 1)),
    ]
    made = convert(nodes, {"x": (1, 5, 6, 3)}, constants={"w": FEATURES, "s": _int64(1, 4, 30)})
    assert ["CONV_2D", "RESHAPE"] == made.types


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_concat(convert, axis):
    """Concat along any axis, with a constant among its operands."""
    node = helper.make_node("Concat", ["a", "k", "b"], ["y"], axis=axis)
    constant = np.ones((2, 3, 4), np.float32)
    convert([node], {"a": (2, 3, 4), "b": (2, 3, 4)}, constants={"k": constant})


def test_concat_of_feature_maps(convert):
    """Feature maps in NHWC are joined along their channels where they lie."""
    nodes = [
        *TO_FEATURES,
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Concat", ["c", "r"], ["j"], axis=1),
        helper.make_node("Transpose", ["j"], ["y"], perm=(0, 2, 3, 1)),
    ]
    made = convert(nodes, {"x": (1, 5, 6, 3)}, constants={"w": FEATURES})
    assert ["CONV_2D", "RELU", "CONCATENATION"] == made.types


@pytest.mark.parametrize("mode", ["constant", "reflect"])
@pytest.mark.parametrize("value", [None, 0.0, 2.5])
@pytest.mark.parametrize("pads", [(0, 0, 1, 2, 0, 0, 2, 1), (0, 0, 0, 1, 0, 0, 0, 0)])
def test_pad(convert, mode, value, pads):
    """Pad with zero is PAD, with another constant PADV2, by reflection MIRROR_PAD."""
    names, constants = ["x", "p"], {"p": _int64(*pads)}
    if value is not None:
        names, constants = [*names, "v"], constants | {"v": np.array(value, np.float32)}
    node = helper.make_node("Pad", names, ["y"], mode=mode)
    made = convert([node], {"x": (1, 2, 5, 6)}, constants=constants)
    assert ["MIRROR_PAD" if mode == "reflect" else "PADV2" if value else "PAD"] == made.types


def test_pad_of_named_axes(convert):
    """Operator set 18 names the axes that are padded."""
    node = helper.make_node("Pad", ["x", "p", "", "a"], ["y"])
    constants = {"p": _int64(1, 2), "a": _int64(-1)}
    convert([node], {"x": (1, 2, 5)}, constants=constants, opset=18)


def test_pad_attributes(convert):
    """Before operator set 11 pads and value are attributes."""
    node = helper.make_node("Pad", ["x"], ["y"], pads=(0, 1, 0, 2), value=1.5)
    convert([node], {"x": (2, 5)}, opset=10)


def test_pad_folds_into_same(convert):
    """A Pad that is what SAME pads goes into the convolution."""
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=(0, 3, 1, 2)),
        helper.make_node("Pad", ["t", "p"], ["q"]),
        helper.make_node("Conv", ["q", "w"], ["c"], strides=(2, 2)),
        helper.make_node("Transpose", ["c"], ["y"], perm=(0, 2, 3, 1)),
    ]
    weights = np.random.default_rng(5).normal(size=(4, 3, 3, 3)).astype(np.float32)
    constants = {"w": weights, "p": _int64(0, 0, 0, 0, 0, 0, 1, 1)}
    made = convert(nodes, {"x": (1, 8, 8, 3)}, constants=constants)
    assert ["CONV_2D"] == made.types
    assert (1, 2) == made.graph.operators[0].sources


def test_identity_and_dropout(convert):
    """Identity and Dropout cost nothing."""
    nodes = [
        helper.make_node("Identity", ["x"], ["i"]),
        helper.make_node("Dropout", ["i"], ["d"]),
        helper.make_node("Relu", ["d"], ["y"]),
    ]
    made = convert(nodes, {"x": (2, 3)})
    assert ["RELU"] == made.types
    assert ["needs no operator", "needs no operator", "becomes RELU"] == [v.reason for v in made.verdicts]


def test_training_dropout(judge):
    """Dropout in training mode is refused."""
    node = helper.make_node("Dropout", ["x", "", "t"], ["y"])
    (verdict,) = judge([node], {"x": (2, 3)}, constants={"t": np.array(True)})
    assert "training" in verdict.reason


@pytest.mark.parametrize(("to", "types"), [("int32", ["CAST"]), ("float32", ["RESHAPE"])])
def test_cast(convert, to, types):
    """Cast is CAST, or a copy where the dtype stays."""
    element = {"int32": TensorProto.INT32, "float32": TensorProto.FLOAT}[to]
    made = convert([helper.make_node("Cast", ["x"], ["y"], to=element)], {"x": (2, 3)}, output_dtype=to)
    assert types == made.types


def test_shape_arithmetic_folds(convert):
    """What exporters compute from shapes is folded: the batch of a flattening."""
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "zero"], ["n"]),
        helper.make_node("Unsqueeze", ["n", "axis"], ["u"]),
        helper.make_node("Concat", ["u", "rest"], ["t"], axis=0),
        helper.make_node("Reshape", ["x", "t"], ["y"]),
    ]
    constants = {"zero": np.array(0, np.int64), "axis": _int64(0), "rest": _int64(-1)}
    made = convert(nodes, {"x": (2, 3, 4)}, constants=constants)
    assert ["RESHAPE"] == made.types
    assert 4 == sum(verdict.reason == "folded into a constant" for verdict in made.verdicts)


def test_pad_by_nothing(convert):
    """A Pad by nothing is its input."""
    nodes = [
        helper.make_node("Pad", ["x", "p"], ["q"]),
        helper.make_node("Relu", ["q"], ["y"]),
    ]
    made = convert(nodes, {"x": (2, 3)}, constants={"p": np.zeros(4, np.int64)})
    assert ["RELU"] == made.types
