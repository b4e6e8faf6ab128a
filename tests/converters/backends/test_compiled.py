"""Artifacts of graphs: how far a device may be from the host, in the unit of each output."""

from collections.abc import Callable

import numpy as np
import pytest

from converters import registry
from converters.backends.compiled import artifact_of
from converters.graph.ir import Graph, GraphOperator, GraphTensor
from converters.shaping import Shaping
from device_agent.bundle import Quantization

Row = tuple[str, list[str], str, str, float | None]  # an operator, its inputs, its output with dtype and step


@pytest.fixture(scope="module")
def tolerance(regressor) -> Callable[..., float]:
    """Of the last output of `rows`, behind a quantised input x of that dtype with steps of 0.5."""
    model = registry.reader_for(regressor).read(regressor, Shaping())

    def of(dtype: str, *rows: Row) -> float:
        def held(name: str, kind: str, step: float | None) -> GraphTensor:
            return GraphTensor(
                name, (1, 4), kind, None, None if step is None else Quantization((step,), (0,))
            )

        tensors = {"x": held("x", dtype, 0.5)} | {row[2]: held(*row[2:]) for row in rows}
        weights = np.ones((4, 4), np.int8)
        tensors["w"] = GraphTensor("w", (4, 4), "int8", weights, Quantization((9.0,), (0,)))
        operators = [GraphOperator(row[0], list(row[1]), [row[2]]) for row in rows]
        graph = Graph(tensors, operators, {"x": "x"}, {"y": rows[-1][2]})
        made = artifact_of(
            graph, b"", model, precision="mixed", runtime="litert", least_version="1.0.1", rewrites={}
        )
        return made.tolerance["y"]

    return of


def test_integers(tolerance):
    """Four steps; an int16 output of int8 layers is as coarse as these: 257 steps are one of theirs."""
    assert 4.0 == tolerance("int8", ("RELU", ["x"], "y", "int8", 0.5))
    assert 4.0 == tolerance("int16", ("RELU", ["x"], "y", "int16", 0.5))
    assert 4 * 257 == tolerance("int8", ("QUANTIZE", ["x"], "y", "int16", 0.01))


def test_float_ends(tolerance):
    """Four steps of what is dequantised last, also where it is in int16 and other layers in int8."""
    assert 2.0 == tolerance("int8", ("DEQUANTIZE", ["x"], "y", "float32", None))
    rows = [("QUANTIZE", ["x"], "q", "int16", 0.01), ("DEQUANTIZE", ["q"], "y", "float32", None)]
    assert 4 * 257 * 0.01 == pytest.approx(tolerance("int8", *rows))


def test_float_operators_behind_integer_ones(tolerance):
    """The coarsest tensor from which float operators have their values; weights do not count."""
    rows = [
        ("RELU", ["x"], "r", "int8", 0.25),
        ("DEQUANTIZE", ["r"], "a", "float32", None),
        ("DEQUANTIZE", ["x"], "b", "float32", None),
        ("CONCATENATION", ["a", "b"], "y", "float32", None),
    ]
    assert 2.0 == tolerance("int8", *rows)
    rows[2:] = [
        ("DEQUANTIZE", ["w"], "v", "float32", None),
        ("BATCH_MATMUL", ["a", "v"], "y", "float32", None),
    ]
    assert 1.0 == tolerance("int8", *rows)


def test_float_throughout(tolerance):
    """The bound of float kernels where no value was quantised."""
    assert 1e-3 == tolerance("float32", ("DEQUANTIZE", ["w"], "y", "float32", None))
