"""The report of `edge inspect`: its JSON is documented, its text is grouped and readable."""

import re
from itertools import pairwise
from pathlib import Path

import attrs
import pytest

import edge_sdk
from converters.graph.ir import GraphTensor
from converters.graph.write import write
from converters.preflight import preflight
from converters.verdict import Verdict
from device_agent.bundle import Quantization, TensorSpec
from edge_sdk.report.inspection import InspectReport, print_inspection
from targets.schema import load_target
from tests.converters.readers import networks

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def report(tmp_path: Path) -> InspectReport:
    path = tmp_path / "net.tflite"
    path.write_bytes(write(networks.convolutional()))
    return InspectReport.of(edge_sdk.inspect(edge_sdk.load(path), "rpi4"))


def keys(data: object) -> set[str]:
    """Every key in it, but those that are names of operators or precisions."""
    if isinstance(data, dict):
        own = {key for key in data if key == key.lower() and key not in ("int8", "float32")}
        return own.union(*map(keys, data.values()))
    return set().union(*map(keys, data)) if isinstance(data, list) else set()


def test_json_has_the_documented_keys(report: InspectReport) -> None:
    """Every key stands in the section of docs/report-schema.md."""
    section = (
        (ROOT / "docs/report-schema.md").read_text().split("## `edge inspect`", 1)[1].split("\n## ", 1)[0]
    )
    target = report.preflight.target
    assert target is not None
    refusal = Verdict.no("because", operator="X", place="x", got="1", limit="2", help="h")
    quantised = TensorSpec("q", "int8", (1,), None, Quantization((0.5,), (0,)))
    full = InspectReport.of(
        attrs.evolve(
            report.preflight,
            model=attrs.evolve(report.preflight.model, inputs=(quantised,)),
            refusals=(refusal,),
            target=attrs.evolve(target, refusals=(refusal,)),
        )
    )
    assert set() == keys(full.to_json()) - set(re.findall(r"`([a-z0-9_]+)`", section))


def test_json(report: InspectReport) -> None:
    """The figures are there as numbers, with the schema's version first."""
    data = report.to_json()
    assert "schema_version" == next(iter(data))
    assert 2268 == data["compiled"]["macs"]
    assert ("rpi4", True, []) == (
        data["target"]["name"],
        data["target"]["accepted"],
        data["target"]["refusals"],
    )
    assert {"needed", "available", "fits"} == set(data["target"]["ram"])
    assert "NHWC" == data["inputs"][0]["layout"]


def test_text(
    report: InspectReport, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Header, figures, operators by version, and the board's verdict."""
    monkeypatch.setenv("COLUMNS", "80")
    print_inspection(report)
    shown = capsys.readouterr().out
    for part in (
        "net.tflite",
        "image: float32[1, 8, 8, 2] NHWC",
        "2,268 multiply-accumulates",
        "needs TFLite 2.1.0",
    ):
        assert part in shown
    assert re.search(r"1 +FULLY_CONNECTED +6 +2\.1\.0 +324", shown)
    assert "rpi4: the model fits" in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_refusals_are_grouped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line a reason, with the number of operators and the first places."""
    names = [f"t{place}" for place in range(9)]
    tensors = [GraphTensor(name, (1, 2, 2, 4), "float32") for name in names]
    pairs = pairwise(names)
    kind = "ZEROS_LIKE"  # which has no integer form
    operators = [networks.operator(kind, [before], [after]) for before, after in pairs]
    path = tmp_path / "net.tflite"
    path.write_bytes(write(networks.graph(tensors, operators, names[:1], names[-1:])))
    board = load_target("rpi4")
    npu = attrs.evolve(board, processors=(attrs.evolve(board.processors[0], dtypes=("int8",)),))
    print_inspection(InspectReport.of(edge_sdk.inspect(edge_sdk.load(path), npu)))
    shown = " ".join(capsys.readouterr().out.split())
    assert "8 x ZEROS_LIKE: it has no int8 form" in shown
    assert "'t5' and 3 more" in shown
    assert "rpi4: the model is refused" in shown


def test_no_target(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a board, what no runtime can run is said, and nothing of boards."""
    path = tmp_path / "net.tflite"
    path.write_bytes(networks.custom("Mine"))
    report = InspectReport.of(preflight(edge_sdk.load(path)))
    print_inspection(report)
    shown = capsys.readouterr().out
    assert "No TFLite runtime can run all of it" in shown
    assert "RAM" not in shown
    assert report.to_json()["target"] is None
