"""`edge quantize`, and the same through `edge convert` and `edge deploy`: a real network, end to end."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.core import Option

from converters import registry
from converters.partition.types import Recipe
from converters.quantize.integer.ranges import METHODS
from converters.quantize.scheme import AUTO, IO_KINDS, PRECISIONS
from device_agent import codec, execution
from device_agent.bundle import PLAN_TYPE, read_bundle
from edge_sdk.cli import options, running
from edge_sdk.cli.quantize import command
from tests.models import data

Run = Callable[..., Any]
DIGITS = Path(__file__).resolve().parents[3] / "examples/digits"
MODEL, CALIBRATION, TEST = DIGITS / "digits.onnx", DIGITS / "calibration.npz", DIGITS / "test.npz"
REGRESSOR = Path(__file__).resolve().parents[2] / "models/regressor.onnx"
CANNOT = ("--precision", "int8", "--max-drop", "0", "--prove")  # a bound of 0 needs endless samples


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Metrics are imported from the current folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty labelled digits."""
    path = tmp_path_factory.mktemp("few") / "few.npz"
    with np.load(TEST) as test:
        np.savez(path, image=test["image"][:60], label=test["label"][:60])
    return path


def test_plain_int8_that_is_good_is_all_there_is(run: Run, few: Path, tmp_path: Path) -> None:
    """The first candidate keeps the accuracy: one is tried, and the whole of it is written and told."""
    out = tmp_path / "out"
    words = ("--calibration", CALIBRATION, "--validation", few, "--max-drop", "2", "-o", out)
    done = run("quantize", MODEL, *words, "--json", tmp_path / "result.json")
    assert 0 == done.code, done.err
    assert max(map(len, done.out.splitlines())) <= 80
    assert "digits keeps its accuracy as int8" in done.out
    assert {"bundle", "digits_int8.tflite", "quantization.json", "quantization.txt"} == {
        path.name for path in out.iterdir()
    }
    report = json.loads((tmp_path / "result.json").read_text())
    search = report["search"]
    assert (["plain int8"], True, "top1") == (
        [candidate["step"] for candidate in search["candidates"]], search["met"], search["metric"],
    )  # fmt: skip
    assert (60, "points", 2.0) == (search["count"], search["unit"], search["goal"]["max_drop"])
    assert [] == report["float_operators"]
    assert len(search["errors"]) == sum(report["operators"].values())
    assert str(out / "quantization.json") == report["report"]
    kept = json.loads((out / "quantization.json").read_text())
    assert (search, "int8") == (kept["search"], kept["precision"])
    assert (out / "quantization.txt").read_text().startswith("digits keeps its accuracy as int8")


def test_the_plan_in_the_bundle_makes_the_same_file(run: Run, few: Path, tmp_path: Path) -> None:
    """The bundle says what was made; its recipe is no search any more."""
    words = ("--calibration", CALIBRATION, "--validation", few, "--max-drop", "2", "-o", tmp_path / "out")
    report = run("convert", MODEL, *words, "--json", "-").json
    bundle = read_bundle(Path(report["bundle"]))
    blob = bundle.path / "blobs/sha256" / bundle.manifest.layer(PLAN_TYPE).digest.removeprefix("sha256:")
    plan = json.loads(blob.read_text())
    recipe = codec.from_json(plan["recipe"], Recipe, where="the plan")
    assert ("int8", "minmax", ()) == (recipe.precision, recipe.scheme.ranges, recipe.scheme.repairs)
    assert recipe.accuracy is not None
    assert ("top1", 2.0) == (recipe.accuracy.metric, recipe.accuracy.max_drop)
    assert all("search" not in operator["reason"] for operator in plan["operators"])
    assert "int8" == bundle.config.precision


def test_without_labels_the_float_model_is_the_truth(run: Run, tmp_path: Path) -> None:
    """Plain `edge convert` judges by agreement with float on its calibration samples, and says so."""
    words = ("--calibration", CALIBRATION, "-o", tmp_path / "out")
    done = run("convert", MODEL, *words, "--json", tmp_path / "result.json")
    assert "compares with the float model" in done.out
    search = json.loads((tmp_path / "result.json").read_text())["search"]
    assert ("agreement", 200, True) == (search["metric"], search["count"], search["met"])
    assert search["goal"]["max_drop"] > 0  # the metric's own
    notes = " ".join(search["notes"])
    assert "compares with the float model, not with labels" in notes
    assert "200 of the samples that it was calibrated with" in notes


@pytest.mark.parametrize("precision", ["int16x8", "dynamic"])
def test_one_precision_is_made_and_judged(run: Run, few: Path, tmp_path: Path, precision: str) -> None:
    """A named precision is the only candidate, and is judged all the same."""
    words = ("--calibration", CALIBRATION, "--validation", few, "--max-drop", "2", "--precision", precision)
    done = run("quantize", MODEL, *words, "-o", tmp_path / "out", "--json", "-")
    assert 0 == done.code, done.err
    (candidate,) = done.json["search"]["candidates"]
    assert (precision, precision) == (candidate["scheme"]["precision"], done.json["precision"])
    assert candidate["judgement"]["samples"] == 60


