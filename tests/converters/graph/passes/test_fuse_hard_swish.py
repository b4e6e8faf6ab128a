"""The spellings of hard swish."""

import pytest

SPELLINGS = {
    "x (relu6(x + 3) / 6)": lambda b: b.binary("MUL", "x", b.scaled("DIV", b.gate(), 6)),
    "x (relu6(x + 3) 1/6)": lambda b: b.binary("MUL", b.scaled("MUL", b.gate(), 1 / 6), "x"),
    "(x relu6(x + 3)) / 6": lambda b: b.scaled("DIV", b.binary("MUL", "x", b.gate()), 6),
    "x (relu6(3 + x) 1/6), unfused": lambda b: b.binary(
        "MUL", "x", b.scaled("MUL", b.unary("RELU6", b.scaled("ADD", "x", 3)), 1 / 6)
    ),
    "x clip(x / 6 + 1/2, 0, 1)": lambda b: b.binary(
        "MUL",
        "x",
        b.scaled(
            "MINIMUM",
            b.scaled("MAXIMUM", b.scaled("ADD", b.scaled("DIV", "x", 6), 0.5), 0),
            1,
        ),
    ),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_spellings(build, rewrite, spelling):
    """However it is written, one operator remains and computes the same."""
    b = build((2, 7))
    graph = b.outputs(SPELLINGS[spelling](b))
    counts, types = rewrite(graph)
    assert (1, ["HARD_SWISH"]) == (counts["fuse_hard_swish"], types)
    assert tuple(range(len(graph.operators[0].sources))) == graph.operators[0].sources


@pytest.mark.parametrize("offset", [2.999, 0, 4])
def test_other_gates(build, rewrite, offset):
    """Another gate is not hard swish."""
    b = build((2, 7))
    gate = b.scaled("ADD", "x", offset, fusedActivationFunction="RELU6")
    assert "HARD_SWISH" not in rewrite(b.outputs(b.binary("MUL", "x", b.scaled("MUL", gate, 1 / 6))))[1]


def test_gate_of_another_tensor(build, rewrite):
    """A gate of one tensor by another is none."""
    b = build((2, 7))
    made = b.binary("MUL", b.unary("COS", "x"), b.scaled("MUL", b.gate(), 1 / 6))
    assert "HARD_SWISH" not in rewrite(b.outputs(made))[1]


def test_gate_that_is_read(build, rewrite):
    """A gate that is an output stays, and nothing is gained."""
    b = build((2, 7))
    gate = b.scaled("MUL", b.gate(), 1 / 6)
    assert "HARD_SWISH" not in rewrite(b.outputs(b.binary("MUL", "x", gate), gate))[1]
