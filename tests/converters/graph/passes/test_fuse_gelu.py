"""The spellings of GELU."""

import math

import numpy as np

from converters.graph.passes import curves


def by_tanh(b, cubic=0.044715):
    """GELU as Keras and PyTorch write it."""
    cube = b.scaled("POW", "x", 3)
    inside = b.binary("ADD", "x", b.scaled("MUL", cube, cubic))
    gate = b.unary("TANH", b.scaled("MUL", inside, math.sqrt(2 / math.pi)))
    return b.scaled("MUL", b.binary("MUL", "x", b.scaled("ADD", gate, 1)), 0.5)


def test_by_tanh(build, rewrite):
    """Eight operators are one, approximate as they were."""
    b = build((3, 50))
    graph = b.outputs(by_tanh(b))
    assert ["GELU"] == rewrite(graph)[1]
    assert graph.operators[0].options["approximate"]


def test_by_powers(build, rewrite):
    """With the cube as a product, and 1/2 before the rest."""
    b = build((3, 50))
    cube = b.binary("MUL", b.binary("MUL", "x", "x"), "x")
    inside = b.binary("ADD", b.scaled("MUL", cube, 0.044715), "x")
    gate = b.scaled("ADD", b.unary("TANH", b.scaled("MUL", inside, 0.7978845608)), 1)
    graph = b.outputs(b.binary("MUL", b.scaled("MUL", "x", 0.5), gate))
    assert ["GELU"] == rewrite(graph)[1]


def test_by_erf(build, rewrite):
    """The polynomial that stands for erf is told from the one by tanh."""
    b = build((3, 50))
    u = b.scaled("DIV", "x", math.sqrt(2))
    size = b.unary("ABS", u)
    t = b.binary("DIV", b.constant(value=1.0), b.scaled("ADD", b.scaled("MUL", size, 0.3275911), 1))
    total = b.scaled("MUL", t, 1.061405429)
    for factor in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        total = b.binary("MUL", b.scaled("ADD", total, factor), t)
    power = b.unary("EXP", b.unary("NEG", b.unary("SQUARE", size)))
    tail = b.binary("SUB", b.constant(value=1.0), b.binary("MUL", total, power))
    erf = b.binary("MUL", b.unary("SIGN", u), tail)
    graph = b.outputs(b.scaled("MUL", b.binary("MUL", "x", b.scaled("ADD", erf, 1)), 0.5))
    assert ["GELU"] == rewrite(graph)[1]
    assert not graph.operators[0].options["approximate"]


def test_quick_gelu_stays(build, rewrite):
    """`x sigmoid(1.702 x)` is close to it and something else; so is another cubic term."""
    b = build((3, 50))
    quick = b.binary("MUL", "x", b.unary("LOGISTIC", b.scaled("MUL", "x", 1.702)))
    assert "GELU" not in rewrite(b.outputs(quick, by_tanh(b, cubic=0.0447)))[1]


def test_the_two_differ():
    """The approximation is apart from the exact one by more than is let through."""
    difference = np.abs(curves.gelu(curves.GRID) - curves.gelu_by_tanh(curves.GRID)).max()
    assert difference > 1e-4
