"""Statistics of activations: exact extremes, by channel too, in one pass and in bounded memory."""

import subprocess
import sys

import numpy as np
import pytest

from converters.graph.ir import Graph, GraphOperator, GraphTensor
from converters.graph.write import write
from converters.quantize.integer import statistics
from converters.quantize.integer.statistics import BINS, collect
from converters.quantize.integer.tracing import Tracing, computed
from converters.quantize.samples.calibration import Calibration
from device_agent.errors import QuantizationError

RNG = np.random.default_rng(0)
WEIGHTS = RNG.normal(size=(8, 3, 3, 4))


def silent(*_: object) -> None:
    pass


def given(x: np.ndarray, name: str = "input") -> Calibration:
    return Calibration("seeded", len(x), lambda: ({name: sample} for sample in x))


def unary(operator: str, shape: tuple[int, ...]) -> Graph:
    """x -> operator -> y."""
    tensors = {name: GraphTensor(name, shape, "float32") for name in "xy"}
    return Graph(tensors, [GraphOperator(operator, ["x"], ["y"])], {"input": "x"}, {"output": "y"})


def test_every_activation(conv_graph, samples):
    """Extremes, channels, means and counts are those of all values of all samples; constants have none."""
    graph, calibration = conv_graph(WEIGHTS, RNG.normal(size=8), then="TANH"), samples(4)
    found = collect(graph, calibration, silent)
    assert 24 == found.samples
    assert ["x", "y", "z"] == list(found.tensors)
    traced = Tracing(graph, write(graph))
    values: dict[str, list[np.ndarray]] = {"x": [], "y": [], "z": []}
    for sample in calibration.samples():
        traced.run(sample)
        for name in values:
            values[name].append(traced.value(name).copy())
    for name, parts in values.items():
        seen, got = np.concatenate(parts), found.tensors[name]
        assert (seen.min(), seen.max()) == (got.minimum, got.maximum)
        np.testing.assert_array_equal(seen.min(axis=(0, 1, 2)), got.channel_minimum)
        np.testing.assert_array_equal(seen.max(axis=(0, 1, 2)), got.channel_maximum)
        np.testing.assert_allclose(seen.mean(axis=(0, 1, 2)), got.channel_mean, atol=1e-6)
        assert ((BINS,), np.int64, seen.size) == (
            got.histogram.shape,
            got.histogram.dtype,
            got.histogram.sum(),
        )


@pytest.mark.parametrize(
    "shape", [(1, 128, 128, 6), (1, 101, 97, 3), (1, 40_000), (2, 8, 4096), (1, 36_000, 1)]
)
def test_large_tensors(shape):
    """Of large tensors only the counts are of a part, to which every channel contributes."""
    x = RNG.normal(size=(2, *shape)).astype(np.float32)
    x.reshape(-1, shape[-1])[:] += 100 * np.arange(shape[-1], dtype=np.float32)  # a channel: its own bins
    got = collect(unary("NEG", shape), given(x), silent).tensors["x"]
    assert (x.min(), x.max()) == (got.minimum, got.maximum)
    np.testing.assert_array_equal(x.reshape(-1, shape[-1]).max(axis=0), got.channel_maximum)
    np.testing.assert_allclose(x.reshape(-1, shape[-1]).mean(axis=0), got.channel_mean, rtol=1e-5, atol=1e-3)
    assert got.histogram.sum() <= 2 * (statistics.COUNTED + 1)
    if shape[-1] == 6:
        parts = got.histogram[:-2].reshape(6, -1).sum(axis=1) / got.histogram.sum()
        np.testing.assert_allclose(np.full(6, 1 / 6), parts, atol=0.02)


def test_scalars_and_empty_tensors():
    """A scalar has one channel; a tensor without values has no statistics."""
    tensors = {
        "x": GraphTensor("x", (1, 4), "float32"),
        "axes": GraphTensor("axes", (2,), "int32", np.array([0, 1], np.int32)),
        "y": GraphTensor("y", (), "float32"),
    }
    total = Graph(tensors, [GraphOperator("SUM", ["x", "axes"], ["y"])], {"input": "x"}, {"output": "y"})
    got = collect(total, given(np.ones((3, 1, 4), np.float32)), silent).tensors["y"]
    assert (4.0, 4.0, (1,), 3) == (got.minimum, got.maximum, got.channel_mean.shape, got.histogram.sum())


