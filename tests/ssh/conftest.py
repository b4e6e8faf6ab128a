"""A server for each test module, and the user's settings of each test's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.edge_sdk.cli.conftest import run
from tests.edge_sdk.conftest import make_bundle, make_model, own_settings, state
from tests.ssh.server import Sshd, serving, sshd

__all__ = ["make_bundle", "make_model", "own_settings", "run", "state"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """A server that lets the tests' key in."""
    with sshd(tmp_path_factory.mktemp("sshd")) as running:
        yield running


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Path]:
    """The state folder of an agent that runs on the other side."""
    state = tmp_path / "state"
    with serving(state):
        yield state
