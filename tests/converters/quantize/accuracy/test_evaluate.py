"""Models on validation samples: the float source, what is compiled from it, and what cannot be judged."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from attrs import evolve
from onnx import TensorProto, helper, numpy_helper

from converters import registry
from converters.artifact import Artifact
from converters.graph.read import read
from converters.graph.write import write
from converters.model import Model
from converters.partition.types import Recipe
from converters.progress import silent
from converters.quantize.accuracy.evaluate import evaluate, evaluate_source
from converters.quantize.accuracy.metrics import open_metric
from converters.quantize.accuracy.paired import judge
from converters.quantize.accuracy.recording import recorded
from converters.quantize.samples.validation import load_validation
from converters.quantize.search.types import Goal
from converters.shaping import Shaping
from device_agent.errors import InvalidRequest, MetricError, OutputError

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 6)).astype(np.float32)
W = RNG.normal(size=(6, 4)).astype(np.float32)
Y = (X @ W + RNG.normal(size=(40, 4))).argmax(axis=1)


def saved(folder: Path, weights: np.ndarray, *, name: str) -> Model:
    """x: float32[1, 6] -> MatMul -> y: float32[1, C]."""
    ends = [
        helper.make_tensor_value_info(one, TensorProto.FLOAT, [1, size])
        for one, size in (("x", 6), ("y", weights.shape[1]))
    ]
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    graph = helper.make_graph([node], "g", ends[:1], ends[1:], [numpy_helper.from_array(weights, "w")])
    path = folder / f"{name}.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return registry.reader("onnx").read(path, Shaping())


def compiled(model: Model) -> Artifact:
    return registry.backend("litert").compile(model, Recipe("float32", "float"), None, silent)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Model:
    return saved(tmp_path_factory.mktemp("net"), W, name="net")


@pytest.fixture(scope="module")
def other(tmp_path_factory) -> Artifact:
    """A model of the same shapes whose weights were changed."""
    return compiled(
        saved(tmp_path_factory.mktemp("net"), W + 0.5 * RNG.normal(size=W.shape).astype("f4"), name="b")
    )


def test_the_source_and_a_candidate(model, other):
    """Each sample is judged once, in order; the float conversion does what the source does."""
    validation = load_validation(X, model, labels=Y)
    reference = recorded(model, validation.samples, validation.count)
    metric = open_metric("top1", model)
    source = evaluate_source(metric, validation, reference)
    right = (X @ W).argmax(axis=1) == Y
    assert right.astype(int).tolist() == list(source.kept)
    assert 100 * right.mean() == pytest.approx(source.value)
    told: list[tuple[str, int, int]] = []
    same = evaluate(compiled(model), metric, validation, reference, lambda *what: told.append(what))
    assert source == same
    assert [
        ("evaluating", 0, 40),
        ("evaluating", 16, 40),
        ("evaluating", 32, 40),
        ("evaluating", 40, 40),
    ] == told
    assert judge(metric, source, evaluate(other, metric, validation, reference, silent), Goal(50.0)).drop > 0


def test_without_labels(model, other):
    """A metric that compares with the float model is perfect on the source, and asks for no labels."""
    validation = load_validation({"x": X, "labels": Y[:3]}, model)  # which are too few
    reference = recorded(model, validation.samples, validation.count)
    for name, best in (("agreement", 100.0), ("cosine", 1.0), ("snr", 100.0)):
        metric = open_metric(name, model)
        assert best == pytest.approx(evaluate_source(metric, validation, reference).value)
        assert evaluate(other, metric, validation, reference, silent).value < best
    with pytest.raises(MetricError, match="got 3 labels, expected 40"):
        evaluate_source(open_metric("top1", model), validation, reference)


def test_reconstruction(tmp_path):
    """A metric that needs the inputs gets them."""
    model = saved(tmp_path, np.eye(6, dtype="f4") * np.float32(0.5), name="auto")
    labels = np.arange(40) % 2
    validation = load_validation(X * (1 + 9 * labels[:, None]).astype("f4"), model, labels=labels)
    reference = recorded(model, validation.samples, validation.count)
    assert evaluate_source(open_metric("auc", model), validation, reference).value > 95


FUNCTIONS = """
count = 0
def fails(outputs, label):
    if label == 7:
        raise ValueError("seven")
    return 1.0
def nan(outputs, label):
    return float("nan") if label == 7 else 1.0