def test_the_order_of_samples_does_not_matter(conv_graph, samples):
    """Everything but the last digits of the means is the same in another order."""
    graph, forwards = conv_graph(WEIGHTS, np.zeros(8)), samples(4)
    x = np.stack([sample["input"] for sample in forwards.samples()])
    one, other = (collect(graph, given(data), silent) for data in (x, x[::-1]))
    for name, got in one.tensors.items():
        again = other.tensors[name]
        assert (got.minimum, got.maximum) == (again.minimum, again.maximum)
        np.testing.assert_array_equal(got.histogram, again.histogram)
        np.testing.assert_allclose(got.channel_mean, again.channel_mean, atol=1e-6)


def test_infinity():
    """Models mask with it: it counts as the greatest float there is."""
    got = collect(unary("LOG", (1, 3)), given(np.array([[[1.0, 0.0, 1.0]]], np.float32)), silent).tensors["y"]
    assert (float(np.finfo(np.float32).min), 0.0) == (got.minimum, got.maximum)
    assert np.isfinite(got.channel_mean).all()


def test_not_a_number():
    """A NaN that the model computes is refused: tensor, operator and sample are named."""
    x = np.ones((5, 1, 3), np.float32)
    x[3, 0, 1] = -1.0
    with pytest.raises(QuantizationError) as caught:
        collect(unary("LOG", (1, 3)), given(x), silent)
    for word in ("NaN", "'y'", "sample 3", "LOG operator", "1 of 3 values", "seeded"):
        assert word in str(caught.value)


def test_a_graph_that_cannot_be_run():
    """What LiteRT refuses is a QuantizationError with its words."""
    with pytest.raises(QuantizationError, match="LiteRT"):
        collect(unary("LOG", (1, 3)), given(np.ones((1, 1, 3), np.float64)), silent)


def test_other_sizes_than_the_graphs():
    """Samples of another size than the graph states are run at theirs, where it can be resized."""
    graph = unary("NEG", (1, 3))
    for tensor in graph.tensors.values():
        tensor.signature = (1, -1)
    got = collect(graph, given(np.arange(10, dtype=np.float32).reshape(2, 1, 5)), silent).tensors["y"]
    assert (-9.0, 0.0, (5,)) == (got.minimum, got.maximum, got.channel_mean.shape)


def test_progress_and_silence(capfd, conv_graph, samples):
    """Every sample is told of, and nothing that LiteRT says reaches the terminal."""
    seen: list[tuple[str, int, int]] = []
    collect(conv_graph(WEIGHTS, np.zeros(8)), samples(4, 3), lambda *step: seen.append(step))
    assert [("calibrating", done, 3) for done in range(4)] == seen
    print("still there", file=sys.stderr)
    assert ("", "still there\n") == tuple(capfd.readouterr())


def test_values_are_those_of_outputs(conv_graph, samples):
    """What is read of a tensor inside is what the model gives where the tensor is made an output."""
    graph = conv_graph(WEIGHTS, RNG.normal(size=8), then="TANH")
    opened = conv_graph(WEIGHTS, graph.tensors["b"].data, then="TANH")
    opened.outputs = {name: name for name in ("y", "z")}
    inside, outside = Tracing(graph, write(graph)), Tracing(opened, write(opened))
    for sample in samples(4, 2).samples():
        inside.run(sample)
        outside.run(sample)
        for name in computed(graph):
            np.testing.assert_array_equal(outside.value(name).copy(), inside.value(name).copy())


STREAM = """
import sys
from pathlib import Path
import numpy as np
from converters.graph.ir import Graph, GraphOperator, GraphTensor
from converters.model import Model
from converters.quantize.samples.calibration import load_calibration
from converters.quantize.integer.statistics import collect
from device_agent.bundle import TensorSpec

def samples():
    random = np.random.default_rng(0)
    for _ in range(int(sys.argv[1])):
        yield random.random((1, 40_000), np.float32)  # 160 kB

tensors = {name: GraphTensor(name, (1, 40_000), "float32") for name in "xy"}
graph = Graph(tensors, [GraphOperator("NEG", ["x"], ["y"])], {"input": "x"}, {"output": "y"})
spec = TensorSpec("input", "float32", (1, 40_000))
model = Model(Path("m.onnx"), "onnx", "0" * 64, 1, (spec,), (spec,), (), 0, None)
collect(graph, load_calibration("__main__:samples", model), lambda *_: None)
(peak,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(peak.split()[1])
"""


def test_memory_does_not_grow_with_samples():
    """Checking and collecting 1,000 samples, 160 MB in all, peaks where 50 samples do."""
    peaks = [
        int(subprocess.run([sys.executable, "-c", STREAM, count], check=True, capture_output=True).stdout)
        for count in ("50", "1000")
    ]
    assert peaks[1] - peaks[0] < 20_000  # kB
