"""The figures that say how close a compiled model is to its source."""

import math
from contextlib import nullcontext

import numpy as np
import pytest
from attrs import evolve

from converters.artifact import Artifact
from converters.graph.read import read
from converters.graph.write import write
from converters.quantize.accuracy import fidelity
from converters.quantize.accuracy.fidelity import (
    Fidelity,
    OutputFidelity,
    array_of,
    check_float,
    measure,
    tensor_of,
    with_seen_range,
)
from converters.quantize.samples.calibration import Calibration
from device_agent.bundle import Quantization, TensorSpec
from device_agent.errors import FidelityError

WEIGHTS = np.random.default_rng(0).normal(size=(8, 3, 3, 4))


@pytest.fixture(scope="module")
def conv(conv_graph) -> Artifact:
    data = write(conv_graph(WEIGHTS, np.zeros(8)))
    graph = read(data, where="test")
    inputs, outputs = (
        tuple(TensorSpec(name, "float32", graph.tensors[tensor].shape) for name, tensor in named.items())
        for named in (graph.inputs, graph.outputs)
    )
    return Artifact("m.tflite", data, "litert", "1.0.1", "float32", inputs, outputs, (), (), {}, {})


def test_identical(conv, samples):
    """A model against itself: no difference, no ratio."""
    found = measure(conv, "itself", fidelity.runner(conv), samples(4), limit=50)
    assert ("itself", "seeded", 24) == (found.reference, found.data, found.samples)
    assert (None, None, 0.0) == (
        found.outputs[0].top1_agreement,
        found.outputs[0].snr_db,
        found.outputs[0].max_abs_diff,
    )
    check_float(found, conv, 1e-4)


def test_signal_to_noise(conv, samples):
    """A reference that is 10 % larger everywhere has a ratio of 20 log10(11) dB."""
    run = fidelity.runner(conv)
    found = measure(conv, "r", lambda feed: {"output": run(feed)["output"] * 1.1}, samples(4), limit=50)
    assert found.outputs[0].snr_db == pytest.approx(20 * math.log10(11), abs=1e-4)


def test_samples_are_spread(conv, samples):
    """With a limit, the samples are taken from the whole set."""
    seen: list[int] = []
    x = list(samples(4, 40).samples())
    data = Calibration("numbered", 40, lambda: ({**sample, "index": i} for i, sample in enumerate(x)))
    run = fidelity.runner(conv)

    def reference(feed):
        seen.append(feed["index"])
        return run(feed)

    assert 4 == measure(conv, "r", reference, data, limit=4).samples
    assert [0, 10, 20, 30] == seen


def test_float_deviation_is_refused(conv, samples):
    """A float conversion off by more than its share of the output's range is a fault, with figures."""
    run = fidelity.runner(conv)
    found = measure(conv, "onnxruntime 1", lambda f: {"output": run(f)["output"] + 0.5}, samples(4), limit=9)
    with pytest.raises(FidelityError, match=r"onnxruntime 1.*output.*0\.5 over"):
        check_float(found, conv, 1e-4)


def test_what_is_not_finite_is_refused(conv, samples):
    """NaN where the source has a number is an error, not a figure."""
    with pytest.raises(FidelityError, match="NaN or Inf"):
        measure(conv, "r", lambda _: {"output": np.full((1, 4, 4, 8), np.inf)}, samples(4), limit=1)


def test_another_shape_is_refused(conv, samples):
    """An output of another shape is an error that shows both."""
    with pytest.raises(FidelityError, match=r"\[1, 4, 4, 8\].*\[1, 8, 4, 4\]"):
        measure(conv, "r", lambda _: {"output": np.zeros((1, 8, 4, 4))}, samples(4), limit=1)


def test_quantised_tensors_round_trip():
    """Quantising rounds to the nearest step and saturates; dequantising gives the steps' values."""
    spec = TensorSpec("x", "int8", (4,), None, Quantization((0.5,), (-10,)))
    tensor = tensor_of(np.array([0.0, 0.74, -100.0, 100.0], np.float32), spec)
    assert [-10, -9, -128, 127] == list(np.frombuffer(tensor.data, np.int8))
    np.testing.assert_array_equal([0.0, 0.5, -59.0, 68.5], array_of(tensor, spec))


def test_check_float_at_the_limit(conv):
    """The limit is relative to the output's range."""
    for difference, refused in ((0.0099, False), (0.0101, True)):
        output = OutputFidelity("output", None, 60.0, difference, 100.0)
        with pytest.raises(FidelityError) if refused else nullcontext():
            check_float(Fidelity("r", "d", 1, (output,)), conv, 1e-4)


def test_tolerance_grows_with_the_range(conv):
    """An output that spans 100 may differ 100 times as much as one that spans 1; a small one no less."""
    for span, expected in ((100.0, 0.1), (0.1, 0.001)):
        found = Fidelity("r", "d", 1, (OutputFidelity("output", None, None, 0.0, span),))
        artifact = with_seen_range(evolve(conv, tolerance={"output": 0.001}), found)
        assert expected == pytest.approx(artifact.tolerance["output"])


def test_tolerance_of_other_kernels(conv):
    """With other kernels the bound is twice what was seen, in steps; it does not grow with the range."""
    spec = TensorSpec("output", "int8", (1, 2), None, Quantization((0.5,), (0,)))
    kept = evolve(conv, tolerance={"output": 4.0}, outputs=(spec,), runtime="openvino")
    found = Fidelity("litert 2.3.0", "d", 1, (OutputFidelity("output", None, 20.0, 3.0, 100.0),))
    assert {"output": 12.0} == with_seen_range(kept, found).tolerance
    assert {"output": 4.0} == with_seen_range(evolve(kept, runtime="litert"), found).tolerance
    same = evolve(found, reference="openvino 2026.4.1")
    assert {"output": 4.0} == with_seen_range(kept, same).tolerance
