"""Fixtures of the agent: one that runs, and folders for those that a test starts itself."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.device_agent.harness import AgentProcess


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Where an agent of this test keeps its state."""
    return tmp_path / "state"


@pytest.fixture
def agent(state: Path) -> Iterator[AgentProcess]:
    """A running agent; ended by SIGTERM after the test."""
    with AgentProcess(state) as running:
        yield running
