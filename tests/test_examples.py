"""Every example runs as it stands, and stays short."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.py"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_example(example, tmp_path):
    """The example ends well in a fresh state directory, says something, and has at most 40 lines."""
    done = subprocess.run(
        [sys.executable, "-W", "error", example],
        env={**os.environ, "EDGE_AGENT_STATE": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (0, "") == (done.returncode, done.stderr)
    assert done.stdout
    assert len(example.read_text().splitlines()) <= 40


def test_there_are_examples():
    """The folder was found."""
    assert EXAMPLES
