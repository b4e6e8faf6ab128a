"""A feature map flattened in channel-first order before FULLY_CONNECTED."""

import numpy as np

from converters.graph.passes.fold_transpose_fully_connected import fold_transpose_fully_connected
from converters.graph.passes.links import Links
from device_agent.bundle import Quantization


def test_flattening(build, rewrite):
    """The weights are laid out for the order the feature map lies in."""
    b = build((2, 4, 5, 3))
    graph = b.outputs(b.dense(b.reshape(b.transpose("x", 0, 3, 1, 2), 2, 60), 7))
    counts = {"fold_transpose_fully_connected": 1, "remove_dead": 1}
    assert (counts, ["RESHAPE", "FULLY_CONNECTED"]) == rewrite(graph)
    assert (0, 1) == graph.operators[0].sources


def test_any_permutation(build, rewrite):
    """Of the axes that are flattened, in any permutation."""
    b = build((1, 4, 5, 3))
    graph = b.outputs(b.dense(b.reshape(b.transpose("x", 0, 2, 3, 1), 1, 60), 7))
    assert ["RESHAPE", "FULLY_CONNECTED"] == rewrite(graph)[1]


def test_several_readers(build, rewrite):
    """Every FULLY_CONNECTED behind it gets its own weights."""
    b = build((1, 4, 5, 3))
    flat = b.reshape(b.transpose("x", 0, 3, 1, 2), 1, 60)
    graph = b.outputs(b.dense(flat, 7), b.dense(flat, 2))
    assert ["RESHAPE", "FULLY_CONNECTED", "FULLY_CONNECTED"] == rewrite(graph)[1]


def test_what_stays(build, rewrite):
    """Another reader, or an axis that is not flattened: the transpose is needed."""
    b = build((1, 4, 5, 3))
    flat = b.reshape(b.transpose("x", 0, 3, 1, 2), 1, 60)
    rows = b.reshape(b.transpose("x", 0, 3, 2, 1), 3, 20)
    graph = b.outputs(b.dense(flat, 7), b.unary("RELU", flat), b.dense(rows, 2))
    assert {} == rewrite(graph)[0]


def test_quantised_weights(build):
    """Integer weights are permuted with their scales; packed ones, which have no columns here, stay."""
    scales = Quantization(tuple(0.1 * (row + 1) for row in range(7)), (0,) * 7, 0)
    for dtype, data, folds in (("int8", np.arange(7 * 60).reshape(7, 60) % 100, 1), ("int4", None, 0)):
        b = build((1, 4, 5, 3))
        made = b.dense(b.reshape(b.transpose("x", 0, 3, 1, 2), 1, 60), 7)
        graph = b.outputs(made)
        weights = graph.tensors[graph.operators[-1].inputs[1]]
        weights.dtype, weights.quantization = dtype, scales
        weights.data = data.astype(np.int8) if data is not None else np.zeros(210, np.uint8)
        assert folds == fold_transpose_fully_connected(Links(graph))
        assert scales == graph.tensors[graph.operators[-1].inputs[1]].quantization
