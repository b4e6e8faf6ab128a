"""TRANSPOSE of TRANSPOSE."""


def test_inverse(build, rewrite):
    """Two that undo each other leave nothing."""
    b = build((1, 3, 4, 5))
    graph = b.outputs(b.unary("RELU", b.transpose(b.transpose("x", 0, 2, 3, 1), 0, 3, 1, 2)))
    counts, types = rewrite(graph)
    assert ["RELU"] == types
    assert 2 == counts["cancel_transposes"]


def test_composition(build, rewrite):
    """Two in a row are one."""
    b = build((2, 3, 4, 5))
    graph = b.outputs(b.transpose(b.transpose("x", 1, 0, 2, 3), 3, 1, 2, 0))
    assert ({"cancel_transposes": 1, "remove_dead": 1}, ["TRANSPOSE"]) == rewrite(graph)
    assert (0, 1) == graph.operators[0].sources


def test_axes_of_size_one(build, rewrite):
    """One that moves only axes of size 1 is a RESHAPE."""
    b = build((1, 1, 4, 5))
    graph = b.outputs(b.transpose("x", 0, 2, 3, 1))
    assert ({"cancel_transposes": 1}, ["RESHAPE"]) == rewrite(graph)
