"""A host whose clock is wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.clock import CLOCKS, shifted

pytestmark = pytest.mark.slow

ARCHIVE = (
    "import hashlib\n"
    "from edge_sdk.devices.bootstrap import archive\n"
    "print(hashlib.sha256(archive.build().data).hexdigest())"
)


def output(*words: str | Path, env: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, *map(str, words)],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
    )
    assert 0 == done.returncode, done.stderr
    return done.stdout


@pytest.mark.parametrize("year", CLOCKS)
def test_deploying_with_a_wrong_clock(
    state: Path, make_model: Callable[..., Path], tmp_path: Path, year: str
) -> None:
    """Converting, packing, deploying and measuring work on a host in 1970 and twenty years off."""
    code = "from edge_sdk.cli.main import main; main()"
    words = ("deploy", make_model(), "--target", "null", "--device", "local", "--json", "-")
    report = json.loads(output("-c", code, *words, env=shifted(tmp_path / "clock", year)))
    assert (1, True) == (report["generation"], report["parity"]["passed"])
    assert report["timings_ns"]["deploy"] > 0


def test_the_agents_archive_is_the_same_at_any_time(tmp_path: Path) -> None:
    """What a host in 1970 or in 2046 builds has the same bytes: a ZIP file knows no time before 1980."""
    assert 1 == len({output("-c", ARCHIVE, env=shifted(tmp_path / "clock", year)) for year in CLOCKS})
