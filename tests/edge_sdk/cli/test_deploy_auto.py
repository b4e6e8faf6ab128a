"""`edge deploy --runtime auto` over the null road: candidates measured by a real agent, one kept."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from device_agent.protocol import BenchmarkRequest
from edge_sdk import fastest

Run = Callable[..., Any]
AUTO = ("--target", "null", "--runtime", "auto", "--no-bench")
LABELS = ["null int8", "null float32"]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """As few and as short turns as make a choice."""
    monkeypatch.setattr(fastest, "REQUEST", BenchmarkRequest(1, 3, 0.001, 1.0))
    monkeypatch.setattr(fastest, "LOOKS", 1)
    monkeypatch.setattr(fastest, "CALLS", 1)


def test_the_choice_is_shown_and_kept(run: Run, make_model: Run, tmp_path: Path) -> None:
    """One command measures the candidates, says which is deployed and why in 80 columns, and as JSON."""
    file = tmp_path / "result.json"
    done = run("deploy", make_model(), *AUTO, "--device", "fake", "-o", tmp_path / "kept", "--json", file)
    assert 0 == done.code, done.err
    assert max(map(len, done.out.splitlines())) <= 80
    report = json.loads(file.read_text())
    choice = report["choice"]
    assert LABELS == [one["label"] for one in choice["candidates"]]
    assert f"{choice['sentence']}." in " ".join(done.out.split())
    assert "toy is active as 'toy' on fake" in done.out
    assert {"plan", "connect", "convert", "compare", "deploy"} == set(report["timings_ns"])
    assert report["precision"] == choice["chosen"].removeprefix("null ")
    rounds = {len(one["latencies_ns"]) for one in choice["candidates"]}
    assert ({choice["rounds"]}, []) == (rounds, choice["refused"])
    assert (tmp_path / "kept/oci-layout").is_file()


def test_each_device_chooses(run: Run, state: Path, make_model: Run, tmp_path: Path) -> None:
    """Each of several measures for itself and has its own bundle kept; one that is away fails alone."""
    names = ("fake", "local", "nobody@127.0.0.1:1")
    devices = [word for name in names for word in ("--device", name)]
    done = run("deploy", make_model(), *AUTO, *devices, "-o", tmp_path / "kept")
    assert 21 == done.code, done.err
    shown = " ".join(done.out.split())
    assert 2 == shown.count("deployed 1 agrees")
    assert 2 == shown.count("null int8, null float32") + shown.count("null float32, null int8")
    assert "failed:" in shown
    assert {"fake", "local"} == {folder.name for folder in (tmp_path / "kept").iterdir()}
