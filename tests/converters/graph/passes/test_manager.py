"""All rewrites together."""

from converters.graph.passes import run


def test_long_chain(build, rewrite):
    """A chain of 500 operators is rewritten in one go, and to a fixed point."""
    b = build((1, 8, 8, 4))
    tensor = "x"
    for _ in range(125):
        made = b.binary("MUL", b.conv(tensor, 4, padding="SAME"), b.constant(value=[0.2] * 4))
        tensor = b.unary("RELU", b.binary("ADD", made, b.constant(4)))
    graph = b.outputs(tensor)
    counts, types = rewrite(graph)
    assert {"fold_mul": 125, "fold_add": 125, "fold_activation": 125} == counts
    assert ["CONV_2D"] * 125 == types


def test_nothing_to_do(build):
    """A graph that no rewrite applies to is left as it is."""
    b = build((2, 3))
    graph = b.outputs(b.unary("ABS", "x"))
    assert {} == run(graph)


def test_rewrites_fix_what_was_open(build):
    """Rewrites hold for the stated shapes only, so a graph that they have seen states no open size."""
    b = build((1, 3))
    graph = b.outputs(b.unary("ABS", "x"))
    graph.tensors["x"].signature = (-1, 3)
    run(graph)
    assert None is graph.tensors["x"].signature
