"""A search on real samples, with the real engine: from a model and data to a scheme."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
from attrs import evolve
from onnx import TensorProto, helper, numpy_helper

from converters import registry
from converters.model import Model
from converters.progress import silent
from converters.quantize.accuracy.metrics import open_metric
from converters.quantize.samples.calibration import Calibration, load_calibration
from converters.quantize.samples.validation import Validation, load_validation
from converters.quantize.scheme import Scheme
from converters.quantize.search import auto
from converters.quantize.search.types import Goal
from converters.shaping import Shaping
from device_agent.errors import BudgetExceeded, CalibrationError, InvalidRequest, MetricError

SAMPLES = 64


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """Five convolutions and a classifier; the second one's channels differ by a factor of a thousand."""
    rng = np.random.default_rng(0)
    constants, nodes, at = {}, [], "x"
    for place, (given, channels) in enumerate(
        pairwise((3, 8, 8, 8, 48, 48))
    ):  # the last two: most of the work
        weights = rng.normal(0, (2 / (9 * given)) ** 0.5, (channels, given, 3, 3)).astype(np.float32)
        if place == 1:
            weights *= np.logspace(0, -3, channels, dtype=np.float32).reshape(-1, 1, 1, 1)
        if place == 2:
            weights *= np.logspace(0, 3, 8, dtype=np.float32).reshape(1, -1, 1, 1)
        constants[f"w{place}"] = weights
        nodes.append(helper.make_node("Conv", [at, f"w{place}"], [f"c{place}"], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu", [f"c{place}"], [f"r{place}"]))
        at = f"r{place}"
    constants["wf"] = rng.normal(0, 0.3, (48, 4)).astype(np.float32)
    nodes.append(helper.make_node("GlobalAveragePool", [at], ["p"]))
    nodes.append(helper.make_node("Flatten", ["p"], ["f"]))
    nodes.append(helper.make_node("MatMul", ["f", "wf"], ["y"]))
    ends = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8]),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4]),
    ]
    initializers = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "net", ends[:1], ends[1:], initializers)
    path = tmp_path_factory.mktemp("net") / "net.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return registry.reader_for(path).read(path, Shaping())


@pytest.fixture(scope="module")
def samples(net: Model) -> Calibration:
    x = np.random.default_rng(1).normal(size=(SAMPLES, 3, 8, 8)).astype(np.float32)
    return load_calibration(x, net)


@pytest.fixture(scope="module")
def validation(samples: Calibration) -> Validation:
    """The same samples, without labels."""
    return Validation(samples, None, "seeded", samples.count)


def _search(net: Model, samples: Calibration, validation: Validation, goal: Goal, metric="agreement", **more):
    engine = registry.backend("litert").engine(net, samples, silent)
    engine.ranges, engine.repairs = more.pop("ranges", ("minmax",)), more.pop("repairs", ())
    engine.steps = more.pop("steps", engine.steps)
    more = {"journal": None, "progress": silent} | more
    return auto.search(net, engine, samples, validation, open_metric(metric, net), goal, **more)


def test_a_layer_that_int8_cannot_hold(net: Model, samples: Calibration, validation: Validation):
    """The two sides of the tensor whose channels differ are found: neither alone would do."""
    search, built = _search(net, samples, validation, Goal(max_drop=5.0), "snr")
    assert search.met
    plain, best = search.candidates[0], search.candidates[search.best - 1]
    assert plain.judgement.drop > 5.0 >= best.judgement.drop
    foremost, *others = search.culprits
    assert "Conv_2, Relu_3 and Conv_4, Relu_5" == foremost.label
    assert foremost.gain > 0.9
    assert all(other.gain < 0.1 for other in others)
    assert len(built.artifact.data) == best.size_bytes
    errors = [error.layer for error in search.errors]
    assert errors == [error.layer for error in search.plain_errors]
    assert search.plain_errors[-1].snr_db < 20
    assert search.count == SAMPLES


