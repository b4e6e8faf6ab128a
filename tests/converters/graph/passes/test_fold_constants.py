"""What follows from constants alone."""

import numpy as np

from converters.graph.ir import GraphTensor
from converters.graph.passes import run
from converters.graph.passes.evaluate import evaluate
from converters.graph.passes.fold_constants import MAX_GROWTH_BYTES, fold_constants
from converters.graph.passes.links import Links
from device_agent.bundle import Quantization


def test_constants(build, rewrite):
    """They are computed here."""
    b = build((3, 4))
    moved = b.transpose(b.reshape(b.constant(12), 4, 3), 1, 0)
    counts, types = rewrite(b.outputs(b.binary("ADD", "x", moved)))
    assert ["ADD"] == types
    assert 2 == counts["fold_constants"]


def test_an_output_stays(build, rewrite):
    """A constant that the graph gives out keeps the operator that copies it."""
    b = build((3, 4))
    assert ({}, ["RELU", "RESHAPE"]) == rewrite(
        b.outputs(b.unary("RELU", "x"), b.reshape(b.constant(12), 4, 3))
    )


def integers(b, builtin, inputs, shape, **options):
    """An operator that gives int32."""
    name = b.add(builtin, inputs, shape, **options)
    b.graph.tensors[name] = GraphTensor(name, tuple(shape), "int32")
    return name


def test_shape_arithmetic(build, rewrite):
    """The chain that flattens a batch of unknown size: SHAPE, STRIDED_SLICE, PACK, all of it known here."""
    b = build((2, 3, 4))
    shape = integers(b, "SHAPE", ["x"], (3,), outType="INT32")
    cut = [b.constant(value=[number], dtype="int32") for number in (0, 1, 1)]
    batch = integers(b, "STRIDED_SLICE", [shape, *cut], (), shrinkAxisMask=1)
    rest = b.constant(value=12, dtype="int32")
    packed = integers(b, "PACK", [batch, rest], (2,), valuesCount=2, axis=0)
    flat = b.add("RESHAPE", ["x", packed], (2, 12))
    assert ["RESHAPE", "COS"] == rewrite(b.outputs(b.unary("COS", flat)))[1]


def test_open_shape(build):
    """Where the shape may be another in the next run it is asked for."""
    b = build((2, 3, 4))
    graph = b.outputs(integers(b, "ABS", [integers(b, "SHAPE", ["x"], (3,), outType="INT32")], (3,)))
    assert 0 == fold_constants(Links(graph, fixed=False))
    assert 1 == fold_constants(Links(graph))


def test_arithmetic(build, rewrite):
    """Float arithmetic of constants, by the kernels that would run it."""
    b = build((2, 5))
    scale = b.unary("RSQRT", b.scaled("ADD", b.unary("ABS", b.constant(5)), 1e-3))
    assert ["MUL"] == rewrite(b.outputs(b.binary("MUL", "x", scale)))[1]


def test_dequantize(build, rewrite):
    """Weights that are kept as integers become float where the file does not grow for it."""
    b = build((2, 5))
    steps = b.constant(value=np.arange(5), dtype="int8")
    b.graph.tensors[steps].quantization = Quantization((0.5,), (1,))
    graph = b.outputs(b.binary("MUL", "x", b.add("DEQUANTIZE", [steps], (5,))))
    assert ({"fold_constants": 1, "remove_dead": 1}, ["MUL"]) == rewrite(graph)


def test_growth(build):
    """A constant that would make the file much larger is computed in each run, as it was."""
    b = build((2, 5))
    many = MAX_GROWTH_BYTES // 4 + 10
    filled = b.add("FILL", [b.constant(value=[many], dtype="int32"), b.constant(value=1.5)], (many,))
    graph = b.outputs(b.add("SUM", [filled, b.constant(value=[0], dtype="int32")], (1,), keepDims=True))
    assert {} == run(graph)


def test_what_a_kernel_refuses(build):
    """An operator that cannot be run is left for the runtime to refuse; others are folded."""
    b = build((2, 5))
    bad = b.add("GATHER", [b.constant(5), b.constant(value=[99], dtype="int32")], (1,))
    good = b.unary("ABS", b.constant(5))
    graph = b.outputs(b.binary("ADD", b.binary("MUL", "x", bad), good))
    values = evaluate(graph, graph.operators[:2])
    assert [good] == list(values)
    assert np.array_equal(np.abs(graph.constant(graph.operators[1].inputs[0])), values[good])
    assert 1 == run(graph)["fold_constants"]
    assert ["GATHER", "MUL", "ADD"] == [operator.type for operator in graph.operators]


def test_integer_division_stays(build):
    """A kernel that would divide by zero ends the process: integer divisions are not run here."""
    b = build((2, 5), "int32")
    zero = integers(
        b, "FLOOR_DIV", [b.constant(value=[1], dtype="int32"), b.constant(value=[0], dtype="int32")], (1,)
    )
    assert {} == run(b.outputs(integers(b, "ADD", ["x", zero], (2, 5))))
