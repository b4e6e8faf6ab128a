"""`edge optimize`: the report, the file, and the measurement on a device."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters.graph.ir import Graph, GraphOperator, GraphTensor
from converters.graph.options import complete
from converters.graph.read import read
from converters.graph.write import write

Run = Callable[..., Any]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """x -> MUL by 2 -> ABS -> ABS -> y."""
    tensors = {name: GraphTensor(name, (1, 8), "float32") for name in ("x", "m", "a", "y")}
    tensors["two"] = GraphTensor("two", (1,), "float32", np.array([2], np.float32))
    operators = [
        GraphOperator("MUL", ["x", "two"], ["m"], complete("MUL", {})),
        GraphOperator("ABS", ["m"], ["a"]),
        GraphOperator("ABS", ["a"], ["y"]),
    ]
    path = tmp_path / "model.tflite"
    path.write_bytes(write(Graph(tensors, operators, {"x": "x"}, {"y": "y"})))
    return path


def test_report(run: Run, file: Path, tmp_path: Path) -> None:
    """A row for each rewrite, before and after, and how both compare; the file is where it was asked for."""
    out = tmp_path / "deep" / "lean.tflite"
    done = run("optimize", file, "-o", out, "--json", tmp_path / "report.json")
    assert 0 == done.code
    assert "remove_identities" in done.out
    assert "3 -> 2" in done.out
    assert "every bit the same" in done.out
    report = json.loads((tmp_path / "report.json").read_text())
    assert (3, 2, True, True) == (
        report["before"]["operators"],
        report["after"]["operators"],
        report["changed"],
        report["comparison"]["exact"],
    )
    (row,) = report["rewrites"]
    expected = {"rewrite": "remove_identities", "times": 1, "operators": -1, "macs": 0, "constant_bytes": 0}
    assert expected == row
    assert report["device"] is None
    assert ["MUL", "ABS"] == [op.type for op in read(out.read_bytes(), where="out").operators]


def test_nothing_to_do(run: Run, file: Path, tmp_path: Path) -> None:
    """A lean file is kept as it is, and the report says so."""
    once, twice = tmp_path / "once.tflite", tmp_path / "twice.tflite"
    run("optimize", file, "-o", once)
    done = run("optimize", once, "-o", twice)
    assert "is as lean as" in done.out
    assert once.read_bytes() == twice.read_bytes()


def test_its_source_is_not_replaced(run: Run, file: Path) -> None:
    """The model it was made from stays."""
    before = file.read_bytes()
    assert 12 == run("optimize", file, "-o", file).code
    assert before == file.read_bytes()


def test_on_a_device(run: Run, file: Path, tmp_path: Path) -> None:
    """Both are measured in turns there, and neither stays."""
    done = run("optimize", file, "-o", tmp_path / "lean.tflite", "--device", "fake", "--json", "-")
    assert 0 == done.code
    for label in ("before", "after"):
        assert 0 < done.json["device"][label]["p50"]["value"]
    assert "litert" == done.json["device"]["runtime"]
