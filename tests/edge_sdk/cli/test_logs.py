"""`edge logs`."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge_sdk.report.logs import readable

Run = Callable[..., Any]


def test_the_newest_lines(run: Run, state: Path) -> None:
    """They are the agent's own, oldest first; `--level` leaves out what is less grave."""
    run("agent", "start")
    rows = run("logs", "--json", "-").json["lines"]
    assert "serving" in [row["event"] for row in rows]
    assert [] == run("logs", "--level", "error", "--json", "-").json["lines"]
    assert 1 == len(run("logs", "-n", "1").out.splitlines())


def test_following_until_ctrl_c(run: Run, spawn: Run, state: Path) -> None:
    """Lines come as they are written."""
    run("agent", "start")
    process = spawn("logs", "--follow", "-n", "1", "--json", "-")
    assert "event" in json.loads(process.stdout.readline())
    run("agent", "stop")
    assert "ending" in [json.loads(process.stdout.readline())["event"]]
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert 0 == process.returncode


def test_a_line_for_people() -> None:
    """What a worker wrote stands below, and cannot steer the terminal."""
    row = {
        "time": "T",
        "level": "warning",
        "event": "worker ended",
        "model": "a",
        "stderr": "one\n\x1b[2Jtwo",
    }
    assert "T warning worker ended model=a\n    one\n    \\x1b[2Jtwo" == readable(row)
