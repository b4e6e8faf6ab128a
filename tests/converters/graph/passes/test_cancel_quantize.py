"""QUANTIZE behind DEQUANTIZE."""

import numpy as np

from converters.graph.ir import GraphTensor
from converters.graph.passes import run
from device_agent.bundle import Quantization

STEPS = Quantization((0.5,), (3,))


def there_and_back(build, after):
    """int8 x -> RESHAPE -> float -> integers of `after` -> RESHAPE."""
    b = build((2, 5), "int8")
    b.graph.tensors["x"].quantization = STEPS

    def stated(name, shape, dtype, quantization):
        b.graph.tensors[name] = GraphTensor(name, shape, dtype, None, quantization)
        return name

    first = stated(b.reshape("x", 5, 2), (5, 2), "int8", STEPS)
    number = b.unary("DEQUANTIZE", first)
    second = stated(b.unary("QUANTIZE", number), (5, 2), "int8", after)
    return b, b.outputs(stated(b.reshape(second, 1, 10), (1, 10), "int8", after))


def test_same_parameters(build, run_graph):
    """Integers that come back as they were: nothing remains, every bit the same."""
    _, graph = there_and_back(build, STEPS)
    before = run_graph(graph)
    assert 1 == run(graph)["cancel_quantize"]
    assert ["RESHAPE"] == [operator.type for operator in graph.operators]
    assert np.array_equal(before["y0"], run_graph(graph)["y0"])


def test_other_parameters(build):
    """Another scale or zero point is a computation."""
    for other in (Quantization((0.25,), (3,)), Quantization((0.5,), (0,))):
        _, graph = there_and_back(build, other)
        assert {} == run(graph)