def test_a_search_goes_on_from_its_journal(
    net: Model, samples: Calibration, validation: Validation, tmp_path: Path
):
    """The second run measures nothing and ends with the same file; another goal is refused."""
    journal, goal = tmp_path / "journal", Goal(max_drop=5.0)
    search, built = _search(net, samples, validation, goal, "snr", journal=journal)
    size = journal.stat().st_size
    again, same = _search(net, samples, validation, goal, "snr", journal=journal)
    assert size == journal.stat().st_size
    assert search.candidates == again.candidates
    assert built.artifact.data == same.artifact.data
    with pytest.raises(InvalidRequest, match="the journal is of another search: another goal"):
        _search(net, samples, validation, Goal(max_drop=1.0), "snr", journal=journal)
    fewer = evolve(validation, samples=evolve(samples, count=1, samples=lambda: iter([{}])))
    with pytest.raises(InvalidRequest, match="another validation samples"):
        _search(net, samples, fewer, goal, "snr", journal=journal)
    assert size == journal.stat().st_size


def test_too_little_memory(net: Model, samples: Calibration, validation: Validation, tmp_path: Path):
    """It is refused before anything is computed or written."""
    with pytest.raises(BudgetExceeded, match=r"net\.onnx"):
        _search(net, samples, validation, Goal(1.0, memory_budget=1 << 20), journal=tmp_path / "journal")
    assert [] == list(tmp_path.iterdir())


def test_one_scheme_alone(net: Model, samples: Calibration, validation: Validation):
    """A scheme that is named is built and judged, by a metric of any output."""
    scheme = Scheme("int16x8", ranges="minmax")
    search, built = _search(net, samples, validation, Goal(max_drop=1.0), "cosine", only=scheme)
    assert [scheme] == [candidate.scheme for candidate in search.candidates]
    assert "int16x8" == built.artifact.precision
    assert search.candidates[0].latency_ns > 0


def test_without_calibration(net: Model, validation: Validation):
    """No samples to calibrate on is the user's error, not a rejected candidate."""
    engine = registry.backend("litert").engine(net, None, silent)
    metric = open_metric("agreement", net)
    with pytest.raises(CalibrationError, match="needs calibration data"):
        auto.search(net, engine, None, validation, metric, Goal(1.0), journal=None, progress=silent)


def test_a_metric_that_cannot_judge_the_float_model(net: Model, samples: Calibration, validation: Validation):
    """It ends the search before anything is built."""
    with pytest.raises(MetricError, match="needs labels"):
        _search(net, samples, validation, Goal(1.0), "top1")


def test_worst_samples_are_copies_at_hand(
    net: Model, samples: Calibration, validation: Validation, monkeypatch: pytest.MonkeyPatch
):
    """They come in the order they were asked for, with the float model's outputs, as far as they fit."""
    from converters.quantize.accuracy.recording import recorded

    recording = recorded(net, samples, samples.count)
    metric = open_metric("agreement", net)
    reference = auto.evaluate_source(metric, validation, recording)
    bench = auto.SampleBench.on(validation, recording, metric, reference, Goal(1.0), silent)
    every = [sample["x"] for sample in samples.samples()]
    worst = bench.worst([7, 3, 60])
    for expected, sample in zip((7, 3, 60), worst.samples, strict=True):
        np.testing.assert_array_equal(every[expected], sample["x"])
    monkeypatch.setattr(auto, "WORST_BYTES", 2 * (every[0].nbytes + 16))
    for indices in ([7, 3, 60], [60, 3, 7]):
        kept = bench.worst(indices).samples
        assert [every[index].tolist() for index in indices[:2]] == [sample["x"].tolist() for sample in kept]


@pytest.mark.zoo
def test_resnet(zoo: Path):
    """ResNet-8 on CIFAR-10: int8 within half a point of float, found at once, all operators integer."""
    from PIL import Image

    classes = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    found = {
        split: [
            (np.asarray(Image.open(path).convert("RGB"), np.float32), label)
            for label, name in enumerate(classes)
            for path in sorted((zoo / "data/cifar10-jpeg" / split / name).glob("*.jpg"))[:count]
        ]
        for split, count in (("train", 6), ("test", 12))
    }
    path = zoo / "models/onnx/resnet8.onnx"
    model = registry.reader_for(path).read(path, Shaping())
    samples = load_calibration(np.stack([x for x, _ in found["train"]]), model)
    arrays = {"x": np.stack([x for x, _ in found["test"]]), "y": np.array([y for _, y in found["test"]])}
    validation = load_validation(arrays, model)
    search, built = _search(model, samples, validation, Goal(0.5), "top1", ranges=("minmax", "mse"))
    assert search.met
    assert () == built.artifact.float_operators
    assert search.candidates[search.best - 1].judgement.drop <= 0.5
