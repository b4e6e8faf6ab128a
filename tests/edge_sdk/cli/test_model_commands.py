"""`edge inspect`, `plan` and `convert`: what needs no device."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from converters.graph.write import write
from device_agent.bundle import read_bundle
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
    assert {"precision": "int8", "io": "integer"} == done.json["recipe"]
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
