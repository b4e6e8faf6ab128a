"""`edge deploy`, `bench`, `rollback` over the null road: the whole way with a real agent."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from device_agent.bundle import read_bundle
from edge_sdk.devices.lifecycle import find_agent

Run = Callable[..., Any]
FAKE = ("--target", "null", "--device", "fake")
NULL = ("--target", "null", "--device", "local")
QUICK = ("--no-bench",)


@pytest.fixture
def lasting(run: Run, state: Path) -> int:
    """The process of an agent that stays, so that commands need not start one each; `state` ends it."""
    pid: int = run("agent", "start", "--json", "-").json["pid"]
    return pid


def test_fake_device_in_one_command(run: Run, make_model: Run, tmp_path: Path) -> None:
    """One command converts, deploys, checks and measures, and says so in 80 columns and as JSON."""
    file = tmp_path / "result.json"
    done = run("deploy", make_model(), *FAKE, "--json", file)
    assert 0 == done.code, done.err
    assert max(map(len, done.out.splitlines())) <= 80
    assert "toy is active as 'toy' on fake" in done.out
    assert "device and host agree on 4 golden samples" in done.out
    assert "p99" in done.out
    assert "activate: PREFLIGHT ..." in done.err


def test_json_on_stdout(run: Run, make_model: Run) -> None:
    """With `--json -` stdout holds the report and nothing else."""
    report = run("deploy", make_model(), *FAKE, "--json", "-").json
    assert (1, 1, None) == (report["schema_version"], report["generation"], report["previous_generation"])
    assert report["parity"]["passed"]
    assert report["latency_ns"]["samples"] == len(report["latencies_ns"]) >= 200
    row = report["latency_ns"]["p50"]
    assert row["low"] <= row["value"] <= row["high"]
    assert {"plan", "connect", "convert", "pack", "deploy", "benchmark"} == set(report["timings_ns"])


def test_generations_follow_each_other(run: Run, state: Path, make_model: Run) -> None:
    """Deploying another model under the name makes the next generation, and a rollback undoes it."""
    assert 1 == run("deploy", make_model(width=4), *NULL, *QUICK, "--json", "-").json["generation"]
    second = run("deploy", make_model(width=5), *NULL, *QUICK, "--json", "-").json
    assert (2, 1) == (second["generation"], second["previous_generation"])
    assert second["latency_ns"] is None
    again = run("deploy", make_model(width=5), *NULL, *QUICK, "--json", "-").json
    assert (2, True) == (again["generation"], again["unchanged"])
    back = run("rollback", "toy", "--json", "-").json
    assert back["parity"]["passed"]
    shown = run("devices", "show", "--json", "-").json
    assert [back["generation"]] == [row["generation"] for row in shown["deployments"]]
    assert 3 == len(run("devices", "history", "toy", "--json", "-").json)
    assert "committed" in run("devices", "history", "toy").out.lower()
    assert find_agent() is None


def test_bench_of_what_is_deployed(run: Run, lasting: int, make_model: Run) -> None:
    """A deployment can be measured later; the number of runs and threads is as asked for."""
    run("deploy", make_model(), *NULL, *QUICK)
    report = run("bench", "toy", "--iterations", "50", "--seconds", "0", "--threads", "2", "--json", "-").json
    assert len(report["latencies_ns"]) >= 50
    assert (2, "toy", 1) == (report["latency_ns"]["threads"], report["name"], report["generation"])
    assert "p50" in run("bench", "toy", "--iterations", "50", "--seconds", "0").out
    for options in (("--profile",), ("--hint", "throughput"), ("--streams", "2")):
        refused = run("bench", "toy", *options, "--json", "-")
        assert (2, "invalid_request", "null") == (refused.code, refused.json["code"], refused.json["where"])


def test_removed_models_are_gone(run: Run, lasting: int, make_model: Run) -> None:
    """A removed model is unknown to every later command."""
    run("deploy", make_model(), *NULL, *QUICK)
    assert "removed" in run("remove", "toy").out
    for words in (("bench", "toy"), ("rollback", "toy"), ("remove", "toy")):
        done = run(*words, "--json", "-")
        assert (26, "unknown_model") == (done.code, done.json["code"])


def test_bundle_is_kept_where_asked(run: Run, lasting: int, make_model: Run, tmp_path: Path) -> None:
    """`-o` keeps the bundle that was deployed, under the deployment's name."""
    done = run("deploy", make_model(), *NULL, *QUICK, "--name", "other", "-o", tmp_path / "kept")
    assert 0 == done.code, done.err
    assert "other" == read_bundle(tmp_path / "kept").config.name


