"""`edge agent`."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge_sdk.devices.transports.local import ended

Run = Callable[..., Any]


def test_start_status_stop(run: Run, state: Path) -> None:
    """A started agent stays, is shown, and has ended when `stop` returns."""
    assert (21, False) == ((done := run("agent", "status", "--json", "-")).code, done.json["running"])
    started = run("agent", "start", "--json", "-").json
    shown = run("agent", "status", "--json", "-").json
    assert shown["running"]
    assert started["pid"] == shown["agent"]["pid"]
    assert "stays until" in run("agent", "status").out
    assert started["pid"] == run("agent", "start", "--json", "-").json["pid"]
    stopped = run("agent", "stop", "--json", "-").json
    assert {"stopped": True, "pid": started["pid"]} == stopped
    assert ended(started["pid"])
    assert {"stopped": False, "pid": None} == run("agent", "stop", "--json", "-").json
    assert "no agent is running" in run("agent", "status").out


def test_logs(run: Run, state: Path) -> None:
    """The log's end is shown; before any agent has run there is nothing."""
    assert "nothing is logged" in run("agent", "logs").out
    run("agent", "start")
    run("agent", "stop")
    logged = run("agent", "logs", "-n", "2", "--json", "-").json
    assert str(state / "agent.log") == logged["log"]
    assert 2 == len(logged["lines"])


def test_run_in_the_foreground(run: Run, spawn: Run, state: Path) -> None:
    """`edge agent run` is the agent itself, until Ctrl-C."""
    process = spawn("agent", "run", "--json", "-")
    first = json.loads(process.stdout.readline())
    assert {"pid": process.pid, "state_dir": str(state)} == first
    while run("agent", "status").code:
        assert process.poll() is None
    assert process.pid == run("agent", "status", "--json", "-").json["agent"]["pid"]
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert 0 == process.returncode
