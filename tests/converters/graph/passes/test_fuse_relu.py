"""RELU and its kin from MAXIMUM and MINIMUM."""

import numpy as np
import pytest


@pytest.mark.parametrize(
    ("low", "high", "builtin"), [(0, 6, "RELU6"), (-1, 1, "RELU_N1_TO_1"), (0, 1, "RELU_0_TO_1")]
)
@pytest.mark.parametrize("maximum_first", [True, False])
def test_bounds(build, rewrite, low, high, builtin, maximum_first):
    """Bounds in either order are one operator."""
    b = build((2, 50))
    steps = [("MAXIMUM", low), ("MINIMUM", high)]
    tensor = "x"
    for kind, bound in steps if maximum_first else reversed(steps):
        tensor = b.scaled(kind, tensor, bound)
    assert [builtin] == rewrite(b.outputs(tensor))[1]


def test_lower_bound(build, rewrite):
    """`max(x, 0)` fuses into what makes x; so does `min(relu(x), 6)`."""
    b = build((1, 6, 6, 3))
    graph = b.outputs(b.scaled("MINIMUM", b.scaled("MAXIMUM", b.conv("x", 4), 0), 6))
    assert ["CONV_2D"] == rewrite(graph)[1]
    assert "RELU6" == graph.operators[0].options["fusedActivationFunction"]


def test_bound_behind_a_fused_activation(build, rewrite):
    """A RELU that is fused already takes the upper bound."""
    b = build((1, 6, 6, 3))
    graph = b.outputs(b.scaled("MINIMUM", b.conv("x", 4, fusedActivationFunction="RELU"), 6))
    assert ({"fuse_relu": 1}, ["CONV_2D"]) == rewrite(graph)
    assert "RELU6" == graph.operators[0].options["fusedActivationFunction"]


@pytest.mark.parametrize(
    ("low", "high"), [(-2, 5), (-1, 6), (1e-12, 6), (1e-38, None), (np.finfo(np.float32).tiny, None), (1, 0)]
)
def test_other_bounds(build, rewrite, low, high):
    """Bounds that no builtin has stay, even next to 0: a divisor may need them."""
    b = build((2, 50))
    tensor = b.scaled("MAXIMUM", "x", low)
    tensor = tensor if high is None else b.scaled("MINIMUM", tensor, high)
    assert {} == rewrite(b.outputs(tensor))[0]


def test_wider_bound_stays(build, rewrite):
    """A bound that makes the result larger than x is no activation."""
    b = build((2, 1))
    assert {} == rewrite(b.outputs(b.binary("MAXIMUM", "x", b.constant(value=[[0.0, 0.0]]))))[0]