def test_first_generation_cannot_be_rolled_back(run: Run, lasting: int, make_model: Run) -> None:
    """A rollback without an earlier generation exits with 30 and changes nothing."""
    run("deploy", make_model(), *NULL, *QUICK)
    assert 30 == run("rollback", "toy").code
    assert 1 == run("devices", "show", "--json", "-").json["deployments"][0]["generation"]


BAD = [
    (("nosuch.onnx",), 3, "nosuch.onnx"),
    (("{cut}", *NULL), 4, "cut.null.json"),
    (("{odd}", *NULL), 4, "odd.xyz"),
    (("{model}", "--target", "nul"), 7, "null"),
    (("{model}", "--target", "{cut}"), 8, "TOML"),
    (("{model}", "--target", "local"), 5, "null"),
    (("{model}", *NULL, "--name", "No Such Name"), 2, "deployment name"),
    (("{model}", "--target", "null", "--device", "there"), 2, "user@host"),
    (("{model}", *NULL, "--precision", "int4"), 2, "int4"),
    (("{model}", *NULL, "-o", "{model}/below"), 12, "bundle"),
    (("{model}", *NULL, "--calibration", "nosuch.npz"), 3, "nosuch.npz"),
]


@pytest.mark.parametrize(("words", "code", "named"), BAD)
def test_bad_input_is_one_paragraph(
    words: tuple[str, ...], code: int, named: str, run: Run, lasting: int, make_model: Run, tmp_path: Path
) -> None:
    """Each bad input has its exit code and one paragraph that names it; what is active stays active."""
    run("deploy", make_model(), *NULL, *QUICK)
    places = {name: tmp_path / file for name, file in (("cut", "cut.null.json"), ("odd", "odd.xyz"))}
    places["cut"].write_text('{"inputs": [{"name": "x", "dt')
    places["odd"].write_bytes(b"\x00\x01")
    places["model"] = make_model(width=5)
    done = run("deploy", *(word.format(**places) for word in words), "--json", "-")
    assert code == done.code, done.err
    error = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert 1 == len(error)
    assert named in error[0]
    assert f"error: {done.json['error']}" == error[0]
    active = run("devices", "show", "--json", "-").json["deployments"]
    assert [("toy", 1)] == [(row["name"], row["generation"]) for row in active]


def test_agent_that_cannot_be_reached(run: Run, state: Path, make_model: Run) -> None:
    """Without an agent and without a way to start one the exit code is 21, and says why."""
    state.mkdir(mode=0o700)
    (state / "lock").mkdir()
    done = run("deploy", make_model(), *NULL)
    assert 21 == done.code
    assert "did not start" in done.err
    (state / "lock").rmdir()


def test_two_deploys_at_once(run: Run, spawn: Run, state: Path, make_model: Run, make_bundle: Run) -> None:
    """Of two deployments of a name at the same moment each succeeds or says it is in conflict."""
    started = [spawn("deploy", make_model(width=width), *NULL, "--name", "toy", *QUICK) for width in (4, 5)]
    ends = [(process.communicate(timeout=60), process.returncode) for process in started]
    codes = [code for _, code in ends]
    assert {0, 24} >= set(codes), ends
    assert 0 in codes
    (active,) = run("devices", "show", "--json", "-").json["deployments"]
    assert "COMMITTED" == active["state"]
    assert codes.count(0) == active["generation"]


def test_killed_between_commands(run: Run, lasting: int, make_model: Run) -> None:
    """An agent that was killed with -9 comes back with what was deployed."""
    run("deploy", make_model(), *NULL, *QUICK)
    os.kill(lasting, signal.SIGKILL)
    done = run("bench", "toy", "--iterations", "10", "--seconds", "0", "--json", "-")
    assert (0, 1) == (done.code, done.json["generation"])


def test_ctrl_c_ends_everything(run: Run, spawn: Run, state: Path, make_model: Run) -> None:
    """An interrupted command exits with 130, prints no traceback, and its agent ends."""
    run("deploy", make_model(), *NULL, *QUICK)
    process = spawn("bench", "toy", "--seconds", "60")
    assert "measure ...\n" == process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert 130 == process.returncode
    assert "Traceback" not in err
    assert find_agent() is None
