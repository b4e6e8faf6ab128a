"""`edge devices install | upgrade | uninstall` on this machine."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.edge_sdk.devices.bootstrap import conftest as bootstrap

pytestmark = pytest.mark.slow

Run = Callable[..., Any]
home = bootstrap.home


@pytest.fixture
def own(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home that the whole process takes for the user's."""
    for name in ("EDGE_AGENT_STATE", "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    return home


def test_the_commands(run: Run, own: Path) -> None:
    """Install here, see it among the devices, upgrade to the same, uninstall."""
    options = ["--target", "null"]
    planned = run("devices", "install", "local", *options, "--service", "plain", "--dry-run")
    assert (0, True) == (planned.code, "would copy the agent" in planned.out)
    assert [] == list(own.iterdir())
    done = run("devices", "install", "local", *options, "--service", "plain", "--json", "-")
    assert (0, "installed", "plain") == (done.code, done.json["action"], done.json["service"]), done.err
    shown = run("devices", "show", "local", "--json", "-").json
    assert done.json["release"] == shown["agent"]["release"]
    again = run("devices", "upgrade", "local", *options)
    assert (0, True) == (again.code, "unchanged" in again.out)
    assert "removed" == run("devices", "uninstall", "local", "--json", "-").json["action"]
    assert "no agent is installed" in run("devices", "uninstall", "local").out
    assert [] == list(own.iterdir())


def test_errors(run: Run, own: Path) -> None:
    """No such device; nothing to upgrade."""
    assert 2 == run("devices", "install", "nowhere").code
    assert 20 == run("devices", "upgrade", "local", "--target", "null").code
    assert [] == list(own.iterdir())
