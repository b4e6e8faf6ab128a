"""A part of each fault campaign; `scripts/faults` runs them whole."""

import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.device_agent.campaigns import power
from tests.device_agent.campaigns.disk import Disk
from tests.device_agent.campaigns.power import Judge, first_bad
from tests.device_agent.campaigns.recording import Op
from tests.device_agent.campaigns.scenarios import Stock
from tests.device_agent.harness import ROOT

CANNOT_RUN = 2


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is such a file system: these tests sync thousands of times."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else tmp_path) as folder:
        yield Path(folder)


def campaign(folder: Path, *arguments: str) -> dict[str, Any]:
    """What a campaign found, after it found nothing wrong; skipped where it cannot be run."""
    result = folder / "result.json"
    done = subprocess.run(
        [sys.executable, "-m", "tests.device_agent.campaigns", *arguments, "--json", result],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == CANNOT_RUN and not os.environ.get("CI"):
        pytest.skip(done.stderr.strip())
    assert 0 == done.returncode, done.stdout + done.stderr[-2000:]
    return dict(json.loads(result.read_text()))


@pytest.mark.slow
def test_death_at_changing_calls(tmp_path: Path) -> None:
    """Killed at a spread of all points of every operation, the agent serves a whole model again."""
    found = campaign(tmp_path, "kill", "--sample", "12")
    assert found["tried"] >= 12
    assert found["ready_max_s"] > 0


@pytest.mark.slow
def test_power_cuts(tmp_path: Path) -> None:
    """On a spread of what a disk may hold after a power cut, nothing that was promised is lost."""
    found = campaign(tmp_path, "power", "--no-mutants", "--sample", "25", "--limit", "8")
    assert found["tried"] >= 40


@pytest.mark.slow
@pytest.mark.parametrize("operation", ["deploy", "rollback"])
def test_failing_medium(tmp_path: Path, operation: str) -> None:
    """A spread of calls that fail: what was active answers on, and the next deployment works."""
    found = campaign(tmp_path, "medium", "--only", f"{operation}, EIO", "--sample", "20")
    assert found["tried"] >= 2


@pytest.mark.slow
def test_small_disks(tmp_path: Path) -> None:
    """Disks of several sizes: refused by name, and the ballast lets a full one roll back."""
    found = campaign(tmp_path, "full", "--sample", "3")
    assert found["tried"] >= 5


@pytest.mark.slow
@pytest.mark.parametrize("site", ["slots.write", "uploads._sync"])
def test_code_without_an_fsync(memory: Path, site: str) -> None:
    """Without one of its fsyncs the recorded session has a bad state: the states are hard enough."""
    (memory / "recorded").mkdir()
    stock = Stock(memory / "bundles")
    recording = power.session(memory / "recorded", stock)
    judge = Judge(stock, memory / "state", power.check)
    _, problem = first_bad(recording, site, 8, 1, judge.problem)
    assert problem is not None


FILE = [Op("create", "a"), Op("write", "a", data=b"wxyz")]
POSSIBLE = {
    "nothing is synced": (FILE, {"", "a=", "a=wx", "a=wxyz", "a=\0\0\0\0"}),
    "the file is synced": ([*FILE, Op("fsync", "a")], {"", "a=wxyz"}),
    "the folder is synced": ([*FILE, Op("fsync", "")], {"a=", "a=wx", "a=wxyz", "a=\0\0\0\0"}),
    "all is synced": ([*FILE, Op("sync", "")], {"a=wxyz"}),
    "renamed": ([*FILE, Op("sync", ""), Op("rename", "a", "b")], {"a=wxyz", "b=wxyz"}),
    "linked": ([*FILE, Op("sync", ""), Op("link", "a", "b")], {"a=wxyz", "a=wxyz b=wxyz"}),
    "removed": ([*FILE, Op("sync", ""), Op("unlink", "a")], {"a=wxyz", ""}),
    "to another folder": (
        [*FILE, Op("mkdir", "d"), Op("sync", ""), Op("rename", "a", "d/b")],
        {"a=wxyz", "a=wxyz d/b=wxyz", "d/b=wxyz"},
    ),
}


@pytest.mark.parametrize(("ops", "states"), POSSIBLE.values(), ids=POSSIBLE.keys())
def test_what_a_disk_may_hold(tmp_path: Path, ops: list[Op], states: set[str]) -> None:
    """Every combination of what was not synced, and nothing else."""
    disk = Disk()
    for op in ops:
        disk.do(op)
    found = set()
    for number, state in enumerate(disk.states(64, random.Random(1))):
        folder = tmp_path / str(number)
        folder.mkdir()
        state.materialise(folder)
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        found.add(" ".join(f"{path.relative_to(folder)}={path.read_text()}" for path in files))
    assert states == found
