"""Real networks through the LiteRT backend: operator counts, integer all through, accuracy kept."""

import os
import subprocess
import sys
import wave
from collections.abc import Callable
from functools import cache
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from converters import registry
from converters.artifact import Artifact
from converters.convert import generated
from converters.model import Model
from converters.partition.types import Recipe
from converters.quantize.accuracy.fidelity import check_float, measure, runner
from converters.quantize.samples.calibration import Calibration, load_calibration
from converters.shaping import Shaping

pytestmark = pytest.mark.zoo
# file, data in the zoo's loader, operators of the native Keras route's float model
NETWORKS = [
    ("resnet8", "cifar10", 16),
    ("kws_dscnn", "kws", 13),
    ("vww_mobilenetv1_025", "vww", 31),
    ("ad01_autoencoder", "ad01", 10),
    ("streaming_wakeword", "sww", 11),
]


MOST_DIFFERENCE = 1e-4  # of a float model from its source, in any output
# on its frames (to -67; outputs to 62) ONNX Runtime itself is 3.4e-3 from the network in double precision
ILL_CONDITIONED = {"ad01_autoencoder": 2e-2}
WINDOW, CONTEXT = 512, 64  # samples of 16 kHz that Silero VAD takes at a time, and of the window before
SILERO_WINDOWS = 300  # of the 1875 in the wav; EDGE_SILERO_WINDOWS=1875 runs all, in some seconds more

Arrays = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def load(zoo: Path, tmp_path_factory) -> Callable[[str, str], Arrays]:
    """The zoo's data: `load(name, split)` gives samples and labels."""

    @cache
    def load(name: str, split: str) -> Arrays:
        if name == "ad01":
            # five frames of 128 mel bands make a sample, as in MLPerf Tiny
            frames = np.fromfile(next((zoo / "data/ad01").glob("*.bin")), np.float32).reshape(-1, 640)
            return frames, np.zeros(len(frames), np.int64)
        file = tmp_path_factory.mktemp("zoo") / "data.npz"
        command = [sys.executable, str(zoo / "load.py"), name, "--split", split, "--out", str(file)]
        subprocess.run(command, check=True, capture_output=True)
        with np.load(file) as data:
            return data["x"], data["y"]

    return load


def read(zoo: Path, name: str) -> Model:
    path = zoo / "models/onnx" / f"{name}.onnx"
    return registry.reader_for(path).read(path, Shaping())


def training(load, data: str, model: Model) -> Calibration:
    x, _ = load(data, "train")
    return load_calibration(x.reshape(len(x), *model.inputs[0].shape[1:]), model)


def compiled(model: Model, recipe: Recipe, calibration=None) -> Artifact:
    return registry.backend("litert").compile(model, recipe, calibration, lambda *_: None)


def top1(run, model: Model, x: np.ndarray) -> np.ndarray:
    shape, source, target = model.inputs[0].shape, model.inputs[0].name, model.outputs[0].name
    return np.array([int(run({source: row.reshape(shape)})[target].argmax()) for row in x])


@pytest.mark.parametrize(("name", "data", "operators"), NETWORKS)
def test_float_and_int8(zoo, load, name, data, operators):
    """The float model computes what the source computes, the int8 model is integer throughout."""
    model = read(zoo, name)
    calibration = training(load, data, model)
    reference_name, reference = registry.reader("onnx").reference(model)

    exact = compiled(model, Recipe("float32", "float"))
    assert operators == len(exact.operators)
    assert exact.operators == exact.float_operators
    for samples in (generated(model), calibration):
        exactness = measure(exact, reference_name, reference, samples, limit=50)
        check_float(exactness, exact)
        print(name, "float", samples.source, exactness.outputs)
        most = ILL_CONDITIONED.get(name, MOST_DIFFERENCE) if samples is calibration else MOST_DIFFERENCE
        assert exactness.outputs[0].max_abs_diff <= most

    for io, ends, count in (("integer", "int8", operators), ("float", "float32", operators + 2)):
        made = compiled(model, Recipe("int8", io), calibration)
        assert () == made.float_operators
        assert count == len(made.operators)
        assert {ends} == {spec.dtype for spec in (*made.inputs, *made.outputs)}
        fidelity = measure(made, reference_name, reference, calibration, limit=100)
        print(name, io, fidelity.outputs)
        assert fidelity.outputs[0].snr_db > 20


