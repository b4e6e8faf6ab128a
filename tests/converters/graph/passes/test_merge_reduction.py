"""RESHAPE behind a reduction."""

import pytest


@pytest.mark.parametrize("builtin", ["MEAN", "SUM", "REDUCE_MAX"])
def test_kept_axes_go(build, rewrite, builtin):
    """Axes that were kept only to be dropped are not kept."""
    b = build((1, 4, 5, 3))
    axes = b.constant(value=[1, 2], dtype="int32")
    graph = b.outputs(b.reshape(b.add(builtin, ["x", axes], (1, 1, 1, 3), keepDims=True), 1, 3))
    assert ({"merge_reduction": 1}, [builtin]) == rewrite(graph)
    assert not graph.operators[0].options["keepDims"]


def test_what_stays(build, rewrite):
    """A RESHAPE to another shape, and a mean that something else reads."""
    b = build((1, 4, 5, 3))
    axes = b.constant(value=[1, 2], dtype="int32")
    mean = b.add("MEAN", ["x", axes], (1, 1, 1, 3), keepDims=True)
    total = b.add("SUM", ["x", axes], (1, 1, 1, 3), keepDims=True)
    assert {} == rewrite(b.outputs(b.reshape(mean, 3, 1), b.reshape(total, 1, 3), total))[0]