def test_a_named_precision_is_not_judged_unasked(run: Run, tmp_path: Path) -> None:
    """`edge convert --precision int8` makes int8 and searches nothing; an earlier report goes."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out/quantization.json").write_text("{}")
    words = ("--calibration", CALIBRATION, "--precision", "int8", "-o", tmp_path / "out")
    report = run("convert", MODEL, *words, "--json", "-").json
    assert (None, None) == (report["search"], report["report"])
    assert {"bundle", "digits_int8.tflite"} == {path.name for path in (tmp_path / "out").iterdir()}


def test_a_miss_keeps_the_best_and_says_what_it_lacks(run: Run, tmp_path: Path) -> None:
    """A search that ends before its goal: exit code 15, and the best of what was tried is kept.

    Its bundle and report lie in the folder, the report stands in the JSON too.
    """
    out = tmp_path / "out"
    values, _ = data.readings(1, 40)
    calibration = npz(tmp_path / "x.npz", values=values)
    values, quantities = data.readings(2, 40)
    validation = npz(tmp_path / "test.npz", values=values, y=quantities)
    words = ("--calibration", calibration, "--validation", validation, "--metric", "mae", "--max-drop", "0")
    budget = ("--time-budget", "0.001s")  # the first candidate is tried whatever the budget
    done = run("quantize", REGRESSOR, *words, *budget, "-o", out, "--json", tmp_path / "result.json")
    assert 15 == done.code, done.err
    assert "regressor misses its accuracy as int8" in done.out
    assert "no candidate keeps the accuracy" in done.err
    error = json.loads((tmp_path / "result.json").read_text())
    assert ("accuracy_missed", False) == (error["code"], error["report"]["search"]["met"])
    search = error["report"]["search"]
    assert search["lacks"] in error["error"]
    assert (["plain int8"], 1) == ([one["step"] for one in search["candidates"]], search["best"])
    assert "time budget" in search["stopped"]
    name = Path(error["report"]["file"]).name
    assert {"bundle", name, "quantization.json", "quantization.txt"} == {path.name for path in out.iterdir()}
    assert name == read_bundle(out / "bundle").config.model


def test_a_search_goes_on(run: Run, few: Path, tmp_path: Path) -> None:
    """What a journal holds is not measured again; one of another goal is refused, a limit of 0 is one."""
    words = ("quantize", MODEL, "--calibration", CALIBRATION, "--validation", few, "--precision", "int8")
    words += ("--resume", tmp_path / "journal", "-o", tmp_path / "out")
    first, second = (run(*words, "--json", "-") for _ in range(2))
    assert (0, 0) == (first.code, second.code), first.err + second.err
    assert "evaluating" in first.err
    assert "evaluating" not in second.err
    assert first.json["search"]["candidates"] == second.json["search"]["candidates"]
    other = run(*words, "--max-drop", "0")
    assert 2 == other.code
    assert "the journal is of another search: another goal" in other.err


def test_ctrl_c_leaves_nothing(spawn: Run, tmp_path: Path) -> None:
    """An interrupted search exits with 130, prints no traceback and writes nothing."""
    words = ("--calibration", CALIBRATION, "--validation", TEST, *CANNOT[2:], "-o", tmp_path / "out")
    process = spawn("quantize", MODEL, *words)
    while "candidate 2" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert 130 == process.returncode
    assert "Traceback" not in err
    assert [] == list(tmp_path.iterdir())


def test_a_miss_activates_nothing(run: Run, state: Path, few: Path, tmp_path: Path) -> None:
    """`edge deploy` keeps the bundle and the report where asked; what was active stays active."""
    assert 0 == run("agent", "start").code  # so that the commands need not start one each; `state` ends it
    words = ("deploy", MODEL, "--device", "local", "--no-bench", "--calibration", CALIBRATION)
    assert 0 == run(*words, "--precision", "int8").code
    done = run(*words, "--validation", few, *CANNOT, "-o", tmp_path / "kept", "--json", "-")
    assert (15, "accuracy_missed") == (done.code, done.json["code"]), done.err
    assert not done.json["report"]["search"]["met"]
    assert {"blobs", "index.json", "oci-layout", "quantization.json", "quantization.txt"} == {
        path.name for path in (tmp_path / "kept").iterdir()
    }
    (active,) = run("devices", "show", "--json", "-").json["deployments"]
    assert 1 == active["generation"]


def npz(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


METRICS = """
import numpy as np

def raises(outputs, label):
    raise ZeroDivisionError("by the user's metric")

