"""Channels whose bias does not fit: each operator's own axis is widened, and nothing else."""

import numpy as np
import pytest

from converters.graph.ir import Graph, GraphOperator, GraphTensor
from converters.quantize.biases import keep_biases


def graph(kind: str, weights: np.ndarray, inputs: list[str | None]) -> Graph:
    tensors = {
        "x": GraphTensor("x", (1, 2, 2, 3), "float32"),
        "s": GraphTensor("s", (4,), "int32", np.zeros(4, np.int32)),
        "w": GraphTensor("w", weights.shape, "float32", weights.copy()),
        "b": GraphTensor("b", (4,), "float32", np.array([0.0, 1.0, -1.0, 1.0], np.float32)),
        "y": GraphTensor("y", (1, 2, 2, 4), "float32"),
    }
    return Graph(tensors, [GraphOperator(kind, inputs, ["y"])], {"x": "x"}, {"y": "y"})


@pytest.mark.parametrize(
    ("kind", "shape", "axis", "inputs"),
    [
        ("CONV_2D", (4, 3, 3, 3), 0, ["x", "w", "b"]),
        ("DEPTHWISE_CONV_2D", (1, 3, 3, 4), 3, ["x", "w", "b"]),
        ("FULLY_CONNECTED", (4, 12), 0, ["x", "w", "b"]),
        ("TRANSPOSE_CONV", (4, 3, 3, 3), 0, ["s", "w", "x", "b"]),
    ],
)
def test_dead_channels_get_room(kind, shape, axis, inputs):
    """Channels 1 and 2 are dead and have a bias: one weight each gives it a step it fits in."""
    weights = np.moveaxis(np.ones(shape, np.float32), axis, 0)
    weights[:3] = 0
    weights = np.ascontiguousarray(np.moveaxis(weights, 0, axis))
    made = graph(kind, weights, inputs)
    assert 2 == keep_biases(made, {"x": (0.0, 2.55)})
    after = np.moveaxis(made.tensors["w"].data, axis, 0).reshape(4, -1)
    steps = 1.0 / (0.01 * np.abs(after[1:3]).max(axis=1) / 127)
    np.testing.assert_allclose([2.0**30] * 2, steps, rtol=1e-5)
    assert (0, 1, 1) == (np.abs(after[0]).max(), np.count_nonzero(after[1]), after[3].min())
    assert 0 == keep_biases(made, {"x": (0.0, 2.55)})


def test_what_cannot_be_judged_is_left():
    """Without a bias, or without a range for the input, nothing changes."""
    weights = np.zeros((4, 3, 3, 3), np.float32)
    assert 0 == keep_biases(graph("CONV_2D", weights, ["x", "w"]), {"x": (0.0, 1.0)})
    assert 0 == keep_biases(graph("CONV_2D", weights, ["x", "w", None]), {"x": (0.0, 1.0)})
    assert 0 == keep_biases(graph("CONV_2D", weights, ["x", "w", "b"]), {})
