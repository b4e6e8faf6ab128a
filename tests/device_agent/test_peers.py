"""Other users of the machine on the agent's socket: refused by the kernel's word for who they are."""

from __future__ import annotations

import grp
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from device_agent import peers
from device_agent.errors import PeerRefused
from tests.device_agent.harness import AgentProcess, Client

CLIENT = """
import http.client, os, socket, sys
os.setgroups([int(g) for g in sys.argv[3].split(",") if g]); os.setgid(65534); os.setuid(int(sys.argv[2]))
c = http.client.HTTPConnection("agent"); c.sock = socket.socket(socket.AF_UNIX); c.sock.connect(sys.argv[1])
c.request("GET", "/edge/v1/agent"); r = c.getresponse(); print(r.status, r.read().decode())
"""
OTHER_UID = 65533


@pytest.fixture
def reachable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder that every user may enter, for a socket."""
    with tempfile.TemporaryDirectory(prefix="edge-", dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def _as(uid: int, path: Path, groups: str = "") -> str:
    done = subprocess.run(
        [sys.executable, "-I", "-c", CLIENT, str(path), str(uid), groups],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    return done.stdout or done.stderr


def _agent(state: Path, path: Path, *options: str) -> AgentProcess:
    """An agent whose socket is elsewhere."""
    agent = AgentProcess(state, "--socket", str(path), *options)
    agent.socket, agent.client = path, Client(path)
    return agent


needs_root = pytest.mark.skipif(os.getuid() != 0, reason="becoming another user needs root")


@needs_root
@pytest.mark.parametrize("mode", [0o600, 0o777])
def test_other_users_are_refused(tmp_path: Path, reachable: Path, mode: int) -> None:
    """Another user is kept out by the socket's mode, and by the agent where that is wide open."""
    path = reachable / "agent.sock"
    with _agent(tmp_path / "state", path) as agent_at:
        path.chmod(mode)
        said = _as(OTHER_UID, path)
        if mode == 0o600:
            assert "PermissionError" in said
            return
        assert said.startswith("403 ")
        assert "peer_refused" in said
        assert '"peer refused"' in agent_at.log.read_text()
        assert f'"uid": {OTHER_UID}' in agent_at.log.read_text()
        assert _as(0, path).startswith("200 ")


@needs_root
def test_group_members_are_let_in(tmp_path: Path, reachable: Path) -> None:
    """With --group its members are let in, by the kernel's word for their groups; others are not."""
    path, group = reachable / "agent.sock", grp.getgrall()[-1]
    with _agent(tmp_path / "state", path, "--group", group.gr_name):
        assert 0o660 == path.stat().st_mode & 0o777
        assert _as(OTHER_UID, path, str(group.gr_gid)).startswith("200 ")
        path.chmod(0o666)
        assert _as(OTHER_UID, path).startswith("403 ")


def test_who_may() -> None:
    """Root, the agent's own user and the group's members may talk to it."""
    stranger = peers.Peer(1, 1001, frozenset({1001, 50}))
    assert peers.refusal(peers.Peer(1, 0, frozenset()), own_uid=1000, group=None) is None
    assert peers.refusal(peers.Peer(1, 1000, frozenset()), own_uid=1000, group=None) is None
    assert peers.refusal(stranger, own_uid=1000, group=50) is None
    for group in (None, 51, 0):
        assert isinstance(peers.refusal(stranger, own_uid=1000, group=group), PeerRefused)


def test_peer_credentials() -> None:
    """The kernel says who connected: this process, with its groups."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        peer = peers.peer_of(ours)
    assert (os.getpid(), os.getuid()) == (peer.pid, peer.uid)
    assert set(os.getgroups()) | {os.getgid()} == peer.groups
