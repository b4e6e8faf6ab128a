"""Operators that do nothing."""

import pytest

from converters.graph.ir import GraphTensor
from converters.graph.passes.links import Links
from converters.graph.passes.remove_identities import remove_identities
from device_agent.bundle import Quantization


def ints(b, *value):
    """A constant of integers."""
    return b.constant(value=value, dtype="int32")


POOL = {"filterHeight": 1, "filterWidth": 1, "strideH": 1, "strideW": 1, "padding": "SAME"}
SHAPE = (1, 4, 4, 3)
NOTHING = {
    "x + 0": lambda b, t: b.scaled("ADD", t, 0),
    "0 + x": lambda b, t: b.binary("ADD", b.constant(value=[0.0]), t),
    "x + zeros": lambda b, t: b.binary(
        "ADD", t, b.add("FILL", [ints(b, *SHAPE), b.constant(value=0.0)], SHAPE)
    ),
    "x - 0": lambda b, t: b.scaled("SUB", t, 0),
    "1 x": lambda b, t: b.binary("MUL", b.constant(value=[1.0, 1.0, 1.0]), t),
    "x / 1": lambda b, t: b.scaled("DIV", t, 1),
    "slice": lambda b, t: b.add("SLICE", [t, ints(b, 0, 0, 0, 0), ints(b, 1, -1, 4, 3)], SHAPE),
    "strided": lambda b, t: b.add(
        "STRIDED_SLICE", [t, ints(b, 0, 0, 0, 0), ints(b, *SHAPE), ints(b, 1, 1, 1, 1)], SHAPE
    ),
    "pad": lambda b, t: b.add("PAD", [t, b.constant(value=[[0, 0]] * 4, dtype="int32")], SHAPE),
    "tile": lambda b, t: b.add("TILE", [t, ints(b, 1, 1, 1, 1)], SHAPE),
    "cast": lambda b, t: b.add("CAST", [t], SHAPE, inDataType="FLOAT32", outDataType="FLOAT32"),
    "mean": lambda b, t: b.add("MEAN", [t, ints(b, 0)], SHAPE, keepDims=True),
    "pool": lambda b, t: b.add("AVERAGE_POOL_2D", [t], SHAPE, **POOL),
    "concatenation": lambda b, t: b.add("CONCATENATION", [t], SHAPE, axis=1),
}


@pytest.mark.parametrize("name", NOTHING)
def test_nothing(build, rewrite, name):
    """Each goes, and nothing else changes."""
    b = build(SHAPE)
    graph = b.outputs(b.unary("SIN", NOTHING[name](b, b.unary("COS", "x"))))
    counts, types = rewrite(graph)
    assert ["COS", "SIN"] == types
    assert {"remove_identities", "fold_constants", "remove_dead"}.issuperset(counts)


def test_twice(build, rewrite):
    """An operator of its own result that changes nothing any more."""
    b = build(SHAPE)
    assert ["ABS"] == rewrite(b.outputs(b.unary("ABS", b.unary("ABS", "x"))))[1]


SOMETHING = {
    "0 - x": lambda b, t: b.binary("SUB", b.constant(value=[0.0]), t),
    "1 / x": lambda b, t: b.binary("DIV", b.constant(value=[1.0]), t),
    "active": lambda b, t: b.scaled("ADD", t, 0, fusedActivationFunction="RELU"),
    "wider": lambda b, t: b.binary("ADD", t, b.constant(value=[[[[[0.0]]]]])),
    "reversed": lambda b, t: b.add(
        "STRIDED_SLICE",
        [t, ints(b, 0, 0, -1, 0), ints(b, 1, 4, -5, 3), ints(b, 1, 1, -1, 1)],
        SHAPE,
    ),
    "mean": lambda b, t: b.add("MEAN", [t, ints(b, 3)], (1, 4, 4, 1), keepDims=True),
}


@pytest.mark.parametrize("name", SOMETHING)
def test_something(build, rewrite, name):
    """Look-alikes compute."""
    b = build(SHAPE)
    counts = rewrite(b.outputs(b.unary("SIN", SOMETHING[name](b, b.unary("COS", "x")))))[0]
    assert "remove_identities" not in counts


def test_open_shapes(build):
    """Where a shape may change, a slice of all there is now is not a slice of all."""
    b = build(SHAPE)
    graph = b.outputs(b.unary("SIN", NOTHING["slice"](b, b.unary("COS", "x"))))
    assert 0 == remove_identities(Links(graph, fixed=False))
    assert 1 == remove_identities(Links(graph))


def test_integers_of_another_scale(build):
    """Integers that stand for other numbers are not the same tensor: such a slice stays."""
    b = build(SHAPE, "int8")
    made = b.add("SLICE", ["x", ints(b, 0, 0, 0, 0), ints(b, *SHAPE)], SHAPE)
    b.graph.tensors["x"].quantization = Quantization((0.5,), (0,))
    b.graph.tensors[made] = GraphTensor(made, SHAPE, "int8", quantization=Quantization((0.25,), (0,)))
    after = b.unary("ABS", made)
    assert 0 == remove_identities(Links(b.outputs(after)))