"""


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "own_of_evaluate:fails",
            r"own_of_evaluate:fails, sample 7 of .*: the metric raises an error.*seven",
        ),
        ("own_of_evaluate:nan", r"own_of_evaluate:nan, sample 7 of .*nan"),
        ("top1", r"sample 4 of .*: the label is past the model's classes: got class 4"),
    ],
)
def test_errors_name_the_sample(model, tmp_path, monkeypatch, name, words):
    """What a metric refuses or raises is told with the number of the sample."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_of_evaluate.py").write_text(FUNCTIONS)
    validation = load_validation(X, model, labels=np.arange(40))
    reference = recorded(model, validation.samples, validation.count)
    with pytest.raises(MetricError, match=words):
        evaluate_source(open_metric(name, model), validation, reference)
    sys.modules.pop("own_of_evaluate", None)


def test_labels_are_missing(model):
    """A metric that needs labels says how to give them, and what goes without."""
    validation = load_validation(X, model)
    reference = recorded(model, validation.samples, validation.count)
    with pytest.raises(MetricError, match=r"top1 needs labels.*agreement"):
        evaluate_source(open_metric("top1", model), validation, reference)


def test_recordings_of_fewer_samples(model):
    """A recording of some samples would part labels from outputs: it is refused."""
    validation = load_validation(X, model, labels=Y)
    with pytest.raises(
        InvalidRequest, match="not recorded on every validation sample: got 20 samples, expected 40"
    ):
        evaluate_source(open_metric("top1", model), validation, recorded(model, validation.samples, 20))


def test_passes_at_once(model):
    """Two passes over one recording do not disturb each other, and its making is told."""
    validation = load_validation(X, model)
    told: list[int] = []
    reference = recorded(model, validation.samples, 40, lambda _what, done, _total: told.append(done))
    assert list(range(1, 41)) == told
    both = zip(reference.pairs(validation.samples), reference.pairs(validation.samples), strict=True)
    for (sample, first), (_, second) in both:
        np.testing.assert_array_equal(first["y"], second["y"])
        np.testing.assert_allclose(sample["x"] @ W, first["y"], rtol=1e-5)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk(model, monkeypatch):
    """Where the outputs find no room, the error says where room is needed."""
    monkeypatch.setattr("tempfile.TemporaryFile", lambda **_: open("/dev/full", "wb"))  # noqa: SIM115, PTH123 - as TemporaryFile gives it
    with pytest.raises(OutputError, match=r"cannot be kept.*TMPDIR"):
        recorded(model, load_validation(X, model).samples, 40)


@pytest.mark.zoo
def test_published_int8(zoo: Path, tmp_path):
    """Top-1 of the published int8 ResNet-8 on 500 images: as counted by hand, and no worse than float."""
    file = tmp_path / "cifar10.npz"
    command = [sys.executable, str(zoo / "load.py"), "cifar10", "--split", "train", "--out", str(file)]
    subprocess.run(command, check=True, capture_output=True)
    folder = zoo / "models/mlperf-tiny"
    model = registry.reader("tflite").read(folder / "pretrainedResnet.tflite", Shaping())
    published = (folder / "pretrainedResnet_quant.tflite").read_bytes()
    validation = load_validation(file, model)
    reference = recorded(model, validation.samples, validation.count)
    metric = open_metric("top1", model)
    source = evaluate_source(metric, validation, reference)
    candidate = evaluate(renamed(model, published), metric, validation, reference, silent)
    labels = np.load(file)["y"]
    expected = [
        int(out["Identity"].argmax() == y)
        for (_, out), y in zip(reference.pairs(validation.samples), labels, strict=True)
    ]
    assert expected == list(source.kept)
    judgement = judge(metric, source, candidate, Goal(0.5))
    print(f"float {source.value:.2f}, int8 {candidate.value:.2f}: {judgement}")
    assert judgement.drop == pytest.approx(source.value - candidate.value)
    assert judgement.proven


def renamed(model: Model, data: bytes) -> Artifact:
    """A file as an artifact with the input and output names of a model."""
    graph = read(data, where="published")
    inputs = dict(zip((spec.name for spec in model.inputs), graph.inputs.values(), strict=True))
    outputs = dict(zip((spec.name for spec in model.outputs), graph.outputs.values(), strict=True))

    def specs(named):
        kinds = {name: graph.tensors[tensor] for name, tensor in named.items()}
        return tuple(
            type(model.inputs[0])(name, kind.dtype, kind.shape, None, kind.quantization)
            for name, kind in kinds.items()
        )

    data = write(evolve(graph, inputs=inputs, outputs=outputs))
    return Artifact(
        "p.tflite", data, "litert", "1.0.1", "int8", specs(inputs), specs(outputs), (), (), {}, {}
    )
