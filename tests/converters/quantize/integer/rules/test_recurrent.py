"""The LSTM that keeps its state: integer through and through, and near the float one over several runs."""

import numpy as np
import pytest

from converters.graph.ir import Graph, GraphOperator, GraphTensor
from converters.graph.write import write
from converters.quantize.integer.quantizer import apply, float_operators
from converters.quantize.integer.tracing import Tracing
from converters.quantize.scheme import Scheme

STEPS, SIZE, HIDDEN = 6, 4, 5


def lstm(*, time_major: bool = False, peepholes: bool = False) -> Graph:
    """x: float32[1, 6, 4] (or [6, 1, 4]) -> UNIDIRECTIONAL_SEQUENCE_LSTM of 5 -> y."""
    generator = np.random.default_rng(0)
    shape = (STEPS, 1) if time_major else (1, STEPS)
    tensors = {
        "x": GraphTensor("x", (*shape, SIZE), "float32"),
        "y": GraphTensor("y", (*shape, HIDDEN), "float32"),
    }
    inputs: list[str | None] = ["x", *[None] * 23]

    def constant(place: int, *sizes: int) -> None:
        name = f"c{place}"
        data = generator.normal(size=sizes).astype(np.float32)
        tensors[name] = GraphTensor(name, sizes, "float32", data)
        inputs[place] = name

    for place in range(4):
        constant(1 + place, HIDDEN, SIZE)
        constant(5 + place, HIDDEN, HIDDEN)
        constant(12 + place, HIDDEN)
    for place in range(9, 12) if peepholes else ():
        constant(place, HIDDEN)
    for place, name in ((18, "h"), (19, "c")):
        tensors[name] = GraphTensor(name, (1, HIDDEN), "float32", variable=True)
        inputs[place] = name
    options = {"fusedActivationFunction": "TANH", "timeMajor": time_major}
    operator = GraphOperator("UNIDIRECTIONAL_SEQUENCE_LSTM", inputs, ["y"], options)
    return Graph(tensors, [operator], {"x": "x"}, {"y": "y"})


@pytest.mark.parametrize("time_major", [False, True])
def test_an_integer_lstm(prepared, normal, time_major):
    """Weights int8, cell state int16 by a power of two, and the state of one run is that of the next."""
    graph = lstm(time_major=time_major)
    calibration = normal({"x": graph.tensors["x"].shape})
    made, fallbacks = apply(prepared(graph, calibration), Scheme(io="float"))
    assert ((), ()) == (fallbacks, float_operators(made, ends_convert=True))
    assert ("int16", True, 2.0**-12) == (
        made.tensors["c"].dtype,
        made.tensors["c"].variable,
        made.tensors["c"].quantization.scale[0],
    )
    assert made.tensors["h"].quantization == made.tensors["y"].quantization
    runs = Tracing(graph, write(graph)), Tracing(made, write(made))
    signal = noise = 0.0
    for sample in calibration.samples():
        for run in runs:
            run.run(sample)
        expected, got = runs[0].value("y").copy(), runs[1].value(made.outputs["y"]).copy()
        signal, noise = signal + np.square(expected).sum(), noise + np.square(expected - got).sum()
    assert 10 * np.log10(signal / noise) > 30


def test_peepholes_stay_float(prepared, normal):
    """An LSTM with more than four gates is named with what it has."""
    graph = lstm(peepholes=True)
    made, (fallback,) = apply(prepared(graph, normal({"x": (1, STEPS, SIZE)})), Scheme(io="float"))
    assert ["UNIDIRECTIONAL_SEQUENCE_LSTM"] == [operator.type for operator in made.operators]
    assert "peepholes" in fallback.reason