def test_silero_vad(zoo):
    """With its rate bound, Silero VAD runs as a stream: each side carries its own state along."""
    path = zoo / "models/silero/silero_vad_op18_ifless.onnx"
    shaping = Shaping(bind={"sr": np.array(16000)}, input_shapes={"input": (1, CONTEXT + WINDOW)})
    model = registry.reader_for(path).read(path, shaping)
    assert ["input", "state"] == [spec.name for spec in model.inputs]
    with wave.open(str(path.parent / "test.wav")) as file:
        audio = np.frombuffer(file.readframes(file.getnframes()), np.int16).astype(np.float32) / (1 << 15)
    run = runner(compiled(model, Recipe("float32", "float")))
    _, reference = registry.reader("onnx").reference(model)

    states = [np.zeros((2, 1, 128), np.float32)] * 2
    worst = dict.fromkeys(("output", "stateN"), 0.0)
    padded = np.concatenate([np.zeros(CONTEXT, np.float32), audio])
    windows = min(len(audio) // WINDOW, int(os.environ.get("EDGE_SILERO_WINDOWS", SILERO_WINDOWS)))
    for index in range(windows):
        sound = padded[None, index * WINDOW : (index + 1) * WINDOW + CONTEXT]
        pair = [
            each({"input": sound, "state": state})
            for each, state in zip((reference, run), states, strict=True)
        ]
        for name in worst:
            worst[name] = max(worst[name], float(np.abs(pair[0][name] - pair[1][name]).max()))
        states = [made["stateN"] for made in pair]
    print(f"silero: {windows} windows, {worst}")
    assert max(worst.values()) <= MOST_DIFFERENCE


@pytest.mark.parametrize(("name", "data"), [("kws_dscnn", "kws"), ("streaming_wakeword", "sww")])
def test_a_batch_that_stays_open(zoo, load, name, data):
    """A batch that is resized in the runtime: the float model is the source's, the int8 model near it."""
    path = zoo / "models/onnx" / f"{name}.onnx"
    model = registry.reader_for(path).read(path, Shaping(dynamic={"input_1": (0,)}))
    calibration = training(load, data, model)
    _, reference = registry.reader("onnx").reference(model)
    rows = np.concatenate([sample["input_1"] for sample in islice(calibration.samples(), 20)])
    for recipe, most in ((Recipe("float32", "float"), MOST_DIFFERENCE), (Recipe("int8", "integer"), 0.3)):
        run = runner(compiled(model, recipe, calibration))
        for batch in (1, 7, 20):
            feed = {"input_1": rows[:batch]}
            expected, got = reference(feed)[model.outputs[0].name], run(feed)[model.outputs[0].name]
            assert (batch, *model.outputs[0].shape[1:]) == got.shape
            assert float(np.abs(expected - got).max()) <= most


@pytest.mark.parametrize(
    ("name", "data", "published"),
    [
        ("resnet8", "cifar10", "pretrainedResnet_quant"),
        ("kws_dscnn", "kws", "kws_ref_model"),
        ("vww_mobilenetv1_025", "vww", "vww_96_int8"),
        ("streaming_wakeword", "sww", "str_ww_ref_model"),
    ],
)
def test_top1_against_float_and_the_published(zoo, load, name, data, published):
    """int8 loses at most half a point of top-1 on the test set, and is no worse than the published int8."""
    model = read(zoo, name)
    calibration = training(load, data, model)
    x, y = load(data, "test")
    _, reference = registry.reader("onnx").reference(model)
    theirs = registry.reader("tflite").read(zoo / f"models/mlperf-tiny/{published}.tflite", Shaping())
    found = {"float": top1(reference, model, x)}
    for what, each in (("int8", model), ("published", theirs)):
        made = compiled(each, Recipe("int8", "integer"), calibration)
        found[what] = top1(runner(made), each, x)
    right = {what: 100 * (each == y).mean() for what, each in found.items()}
    only = {what: int(((each == y) > (found["int8"] == y)).sum()) for what, each in found.items()}
    print(f"{name}: right in % {right}; where int8 is wrong, right: {only}")
    assert right["int8"] >= max(right["float"] - 0.5, right["published"])
