"""A device whose clock is wrong, or jumps: nothing is decided by it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from device_agent.errors import UploadError
from tests.clock import CLOCKS, shifted
from tests.device_agent.harness import ROOT, AgentProcess, make_bundle, null_samples

pytestmark = pytest.mark.slow

# what reads the wall clock, and what for
MAY_READ = {
    ("device_agent/log.py", "gmtime"): "the time of a line in the log, for people",
    ("device_agent/activator.py", "now"): "finished_at of the history, for people: its order is its own",
    ("device_agent/uploads.py", "st_mtime_ns"): "among uploads not touched since the start, which goes first",
}
CALLS = {
    *("time", "time_ns", "ctime", "localtime", "gmtime"),
    *("now", "utcnow", "today", "fromtimestamp", "utcfromtimestamp"),
}
ATTRIBUTES = {f"st_{which}time{unit}" for which in "amc" for unit in ("", "_ns")} | {"CLOCK_REALTIME"}


def wall_clock_reads(path: Path) -> set[str]:
    """The names by which a module reads the wall clock."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CALLS:
            found.add(node.func.attr)
        elif isinstance(node, ast.Attribute) and node.attr in ATTRIBUTES:
            found.add(node.attr)
        elif isinstance(node, ast.ImportFrom) and node.module == "time":
            found |= {name.name for name in node.names} & CALLS
    return found


def test_nothing_else_reads_the_wall_clock() -> None:
    """Each reader of the wall clock stands above with its reason: none decides what a device does."""
    files = [p for package in ("device_agent", "edge_sdk", "targets") for p in (ROOT / package).rglob("*.py")]
    found = {(str(path.relative_to(ROOT)), name) for path in files for name in wall_clock_reads(path)}
    assert set(MAY_READ) == found


@pytest.mark.parametrize("year", CLOCKS)
def test_a_device_with_a_wrong_clock(state: Path, tmp_path: Path, year: str) -> None:
    """In 1970, and twenty years off either way, everything works as it does today."""
    one, two = (make_bundle(tmp_path / f"b{seed}", seed=seed) for seed in (1, 2))
    with AgentProcess(state, env=shifted(tmp_path / "clock", year)) as agent:
        assert 1 == agent.client.deploy(one)["status"]["generation"]
        assert 2 == agent.client.deploy(two)["status"]["generation"]
        assert 1 == agent.client.rollback("digits")["status"]["generation"]
        history = agent.client.json("GET", "/edge/v1/models/digits/history")
        assert [year] * 3 == [entry["finished_at"][:4] for entry in history]  # the clock is wrong indeed
        assert "1" == agent.client.infer("digits", null_samples(1)[0])["model_version"]
        quick = {"warmup_iterations": 1, "min_iterations": 5, "min_seconds": 0, "max_seconds": 10}
        events = list(agent.client.events("/edge/v1/models/digits/benchmark", quick))
        assert all(latency > 0 for latency in events[-1]["result"]["latencies_ns"])


def test_a_clock_that_jumps_between_starts(state: Path, tmp_path: Path) -> None:
    """Whatever the clock says after a reboot, the last deployment answers, and none before it comes back."""
    jumps = ("2046", "1970", "2006", "2046", "1970")
    blob = bytes(3000)
    for number, year in enumerate(jumps, start=1):
        with AgentProcess(state, env=shifted(tmp_path / "clock", year)) as agent:
            if number > 1:
                assert number - 1 == agent.client.generation("digits")
                output = agent.client.infer("digits", null_samples(1)[0])["outputs"][0]["name"]
                assert f"scores{number - 1}" == output
            digest = "sha256:" + "0" * 64
            location, offset = agent.client.begin_upload(digest, len(blob))
            assert 500 * (number - 1) == offset  # an upload goes on where it was
            agent.client.send_chunk(location, offset, blob[:500])
            bundle = make_bundle(tmp_path / str(number), seed=number)
            assert number == agent.client.deploy(bundle)["status"]["generation"]
            with pytest.raises(UploadError):
                agent.client.send_chunk(location, offset, blob[:500])  # one from before is no good again
            agent.kill()
    with AgentProcess(state) as agent:
        history = agent.client.json("GET", "/edge/v1/models/digits/history")
        expected = [(number, year) for number, year in enumerate(jumps, start=1)]
        assert expected == [(entry["generation"], entry["finished_at"][:4]) for entry in history]
        assert len(jumps) == agent.client.generation("digits")
