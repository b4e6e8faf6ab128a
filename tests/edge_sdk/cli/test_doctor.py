"""`edge doctor` and its checks."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from device_agent.protocol import AgentInfo, MachineState
from edge_sdk.cli import checks

Run = Callable[..., Any]
INFO = AgentInfo(
    protocol=1,
    agent_version="0",
    pid=1,
    hostname="here",
    machine="x86_64",
    word_bits=64,
    system="Linux",
    python="3.11",
    cpu_model="a CPU",
    cpu_count=2,
    ram_bytes=1,
    disk_free_bytes=1,
    runtimes=(),
    isolation="none",
    on_demand=True,
    state_dir="/",
    state=MachineState(None, None, None, 0.0, 1),
)


def test_everything_is_in_place_here(run: Run, state: Path) -> None:
    """On a machine that can run the tests no check fails, and each has its line."""
    done = run("doctor", "--json", "-")
    assert (0, True) == (done.code, done.json["ok"])
    names = [check["name"] for check in done.json["checks"]]
    assert ["python", "packages", "runtimes", "state", "disk", "agent", "trust", "governor"] == names
    text = run("doctor").out
    assert all(name in text for name in names)


def test_a_failed_check_exits_with_1(run: Run, state: Path) -> None:
    """A state folder that others may enter fails, with what to do, and so does the agent in it."""
    state.mkdir()
    state.chmod(0o755)
    done = run("doctor")
    assert 1 == done.code
    assert "fail  state" in done.out
    assert "fail  agent" in done.out
    assert "chmod 700" in done.out


@pytest.mark.parametrize(
    ("version", "status"), [((3, 10), "fail"), ((3, 11), "ok"), ((3, 13), "ok"), ((3, 14), "fail")]
)
def test_python(version: tuple[int, int], status: str) -> None:
    """Python 3.11 to 3.13 is right."""
    assert status == checks.python(version).status


def test_missing_package_is_named() -> None:
    """A package of the base install that is missing fails; those of extras are not asked for."""
    requirements = ["numpy>=2.0", "rich>=13.9", "torch>=2.9; extra == 'torch'"]
    check = checks.packages(requirements, {"numpy": "2.1"}.get)
    assert ("fail", "missing: rich") == (check.status, check.message)
    assert "ok" == checks.packages(requirements, lambda _name: "1").status


@pytest.mark.parametrize(
    ("free", "status"), [(50_000_000, "fail"), (500_000_000, "warn"), (5_000_000_000, "ok")]
)
def test_disk(free: int, status: str) -> None:
    """Little room is a warning, hardly any a failure."""
    assert status == checks.disk(Path("/x"), free).status


@pytest.mark.parametrize(("governor", "status"), [(None, "ok"), ("performance", "ok"), ("powersave", "warn")])
def test_governor(governor: str | None, status: str) -> None:
    """A governor that changes the frequency is a warning with the command that fixes it."""
    check = checks.governor(evolve(INFO, state=evolve(INFO.state, governor=governor)))
    assert status == check.status
    assert ("cpupower" in check.next_step) == (status == "warn")
