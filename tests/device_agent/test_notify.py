"""Telling systemd, and `edge-agent status`."""

import asyncio
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from device_agent import notify
from tests.device_agent.harness import AgentProcess


def test_ready_alive_and_ending(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The service is ready, feeds its watchdog in half the time it has, and says that it ends."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "100000")

        async def serve() -> list[bytes]:
            async with notify.reported():
                assert "NOTIFY_SOCKET" not in os.environ, "a worker must not speak for the agent"
                return [await asyncio.to_thread(systemd.recv, 100) for _ in range(4)]

        assert [b"READY=1", *[b"WATCHDOG=1"] * 3] == asyncio.run(serve())
        rest = [systemd.recv(100)]
        while rest[-1] == b"WATCHDOG=1":
            rest.append(systemd.recv(100))
        assert b"STOPPING=1" == rest[-1]


def test_without_systemd(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is sent; a socket that is gone is no reason to fail."""

    async def serve() -> None:
        async with notify.reported():
            pass

    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    asyncio.run(serve())
    monkeypatch.setenv("NOTIFY_SOCKET", "@edge-agent-test-nobody-is-here")
    asyncio.run(serve())


def test_status_asks_the_agent(agent: AgentProcess, tmp_path: Path) -> None:
    """It prints what the running agent says of itself, and fails where there is none."""
    command = [sys.executable, "-m", "device_agent", "status", "--state-dir"]
    info = json.loads(subprocess.check_output([*command, str(agent.state_dir)]))
    assert (str(agent.state_dir), None) == (info["state_dir"], info["release"])
    done = subprocess.run([*command, str(tmp_path / "none")], capture_output=True, check=False)
    assert 21 == done.returncode
    assert b"no agent answers" in done.stderr
