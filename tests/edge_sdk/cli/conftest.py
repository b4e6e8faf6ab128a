"""Running `edge` in this process, and beside it."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen
from click.testing import CliRunner

from edge_sdk.cli.main import edge


@frozen
class Ran:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its `--json -`."""
        return json.loads(self.out)


def invoke(*words: str | Path) -> Ran:
    """Run a command in this process."""
    result = CliRunner().invoke(edge, [str(word) for word in words])
    return Ran(result.exit_code, result.stdout, result.stderr)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ran]:
    """Runs a command in this process on a terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    return invoke


@pytest.fixture
def spawn() -> Callable[..., subprocess.Popen[str]]:
    """Starts a command as a process of its own, with pipes."""

    def start(*words: str | Path) -> subprocess.Popen[str]:
        code = "from edge_sdk.cli.main import main; main()"
        return subprocess.Popen(
            [sys.executable, "-c", code, *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start
