"""DIV by a constant."""

import numpy as np
import pytest


@pytest.mark.parametrize("value", [[3.0], [2.0], [1.0, 2.0, 3.0, 4.0, 5.0]])
def test_constants(build, rewrite, value):
    """A product with the inverse, its activation kept."""
    b = build((2, 5))
    made = b.binary("DIV", "x", b.constant(value=value), fusedActivationFunction="RELU")
    graph = b.outputs(made)
    assert ({"reduce_divisions": 1}, ["MUL"]) == rewrite(graph)
    assert "RELU" == graph.operators[0].options["fusedActivationFunction"]


def test_folds_into_weights(build, rewrite):
    """Behind a convolution it is gone for good."""
    b = build((1, 6, 6, 3))
    assert ["CONV_2D"] == rewrite(b.outputs(b.scaled("DIV", b.conv("x", 4), 255)))[1]


@pytest.mark.parametrize("value", [0.0, np.inf, 1e-40])
def test_what_stays(build, rewrite, value):
    """A divisor without an inverse in float32, and one that is no constant."""
    b = build((2, 5))
    made = b.scaled("DIV", "x", value)
    assert "MUL" not in _types(b.outputs(made))
    b = build((2, 5))
    assert {} == rewrite(b.outputs(b.binary("DIV", "x", b.unary("EXP", "x"))))[0]


def _types(graph):
    from converters.graph.passes import run

    run(graph)
    return [operator.type for operator in graph.operators]
