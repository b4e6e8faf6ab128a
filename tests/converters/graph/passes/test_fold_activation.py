"""RELU behind an operator that can fuse it."""

import pytest


@pytest.mark.parametrize("activation", ["RELU", "RELU6", "RELU_N1_TO_1"])
def test_convolution(build, rewrite, activation):
    """Every activation that has a place in the options is fused."""
    b = build((1, 6, 6, 3))
    graph = b.outputs(b.unary(activation, b.conv("x", 4)))
    assert ({"fold_activation": 1}, ["CONV_2D"]) == rewrite(graph)
    assert activation == graph.operators[0].options["fusedActivationFunction"]
    assert (0, 1) == graph.operators[0].sources


@pytest.mark.parametrize("builtin", ["ADD", "SUB", "MUL", "DIV"])
def test_arithmetic(build, rewrite, builtin):
    """Arithmetic fuses it too."""
    b = build((2, 3))
    graph = b.outputs(b.unary("RELU", b.binary(builtin, b.unary("COS", "x"), "x")))
    assert ({"fold_activation": 1}, ["COS", builtin]) == rewrite(graph)


@pytest.mark.parametrize("builtin", ["AVERAGE_POOL_2D", "MAX_POOL_2D"])
def test_pools(build, rewrite, builtin):
    """And so do pools."""
    b = build((1, 4, 4, 3))
    window = {"filterHeight": 2, "filterWidth": 2, "strideH": 2, "strideW": 2, "padding": "VALID"}
    graph = b.outputs(b.unary("RELU", b.add(builtin, ["x"], (1, 2, 2, 3), **window)))
    assert ({"fold_activation": 1}, [builtin]) == rewrite(graph)


def test_what_stays(build, rewrite):
    """A second activation, a second reader, an output: none of them fuses."""
    b = build((1, 6, 6, 3))
    twice = b.unary("RELU6", b.conv("x", 4, fusedActivationFunction="RELU"))
    shared = b.conv("x", 4)
    output = b.conv("x", 4)
    both = b.binary("ADD", b.unary("RELU", shared), shared)
    assert {} == rewrite(b.outputs(twice, both, output, b.unary("RELU", output)))[0]
