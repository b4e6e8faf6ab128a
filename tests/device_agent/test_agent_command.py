"""The command `edge-agent`."""

import base64
import hashlib
import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import device_agent
from tests.device_agent.harness import AgentProcess


def run(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "device_agent", *arguments], input=stdin, capture_output=True, timeout=60
    )


def test_version() -> None:
    """It says its version."""
    assert f"edge-agent {device_agent.__version__}\n".encode() == run("--version").stdout


def test_describe(tmp_path: Path) -> None:
    """The machine, as JSON and as text, without a running agent."""
    state = str(tmp_path / "state")
    info = json.loads(run("describe", "--json", "--state-dir", state).stdout)
    assert (1, state) == (info["protocol"], info["state_dir"])
    assert b"cpu_count: " in run("describe", "--state-dir", state).stdout
    assert not Path(state).exists()


def test_connect_carries_bytes_both_ways(agent: AgentProcess) -> None:
    """A request written to stdin is answered on stdout; the end of stdin ends it."""
    with subprocess.Popen(
        [sys.executable, "-m", "device_agent", "connect", "--state-dir", str(agent.state_dir)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as bridge:
        assert bridge.stdin is not None
        assert bridge.stdout is not None
        bridge.stdin.write(b"GET /v2/health/live HTTP/1.1\r\nHost: agent\r\n\r\n")
        bridge.stdin.flush()
        assert b"HTTP/1.1 200 OK\r\n" == bridge.stdout.readline()
        bridge.stdin.close()
        assert 0 == bridge.wait(20)


@pytest.mark.parametrize("stdin", ["pipe", "socket"])
def test_connect_carries_large_requests(agent: AgentProcess, stdin: str) -> None:
    """An upload's chunk arrives whole through a pipe, whose pages are handed on, and through a socket."""
    data = bytes(range(256)) * 9000
    location, _ = agent.client.begin_upload("sha256:" + hashlib.sha256(data).hexdigest(), len(data))
    checksum = base64.b64encode(hashlib.sha256(data).digest()).decode()
    head = (
        f"PATCH {location} HTTP/1.1\r\nHost: agent\r\nUpload-Offset: 0\r\n"
        f"Upload-Checksum: sha256 {checksum}\r\nContent-Type: application/offset+octet-stream\r\n"
        f"Content-Length: {len(data)}\r\n\r\n"
    )
    ends = socket.socketpair() if stdin == "socket" else None
    command = [sys.executable, "-m", "device_agent", "connect", "--state-dir", str(agent.state_dir)]
    given = subprocess.PIPE if ends is None else ends[1]
    with subprocess.Popen(command, stdin=given, stdout=subprocess.PIPE) as bridge:
        assert bridge.stdout is not None
        writer = bridge.stdin if ends is None else ends[0].makefile("wb")
        assert writer is not None
        writer.write(head.encode() + data)
        writer.flush()
        assert b"HTTP/1.1 204 No Content\r\n" == bridge.stdout.readline()
        writer.close()
        for end in ends or ():
            end.close()
        assert 0 == bridge.wait(20)


def test_the_bridge_starts_without_what_only_the_agent_needs() -> None:
    """Each session of a host starts one, on slow devices too."""
    code = "import sys, device_agent.main, device_agent.bridge, device_agent.home; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set() == {"asyncio", "attrs", "logging", "tempfile", "starlette"} & set(done.stdout.split())


def test_connect_without_an_agent(tmp_path: Path) -> None:
    """Where nothing answers, the error says so and has its exit code."""
    done = run("connect", "--state-dir", str(tmp_path / "state"))
    assert 21 == done.returncode
    assert b"no agent answers" in done.stderr


def test_state_folder_open_to_others_is_refused(tmp_path: Path) -> None:
    """An agent does not run on a folder that others may enter."""
    tmp_path.joinpath("open").mkdir(mode=0o755)
    done = run("serve", "--state-dir", str(tmp_path / "open"))
    assert 20 == done.returncode
    assert b"not private" in done.stderr
