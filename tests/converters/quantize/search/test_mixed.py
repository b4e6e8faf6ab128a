"""Where int8 and int16 meet: conversions between them, on the runtimes that run them."""

import numpy as np
import pytest

from converters.graph.write import write
from converters.quantize.integer import quantizer
from converters.quantize.scheme import Scheme
from tests.converters.quantize.integer.older_runtime import PYTHON, OlderRuntime
from tests.converters.quantize.integer.rules import proof

WEIGHTS = np.random.default_rng(3).normal(size=(8, 3, 3, 4))


@pytest.mark.parametrize(
    ("precision", "layer"), [("int8", "z"), ("int16x8", "z"), ("int8", "y"), ("int16x8", "y")]
)
@pytest.mark.parametrize("runtime", ["litert", "tflite"])
def test_layers_of_the_other_precision(
    runtime, precision, layer, conv_graph, samples, prepared, older: OlderRuntime
):
    """Values pass from one to the other; tflite-runtime, which has no such QUANTIZE, looks them up."""
    graph, calibration = conv_graph(WEIGHTS, np.zeros(8), then="LOGISTIC"), samples(4)
    other = {"int8": "int16x8", "int16x8": "int8"}[precision]
    scheme = Scheme(precision, exceptions={layer: other})
    made, fallbacks = quantizer.apply(prepared(graph, calibration), scheme, runtime=runtime)
    assert () == fallbacks
    assert () == quantizer.float_operators(made, ends_convert=False)
    kinds = {operator.type for operator in made.operators}
    if runtime == "tflite" and (precision, layer) in (("int8", "z"), ("int16x8", "y")):
        assert {"CAST", "ADD", "GATHER"} < kinds
    else:
        assert "QUANTIZE" in kinds
    if runtime == "tflite" and not PYTHON:
        pytest.skip("EDGE_TFLITE_PYTHON names no Python that has tflite-runtime 2.14")
    run = proof.litert if runtime == "litert" else older.run
    (sample, *_) = calibration.samples()
    feed = {"input": proof.steps_of(sample["input"], made.tensors[made.inputs["input"]])}
    got = run(write(made), feed)
    assert not isinstance(got, str), got
    output = made.tensors[made.outputs["output"]]
    expected = proof.computed(graph, sample)["output"]
    assert np.abs(proof.real_of(got["output"], output) - expected).max() < 0.05  # of 0 .. 1