class Nan:
    labelled = False
    def observe(self, outputs, reference, label):
        return 1.0
    def value(self, kept):
        return float("nan")
"""
IMAGES = np.random.default_rng(0).random((30, 1, 8, 8), np.float32)


@pytest.mark.parametrize(
    ("given", "words", "code", "named"),
    [
        ({"image": IMAGES[:, :, :7]}, (), 6, "[30, 1, 7, 8], expected [N, 1, 8, 8]"),
        ({"image": IMAGES.astype(str)}, (), 6, "wrong dtype"),
        ({"image": np.where(IMAGES > 0.99, np.nan, IMAGES)}, (), 6, "holds NaN or Inf"),
        ({"image": np.where(IMAGES > 0.99, np.inf, IMAGES)}, (), 6, "holds NaN or Inf"),
        ({"image": np.full_like(IMAGES, 0.5)}, (), 6, "is the same"),
        ({"image": IMAGES[:0]}, (), 6, "no calibration samples"),
        ({"image": IMAGES}, ("--labels", "labels.npy", "--metric", "top1"), 14, "labels"),
        ({"image": IMAGES}, ("--validation", "negative.npz"), 14, "label"),
        ({"image": IMAGES}, ("--metric", "top1"), 14, "needs labels"),
        ({"image": IMAGES}, ("--metric", "own:raises", "--labels", "thirty.npy"), 14, "by the user's metric"),
        ({"image": IMAGES}, ("--metric", "own:Nan"), 14, "own:Nan"),
        ({"image": IMAGES}, ("--metric", "nosuch"), 2, "no such metric"),
        ({"image": IMAGES}, ("--repair", "prayer"), 2, "prayer"),
        ({"image": IMAGES}, ("--memory-budget", "1M"), 16, "--memory-budget"),
        ({"image": IMAGES}, ("--precision", "float32"), 2, "float32"),
    ],
)  # fmt: skip
def test_bad_input_leaves_nothing(
    run: Run, tmp_path: Path, given: dict[str, np.ndarray], words: tuple[str, ...], code: int, named: str
) -> None:
    """Each bad input has its exit code and one paragraph that names it, and no file is left."""
    (tmp_path / "own.py").write_text(METRICS)
    np.save(tmp_path / "labels.npy", np.zeros(29, np.int64))
    np.save(tmp_path / "thirty.npy", np.zeros(30, np.int64))
    npz(tmp_path / "negative.npz", image=IMAGES, label=np.full(30, -1))
    calibration = npz(tmp_path / "x.npz", **given)
    before = sorted(path.name for path in tmp_path.iterdir())
    done = run("quantize", MODEL, "--calibration", calibration, *words, "-o", tmp_path / "out")
    assert code == done.code, done.err
    (error,) = (line for line in done.err.splitlines() if line.startswith("error: "))
    assert named in error
    left = sorted(path.name for path in tmp_path.iterdir() if path.name != "__pycache__")
    assert before == left


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--time-budget", "soon"), "not like '10m'"),
        (("--time-budget", "-3s"), "not like '10m'"),
        (("--memory-budget", "2X"), "not like '2G'"),
        (("--max-drop", "-1"), "-1"),
        (("--confidence", "1"), "confidence"),
        (("--ranges", "wide"), "wide"),
        (("--precision", "int4"), "int4"),
    ],
)
def test_options_that_make_no_sense(run: Run, tmp_path: Path, words: tuple[str, ...], named: str) -> None:
    """A misspelt option is an error of use that shows what is meant."""
    done = run("quantize", MODEL, "--calibration", CALIBRATION, *words, "-o", tmp_path / "out")
    assert 2 == done.code
    assert named in done.err


def test_budgets_have_units(run: Run) -> None:
    """A time is in seconds and a memory in bytes once it is in the plan."""
    words = ("--time-budget", "1.5m", "--memory-budget", "2G", "--metric", "auc", "--repair", "none")
    recipe = run("plan", MODEL, *words, "--json", "-").json["recipe"]
    assert (90.0, 2_000_000_000) == (recipe["accuracy"]["time_budget"], recipe["accuracy"]["memory_budget"])
    assert ("auto", [], ["int16x8", "float32"]) == (recipe["precision"], recipe["repairs"], recipe["steps"])
    assert "judged by auc" in run("plan", MODEL, *words).out


def test_the_options_are_those_there_are() -> None:
    """What the command line names without importing it is what the quantiser has."""
    assert (AUTO, PRECISIONS, IO_KINDS) == (options.AUTO, options.PRECISIONS, options.IO_KINDS)
    assert (execution.HINTS, execution.PRECISIONS) == (running.HINTS, running.INFERENCE_PRECISIONS)
    found = {param.name: param for param in command.params if isinstance(param, Option)}
    assert dict.fromkeys((*METHODS, *registry.backend("openvino").ranges)) == dict.fromkeys(
        found["ranges"].type.choices
    )
