"""`edge inspect`, `plan` and `convert`: what needs no device."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from onnx import helper

from converters.graph.write import write
from device_agent.bundle import read_bundle
from tests.converters.onnx_files import save
from tests.converters.readers import networks
from tests.converters.readers.mutation import mutants

Run = Callable[..., Any]


def test_inspect(run: Run, make_model: Run) -> None:
    """Inputs, outputs, operators and sizes of a model; the open batch is closed as asked for."""
    path = make_model()
    found = run("inspect", path, "--batch", "3", "--json", "-").json
    assert [("x", "float32", [3, 4])] == [(i["name"], i["dtype"], i["shape"]) for i in found["inputs"]]
    assert ("null", path.stat().st_size, {"Null": 1}) == (
        found["format"],
        found["size_bytes"],
        found["operator_counts"],
    )
    assert "x: float32[3, 4]" in run("inspect", path, "--batch", "3").out


def test_inspect_for_a_target(run: Run, tmp_path: Path) -> None:
    """A board that takes the model exits with 0, one that refuses it with 5; without one it is always 0."""
    path = tmp_path / "net.tflite"
    path.write_bytes(networks.custom("Mine"))
    done = run("inspect", path, "--target", "rpi4", "--json", "-")
    assert (5, False) == (done.code, done.json["target"]["accepted"])
    assert 0 == run("inspect", path).code
    path.write_bytes(write(networks.convolutional()))
    assert 0 == run("inspect", path, "--target", "rpi4", "--precision", "float32").code
    assert 2 == run("inspect", path, "--precision", "float32").code


def test_inspect_of_broken_files(run: Run, tmp_path: Path) -> None:
    """Whatever is in a file, `inspect` shows it or says what is wrong: it never fails in itself."""
    path = tmp_path / "net.tflite"
    codes = set()
    for data in mutants([write(networks.convolutional())], 60, seed=8):
        path.write_bytes(data)
        codes.add(run("inspect", path, "--target", "rpi4").code)
    assert codes <= {0, 2, 4, 5}
    assert {0, 4} <= codes


def test_plan_names_every_operator(run: Run, make_model: Run) -> None:
    """An accepted plan has a processor and a reason for each operator, and no refusals."""
    done = run("plan", make_model(), "--target", "null", "--json", "-")
    assert 0 == done.code
    (operator,) = done.json["operators"]
    assert {"index", "type", "name", "processor", "reason"} == set(operator)
    assert "cpu" == operator["processor"]
    assert [] == done.json["refusals"]
    assert ("int8", "integer", None) == tuple(
        done.json["recipe"][key] for key in ("precision", "io", "accuracy")
    )
    assert "can be made" in run("plan", make_model(), "--target", "null").out


def test_refused_plan_is_shown(run: Run, make_model: Run) -> None:
    """A refused plan is printed with its reasons and exits with 5."""
    done = run("plan", make_model(), "--target", "local", "--json", "-")
    assert 5 == done.code
    assert 1 == len(done.json["refusals"])
    text = run("plan", make_model(), "--target", "local")
    assert 5 == text.code
    assert "is refused" in text.out
    assert "refused: Null" in text.out


def test_convert_keeps_the_file_and_the_bundle(run: Run, make_model: Run, tmp_path: Path) -> None:
    """The compiled file lies in the folder under its own name, beside a bundle that holds the same."""
    out = tmp_path / "deep" / "out"
    report = run("convert", make_model(), "--target", "null", "-o", out, "--json", "-").json
    assert out / "toy.null.json" == Path(report["file"])
    assert {"bundle", "toy.null.json"} == {path.name for path in out.iterdir()}
    bundle = read_bundle(Path(report["bundle"]))
    assert bundle.manifest_digest == report["manifest_digest"]
    assert report["sizes_bytes"]["deployed"] == (out / "toy.null.json").stat().st_size
    assert "is converted for null" in run("convert", make_model(), "--target", "null", "-o", out).out


def sums(tmp_path: Path) -> Path:
    """y = x * rate + state, of three ranks, all of them open somewhere."""
    nodes = [helper.make_node("Mul", ["x", "rate"], ["p"]), helper.make_node("Add", ["p", "state"], ["y"])]
    inputs = {"x": ["n", "t"], "rate": [], "state": [2, "n", 1]}
    return save(tmp_path / "sums.onnx", nodes, inputs, {"y": 3})


def test_inputs_are_fixed_by_options(run: Run, tmp_path: Path) -> None:
    """Shapes, bindings and open axes, each given more than once, in every command that loads a model."""
    options = ["--input-shape", "x=1,4", "--bind", "rate=2", "--dynamic", "state:1", "--dynamic", "x:1"]
    path = sums(tmp_path)
    found = run("inspect", path, *options, "--json", "-").json
    assert [("x", [1, 4]), ("state", [2, 1, 1])] == [(i["name"], i["shape"]) for i in found["inputs"]]
    plan = run("plan", path, *options, "--precision", "float32", "--json", "-").json
    assert {
        "shapes": {"x": [1, 4], "state": [2, 1, 1]},
        "bound": {"rate": "float32[] 2.0"},
        "dynamic": ["'x' axis 0 and 'state' axis 1 (n)", "'x' axis 1 (t)"],
        "layout": "keep",
    } == plan["inputs"]
    shown = run("plan", path, *options, "--precision", "float32").out
    assert "inputs: x[1, 4], state[2, 1, 1], rate is float32[] 2.0" in shown
    assert "stays open: 'x' axis 1 (t)" in shown
    report = run("convert", path, *options, "--precision", "float32", "-o", tmp_path, "--json", "-").json
    assert ["y"] == [output["name"] for output in report["fidelity"]["outputs"]]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--input-shape", "x"], "not like 'x=1,3,416,416'"),
        (["--input-shape", "x=1,b"], "not like 'x=1,3,416,416'"),
        (["--input-shape", "x=1,4", "--input-shape", "x=2,4"], "'x' is given twice"),
        (["--dynamic", "x:w"], "not like 'images:0'"),
        (["--bind", "=3"], "not like 'sr=16000'"),
        (["--bind", "rate=fast"], "a value to bind cannot be read"),
        (["--bind", "speed=1"], "names an input that the model has not"),
        (["--layout", "nchw"], "nchw"),
    ],
)
def test_misspelt_options(run: Run, tmp_path: Path, options: list[str], words: str) -> None:
    """What is misspelt is an error of use, with an example or what there is."""
    done = run("plan", sums(tmp_path), *options)
    assert 2 == done.code
    assert words in " ".join(done.err.split())


def test_names_may_hold_the_marks(run: Run, tmp_path: Path) -> None:
    """An input called `a:0` or `a=b`, as exporters do, can be named."""
    nodes = [helper.make_node("Add", ["a:0", "b=c"], ["y"])]
    path = save(tmp_path / "net.onnx", nodes, {"a:0": ["n", 2], "b=c": [None, "k"]}, {"y": 2})
    options = ["--dynamic", "a:0:0", "--input-shape", "b=c=1,2"]
    found = run("plan", path, *options, "--precision", "float32", "--json", "-").json
    assert ["'a:0' axis 0 (n)"] == found["inputs"]["dynamic"]


@pytest.mark.zoo
def test_a_stateful_model_is_converted(run: Run, zoo: Path, tmp_path: Path) -> None:
    """A model with inputs of several ranks is compared on generated samples, where none are given."""
    path = zoo / "models/silero/silero_vad_op18_ifless.onnx"
    options = ["--bind", "sr=16000", "--input-shape", "input=1,576", "--precision", "float32"]
    report = run("convert", path, *options, "-o", tmp_path, "--json", "-").json
    assert ["output", "stateN"] == [output["name"] for output in report["fidelity"]["outputs"]]


def test_convert_does_not_replace_its_source(run: Run, make_model: Run) -> None:
    """A result that would land on the model itself is refused, and the model is unharmed."""
    path = make_model()
    before = path.read_bytes()
    assert 12 == run("convert", path, "--target", "null", "-o", path.parent).code
    assert before == path.read_bytes()


def test_convert_into_a_file_is_an_error(run: Run, make_model: Run) -> None:
    """A folder that cannot be made exits with 12."""
    path = make_model()
    assert 12 == run("convert", path, "--target", "null", "-o", path / "below").code
