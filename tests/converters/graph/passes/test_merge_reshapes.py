"""RESHAPE of RESHAPE."""


def test_chain(build, rewrite):
    """A chain of three is one, and stands for all of them."""
    b = build((2, 3, 4))
    last = b.reshape(b.reshape(b.reshape("x", 6, 4), 24), 4, 6)
    graph = b.outputs(last)
    assert ({"merge_reshapes": 2, "remove_dead": 2}, ["RESHAPE"]) == rewrite(graph)
    assert (0, 1, 2) == graph.operators[0].sources


def test_back_to_the_same_shape(build, rewrite):
    """There and back again is nothing."""
    b = build((2, 3, 4))
    graph = b.outputs(b.unary("RELU", b.reshape(b.reshape("x", 6, 4), 2, 3, 4)))
    counts, types = rewrite(graph)
    assert ["RELU"] == types
    assert 2 == counts["merge_reshapes"]


def test_an_output_keeps_its_copy(build, rewrite):
    """A graph whose output is its input needs the operator that copies it."""
    b = build((2, 3))
    assert ({}, ["RESHAPE"]) == rewrite(b.outputs(b.reshape("x", 2, 3)))


def test_an_output_moves_to_the_maker(build, rewrite):
    """An output that is a RESHAPE to the same shape becomes the tensor before it."""
    b = build((2, 3))
    graph = b.outputs(b.reshape(b.unary("RELU", "x"), 2, 3))
    assert ({"merge_reshapes": 1}, ["RELU"]) == rewrite(graph)
    assert (0, 1) == graph.operators[0].sources


def test_two_readers(build, rewrite):
    """A RESHAPE that something else reads stays for it."""
    b = build((2, 6))
    inner = b.reshape("x", 3, 4)
    graph = b.outputs(b.unary("RELU", inner), b.reshape(inner, 12))
    assert ({"merge_reshapes": 1}, ["RESHAPE", "RELU", "RESHAPE"]) == rewrite(graph)
