"""BatchNormalization and Softmax against ONNX Runtime."""

import numpy as np
import pytest
from onnx import helper


def _normal(channels: int) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(5)
    made = {name: generator.normal(size=channels).astype(np.float32) for name in ("s", "b", "m")}
    return made | {"v": generator.random(channels).astype(np.float32) + 0.5}


NORMALIZE = helper.make_node("BatchNormalization", ["x", "s", "b", "m", "v"], ["y"], epsilon=1e-3)


@pytest.mark.parametrize("shape", [(2, 4), (1, 4, 5), (1, 4, 5, 6)])
def test_batch_normalization(convert, shape):
    """BatchNormalization is MUL and ADD per channel."""
    made = convert([NORMALIZE], {"x": shape}, constants=_normal(4))
    assert ["MUL", "ADD"] == made.types


def test_batch_normalization_folds_into_a_convolution(convert):
    """Behind a convolution nothing is left of it."""
    weights = np.random.default_rng(5).normal(size=(4, 3, 3, 3)).astype(np.float32)
    nodes = [helper.make_node("Conv", ["i", "w"], ["x"]), NORMALIZE]
    made = convert(nodes, {"i": (1, 3, 7, 7)}, constants=_normal(4) | {"w": weights})
    assert ["TRANSPOSE", "CONV_2D", "TRANSPOSE"] == made.types
    assert (0, 1) == made.graph.operators[1].sources


def test_training_mode(judge):
    """BatchNormalization in training mode is refused."""
    node = helper.make_node("BatchNormalization", ["x", "s", "b", "m", "v"], ["y", "p", "q"], training_mode=1)
    (verdict,) = judge([node], {"x": (2, 4)}, constants=_normal(4))
    assert "inference" in verdict.reason


@pytest.mark.parametrize("shape", [(2, 5), (2, 3, 5), (1, 4, 3, 2)])
@pytest.mark.parametrize("axis", [-1, 0, 1])
@pytest.mark.parametrize("opset", [11, 17])
@pytest.mark.parametrize("operator", ["Softmax", "LogSoftmax"])
def test_softmax(convert, operator, shape, axis, opset):
    """Softmax over any axis; before operator set 13 over all axes from it on."""
    node = helper.make_node(operator, ["x"], ["y"], axis=axis)
    convert([node], {"x": shape}, opset=opset)


@pytest.mark.parametrize("opset", [11, 17])
def test_softmax_default_axis(convert, opset):
    """The default axis changed with operator set 13."""
    convert([helper.make_node("Softmax", ["x"], ["y"])], {"x": (2, 3, 4)}, opset=opset)


def test_softmax_over_channels(convert):
    """Over the channels of a feature map in NHWC it needs no transpose."""
    weights = np.random.default_rng(5).normal(size=(4, 3, 1, 1)).astype(np.float32)
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=(0, 3, 1, 2)),
        helper.make_node("Conv", ["t", "w"], ["c"]),
        helper.make_node("Softmax", ["c"], ["s"], axis=1),
        helper.make_node("Transpose", ["s"], ["y"], perm=(0, 2, 3, 1)),
    ]
    made = convert(nodes, {"x": (1, 5, 5, 3)}, constants={"w": weights})
    assert ["CONV_2D", "SOFTMAX"] == made.types
