"""The state folder, the socket's path and the lock."""

import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from device_agent import home
from device_agent.ballast import Ballast
from device_agent.errors import DeviceError
from tests.device_agent.faults import faulty


def test_state_dir_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """EDGE_AGENT_STATE wins over XDG_STATE_HOME, which wins over ~/.local/state."""
    monkeypatch.setenv("HOME", "/home/pi")
    monkeypatch.delenv("EDGE_AGENT_STATE", raising=False)
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    assert Path("/home/pi/.local/state/edge-agent") == home.default_state_dir()
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    assert Path("/home/pi/.local/state/edge-agent") == home.default_state_dir()
    monkeypatch.setenv("XDG_STATE_HOME", "/data")
    assert Path("/data/edge-agent") == home.default_state_dir()
    monkeypatch.setenv("EDGE_AGENT_STATE", "/srv/agent")
    assert Path("/srv/agent") == home.default_state_dir()


def test_long_state_dir_gets_a_short_private_socket_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path that no socket can have is replaced by one of its own in a folder nobody else may enter."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    folder = tmp_path / ("x" * 110)
    path = home.socket_path(folder)
    assert tmp_path / "edge-agent" == path.parent
    assert path == home.socket_path(folder)
    assert path != home.socket_path(tmp_path / ("y" * 110))
    assert 0o700 == stat.S_IMODE(path.parent.stat().st_mode)


def test_short_socket_path_without_a_runtime_dir(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without XDG_RUNTIME_DIR the short path still fits."""
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    path = home.socket_path(Path("/" + "x" * 200))
    assert home.MAX_SOCKET_PATH_BYTES >= len(str(path))


def test_folder_open_to_others_is_refused(tmp_path: Path) -> None:
    """A folder that others may enter, or a link, is not used."""
    tmp_path.joinpath("open").mkdir(mode=0o755)
    tmp_path.joinpath("link").symlink_to(tmp_path)
    for name in ("open", "link"):
        with pytest.raises(DeviceError, match="not private"):
            home.make_private(tmp_path / name)


def test_lock_is_for_one(tmp_path: Path) -> None:
    """While something answers on the socket, a second agent is refused at once."""
    path = tmp_path / "agent.sock"
    with (
        home.alone(tmp_path, path),
        home.listener(path, Ballast(path.parent)),
        pytest.raises(DeviceError, match="another agent"),
        home.alone(tmp_path, path),
    ):
        pass
    with home.alone(tmp_path, path):
        pass


def test_listener_replaces_a_stale_socket_and_removes_its_own(tmp_path: Path) -> None:
    """What a killed agent left behind is no hindrance; the new socket is for this user only."""
    path = tmp_path / "agent.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    assert not home.answers(path)
    with home.listener(path, Ballast(path.parent)):
        assert home.answers(path)
        assert 0o600 == stat.S_IMODE(path.stat().st_mode)
    assert not path.exists()


def test_new_state_folder_survives_a_power_cut(tmp_path: Path) -> None:
    """The names of all folders that were made are synced, in the folders that hold them."""
    synced: list[Path] = []

    def fault(_: int, do: Callable[[], Any], name: str, arguments: tuple[Any, ...]) -> Any:
        if name == "fsync":
            synced.append(Path(f"/proc/self/fd/{arguments[0]}").readlink())
        return do()

    with faulty(fault):
        home.make_private(tmp_path / "a" / "b" / "state")
        home.make_private(tmp_path / "a" / "b" / "state")
    assert [tmp_path, tmp_path / "a", tmp_path / "a" / "b"] == synced
