"""RESHAPE after a reduction that kept its axes."""

import pytest


def _mean(b, tensor, axes, keep=True):
    shape = [1 if axis in axes else size for axis, size in enumerate(b.graph.tensors[tensor].shape)]
    if not keep:
        shape = [size for axis, size in enumerate(b.graph.tensors[tensor].shape) if axis not in axes]
    return b.add("MEAN", [tensor, b.constant(value=axes, dtype="int32")], shape, keepDims=keep)


def test_global_average(build, rewrite):
    """The reduction drops the axes itself, and stands for both."""
    b = build((1, 4, 4, 8))
    graph = b.outputs(b.unary("RELU", b.reshape(_mean(b, "x", [1, 2]), 1, 8)))
    assert ({"fold_reshape_reduction": 1}, ["MEAN", "RELU"]) == rewrite(graph)
    assert (0, 1) == graph.operators[0].sources
    assert graph.operators[0].options["keepDims"] is False


@pytest.mark.parametrize("shape", [(8, 1), (1, 1, 8), (8,), (2, 4)])
def test_another_shape(build, rewrite, shape):
    """A reshape to anything but what is left of the shape stays."""
    b = build((1, 4, 4, 8))
    graph = b.outputs(b.unary("RELU", b.reshape(_mean(b, "x", [1, 2]), *shape)))
    assert ({}, ["MEAN", "RESHAPE", "RELU"]) == rewrite(graph)


def test_two_readers(build, rewrite):
    """Axes that something else reads stay."""
    b = build((1, 4, 4, 8))
    mean = _mean(b, "x", [1, 2])
    graph = b.outputs(b.reshape(mean, 1, 8), b.binary("MUL", "x", mean))
    assert ({}, ["MEAN", "RESHAPE", "MUL"]) == rewrite(graph)


def test_axes_already_dropped(build, rewrite):
    """A reduction that keeps nothing is left alone."""
    b = build((1, 4, 4, 8))
    graph = b.outputs(b.unary("RELU", b.reshape(_mean(b, "x", [1, 2], keep=False), 8)))
    assert ({}, ["MEAN", "RESHAPE", "RELU"]) == rewrite(graph)
