"""Full-integer int8: what comes out is integer, close to its source, and silent while it is made."""

import sys

import numpy as np
import pytest

from converters.artifact import Artifact
from converters.graph.ir import Graph
from converters.graph.read import read
from converters.graph.write import write
from converters.quantize import fidelity, int8
from converters.quantize.calibration import Calibration
from device_agent.bundle import TensorSpec
from device_agent.errors import CalibrationError, QuantizationError

RNG = np.random.default_rng(0)
WEIGHTS = RNG.normal(size=(8, 3, 3, 4))


def silent(*_: object) -> None:
    pass


def artifact(data: bytes) -> Artifact:
    graph = read(data, where="test")

    def specs(named: dict[str, str]) -> tuple[TensorSpec, ...]:
        tensors = {name: graph.tensors[tensor] for name, tensor in named.items()}
        return tuple(TensorSpec(n, t.dtype, t.shape, None, t.quantization) for n, t in tensors.items())

    return Artifact(
        "m.tflite", data, "litert", "1.0.1", "int8", specs(graph.inputs), specs(graph.outputs), (), (), {}, {}
    )


def compare(source: Graph, data: bytes, calibration: Calibration) -> fidelity.OutputFidelity:
    reference = fidelity.runner(artifact(write(source)))
    return fidelity.measure(artifact(data), "float", reference, calibration, limit=50).outputs[0]


def test_integer_ends(conv_graph, samples):
    """By default every operator, input and output is int8, and the values are close to the source's."""
    graph = conv_graph(WEIGHTS, RNG.normal(size=8))
    calibration = samples(4)
    made = int8.quantize(graph, calibration, io="integer", progress=silent)
    quantised = read(made.data, where="test")
    assert ["CONV_2D"] == [operator.type for operator in quantised.operators]
    assert ["int8", "int8"] == [
        quantised.tensors[n].dtype for n in (quantised.inputs["input"], quantised.outputs["output"])
    ]
    assert () == int8.float_operators(quantised, ends_convert=False)
    assert 8 == len(quantised.tensors[quantised.operators[0].inputs[1]].quantization.scale)
    assert compare(graph, made.data, calibration).snr_db > 35


def test_float_ends(conv_graph, samples):
    """With float ends a QUANTIZE and a DEQUANTIZE convert, and all between them is integer."""
    graph = conv_graph(WEIGHTS, RNG.normal(size=8))
    calibration = samples(4)
    made = int8.quantize(graph, calibration, io="float", progress=silent)
    quantised = read(made.data, where="test")
    assert ["QUANTIZE", "CONV_2D", "DEQUANTIZE"] == [operator.type for operator in quantised.operators]
    assert () == int8.float_operators(quantised, ends_convert=True)
    assert ("QUANTIZE", "DEQUANTIZE") == int8.float_operators(quantised, ends_convert=False)
    assert compare(graph, made.data, calibration).snr_db > 35


def test_dead_channels_keep_their_bias(conv_graph, samples):
    """A channel of zero weights answers with its bias in int8 too."""
    weights, bias = WEIGHTS.copy(), RNG.normal(size=8)
    weights[2:4] = 0
    bias[2:4] = 5, -5
    graph = conv_graph(weights, bias)
    calibration = samples(4)
    made = int8.quantize(graph, calibration, io="integer", progress=silent)
    assert 2 == made.widened_channels
    run = fidelity.runner(artifact(made.data))
    for sample in calibration.samples():
        got = run(sample)["output"][0, 0, 0, 2:4]
        np.testing.assert_allclose([5, -5], got, atol=0.2)


def test_the_order_of_samples_does_not_matter(conv_graph, samples):
    """Ranges are the extremes over all samples: the same data in another order makes the same file."""
    forwards = samples(4)
    x = list(forwards.samples())
    backwards = Calibration("backwards", len(x), lambda: iter(x[::-1]))
    made = [
        int8.quantize(conv_graph(WEIGHTS, np.zeros(8)), data, io="integer", progress=silent).data
        for data in (forwards, backwards, forwards)
    ]
    assert made[0] == made[1] == made[2]


def test_no_calibration_is_an_error(conv_graph):
    """Without calibration data the three ways to give it are shown; nothing is made up."""
    with pytest.raises(CalibrationError, match="none was given") as caught:
        int8.quantize(conv_graph(WEIGHTS, np.zeros(8)), None, io="integer", progress=silent)
    for way in ("--calibration data.npz", "--preprocessing", "mycode:samples"):
        assert way in str(caught.value)


def test_operators_without_an_int8_form_are_named(conv_graph, samples):
    """An operator that the quantiser leaves in float is named, with the way out."""
    graph = conv_graph(WEIGHTS, np.zeros(8), then="EXP")
    with pytest.raises(QuantizationError, match=r"EXP.*--precision float32"):
        int8.quantize(graph, samples(4), io="integer", progress=silent)


def test_progress_is_real(conv_graph, samples):
    """Progress counts the samples that were run, then the quantisation."""
    seen: list[tuple[str, int, int]] = []
    int8.quantize(
        conv_graph(WEIGHTS, np.zeros(8)),
        samples(4, 20),
        io="integer",
        progress=lambda *step: seen.append(step),
    )
    calibrating = [done for what, done, total in seen if what == "calibrating" and total == 20]
    assert [0, 8, 16, 20] == calibrating
    assert ("quantising", 1, 1) == seen[-1]


def test_nothing_reaches_the_terminal(capfd, conv_graph, samples):
    """The libraries' own announcements, bars and warnings stay off standard output and error."""
    int8.quantize(conv_graph(WEIGHTS, np.zeros(8)), samples(4, 40), io="integer", progress=silent)
    print("still there", file=sys.stderr)
    assert ("", "still there\n") == tuple(capfd.readouterr())


def test_large_models(conv_graph, samples):
    """Constants that the quantiser puts behind the flatbuffer (above 256 KiB) are read back."""
    weights = RNG.normal(size=(256, 3, 3, 128))
    calibration = samples(128)
    made = int8.quantize(conv_graph(weights, np.zeros(256)), calibration, io="integer", progress=silent)
    assert len(made.data) > weights.size
    assert compare(conv_graph(weights, np.zeros(256)), made.data, calibration).snr_db > 35
