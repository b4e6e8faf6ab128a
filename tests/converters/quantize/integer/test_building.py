"""Conversions between precisions: made once, integer on every runtime."""

import numpy as np
import pytest

from converters.graph.ir import Graph, GraphTensor
from converters.graph.write import write
from converters.quantize.integer.building import Building
from converters.quantize.integer.tracing import Tracing
from device_agent.bundle import Quantization
from tests.converters.quantize.integer.older_runtime import PYTHON, OlderRuntime

WIDE = Quantization((0.003,), (0,))


def widened(zero_point: int, shape: tuple[int, ...], runtime: str) -> Graph:
    """x: int8 with the step 0.05 -> y: int16 with the step 0.003."""
    held = GraphTensor("x", shape, "int8", None, Quantization((0.05,), (zero_point,)))
    source = Graph({"x": GraphTensor("x", shape, "float32")}, [], {"x": "x"}, {})
    building = Building(source, runtime)
    building.tensors["x"] = held
    made = [building.converted("x", "int16", WIDE) for _ in range(2)]
    assert made[0] == made[1]
    return Graph(building.tensors, building.operators, {"x": "x"}, {"y": made[0]})


@pytest.mark.parametrize(
    ("zero_point", "shape"), [(-100, (1, 8, 32)), (127, (1, 2, 2, 2, 32)), (0, (1, 256))]
)
def test_int8_becomes_int16_without_quantize(zero_point, shape):
    """For tflite-runtime 2.14 a table takes the place of a QUANTIZE that it has not, and is as exact."""
    graph = widened(zero_point, shape, "tflite")
    assert ["CAST", "ADD", "GATHER"] == [operator.type for operator in graph.operators]
    values = np.arange(-128, 128).astype(np.int8).reshape(shape)
    expected = (values.astype(np.float64) - zero_point) * 0.05
    if PYTHON:
        older = OlderRuntime()
        try:
            got = older.run(write(graph), {"x": values})["y"]
        finally:
            older.close()
    else:
        run = Tracing(graph, write(graph))
        run.run({"x": values})
        got = run.value(graph.outputs["y"])
    np.testing.assert_allclose(expected, got * 0.003, atol=0.003 * 0.51)


def test_int8_becomes_int16_by_quantize():
    """LiteRT converts with one operator."""
    assert ["QUANTIZE"] == [operator.type for operator in widened(-100, (1, 256), "litert").operators]
