"""A real OpenSSH server on loopback with keys of its own, an agent behind it, and a relay that cuts."""

from __future__ import annotations

import getpass
import os
import shlex
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from attrs import frozen

from device_agent import home
from device_agent.sshsig import PublicKey
from edge_sdk.devices.addresses import SshAddress
from edge_sdk.devices.host_keys import lookup_name, parse_key
from edge_sdk.devices.ssh import SshSettings

ROOT = Path(__file__).resolve().parents[1]
HOST = "127.0.0.1"
PRIVSEP = Path("/run/sshd")  # sshd as root wants this empty folder
# SHLVL: bash reads ~/.bashrc in the sessions of sshd unless it believes to be inside another shell
CONFIG = """
Port {port}
ListenAddress 127.0.0.1
HostKey {host_key}
PidFile none
AuthorizedKeysFile {authorized}
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
PermitUserEnvironment no
SetEnv PYTHONPATH={pythonpath} SHLVL=1 {env}
Subsystem sftp internal-sftp
{more}
"""


def require_sshd() -> str:
    """The path of sshd; skips without one, fails in CI."""
    found = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:" + os.environ.get("PATH", ""))
    problem = None if found is not None else "no sshd: install openssh-server"
    if found is not None and os.getuid() == 0:
        try:
            PRIVSEP.mkdir(mode=0o755, exist_ok=True)
        except OSError as e:
            problem = f"sshd as root needs {PRIVSEP}: {e}"
    if problem is not None:
        if os.environ.get("CI") == "true":
            pytest.fail(problem)
        pytest.skip(problem)
    return str(found)


def small_disk(folder: Path, size: str) -> list[str]:
    """A wrapper whose command sees a file system of that size at `folder`, which nobody else sees.

    Skips where only root may do that; fails in CI where root may not.
    """
    script = 'mount -t tmpfs -o "size=$1" none "$2" && shift 2 && exec "$@"'
    wrapper = ["unshare", "--mount", "--", "sh", "-c", script, "sh", size, str(folder)]
    done = subprocess.run([*wrapper, "true"], capture_output=True, text=True, check=False)
    if done.returncode:
        if os.environ.get("CI") == "true" and os.getuid() == 0:
            pytest.fail(f"a tmpfs cannot be mounted: {done.stderr}")
        pytest.skip(f"a small disk needs root and mount namespaces: {done.stderr.strip()}")
    return wrapper


def keygen(path: Path, kind: str = "ed25519", passphrase: str = "") -> Path:
    """A new key pair at `path` and `path`.pub."""
    path.parent.mkdir(parents=True, exist_ok=True)
    command = ["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", path.name, "-f", str(path)]
    subprocess.run(command, check=True, capture_output=True)
    return path


def free_port() -> int:
    """A TCP port that nothing listens on just now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


@frozen
class Sshd:
    """A running server: where it is, its host key, the key that it lets in, its process."""

    port: int
    folder: Path
    host_key: PublicKey
    identity: Path
    pid: int

    @property
    def address(self) -> str:
        """As a user types it."""
        return f"{getpass.getuser()}@{HOST}:{self.port}"

    @property
    def known_hosts(self) -> Path:
        """A file that holds the host key."""
        path = self.folder / "known_hosts"
        path.write_text(f"{lookup_name(HOST, self.port)} {self.host_key}\n")
        return path

    def settings(self, **changes: object) -> SshSettings:
        """Settings that let in, unless changed."""
        given = {
            "address": SshAddress(HOST, getpass.getuser(), self.port),
            "name": self.address,
            "identity": self.identity,
            "known_hosts": self.known_hosts,
            "config": self.folder / "no-config",
            **changes,
        }
        return SshSettings(**given)  # type: ignore[arg-type] # what tests change is what they mean

    def log(self) -> str:
        """What the server wrote."""
        return (self.folder / "sshd.log").read_text()


@contextmanager
def sshd(folder: Path, more: str = "", env: str = "", wrapper: Sequence[str] = ()) -> Iterator[Sshd]:
    """Run a server with `more` lines of configuration, its sessions with `env`, until the context ends.

    `wrapper` is a command that becomes the one it is followed by.
    """
    program = require_sshd()
    folder.mkdir(parents=True, exist_ok=True)
    host_key = keygen(folder / "host_ed25519")
    identity = keygen(folder / "user_ed25519")
    shutil.copy(identity.with_suffix(".pub"), folder / "authorized_keys")
    port = free_port()
    config = folder / "sshd_config"
    config.write_text(
        CONFIG.format(
            port=port,
            host_key=host_key,
            env=env,
            authorized=folder / "authorized_keys",
            pythonpath=ROOT,
            more=more,
        )
    )
    with (folder / "sshd.log").open("wb") as log:
        process = subprocess.Popen(
            [*wrapper, program, "-D", "-e", "-f", config], stdin=subprocess.DEVNULL, stderr=log
        )
    try:
        _await(port, process)
        public = host_key.with_name(host_key.name + ".pub").read_text()
        yield Sshd(port, folder, parse_key(public, str(host_key)), identity, process.pid)
    finally:
        process.terminate()
        process.wait(10)


def _await(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection((HOST, port), 1):
            return
        if process.poll() is not None:
            raise RuntimeError(f"sshd ended with {process.returncode}")
        time.sleep(0.02)
    raise RuntimeError("sshd does not listen")


def bridge(state: Path) -> str:
    """The shell command that leads to the agent of a state folder, run by this interpreter."""
    return shlex.join([sys.executable, "-m", "device_agent", "connect", "--state-dir", str(state)])


@contextmanager
def serving(state: Path, arguments: Sequence[str] = ()) -> Iterator[subprocess.Popen[bytes]]:
    """Run an agent that stays until the context ends."""
    home.make_private(state)
    serve = [sys.executable, "-m", "device_agent", "serve", "--state-dir", str(state), *arguments]
    with (state.parent / f"{state.name}.log").open("ab") as log:
        process = subprocess.Popen(serve, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 20
        while not home.answers(home.socket_path(state)):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the agent does not answer")
            time.sleep(0.02)
        yield process
    finally:
        process.terminate()
        process.wait(20)


class CuttingRelay:
    """A TCP relay to a port of this machine that cuts connections once so many bytes went up in all.

    Args:
        port: where it leads.
        cuts: after how many bytes upward, counted over all connections, each cut comes.
    """

    def __init__(self, port: int, cuts: Sequence[int] = ()) -> None:
        self._to = port
        self._cuts = sorted(cuts)
        self._lock = threading.Lock()
        self.sent = 0
        self.received = 0
        self.done = 0
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Stop listening and cut what is open."""
        self._listener.close()
        self.cut()

    def cut(self) -> None:
        """Cut every connection."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for end in pair:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
                end.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection((HOST, self._to))
            with self._lock:
                self._pairs.append((near, far))
            threading.Thread(target=self._copy, args=(near, far, True), daemon=True).start()
            threading.Thread(target=self._copy, args=(far, near, False), daemon=True).start()

    def _copy(self, source: socket.socket, sink: socket.socket, upward: bool) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                sink.sendall(data)
                if upward and self._count(len(data)):
                    self.cut()
                    return
                if not upward:
                    self.received += len(data)
            sink.shutdown(socket.SHUT_WR)

    def _count(self, count: int) -> bool:
        with self._lock:
            self.sent += count
            if self._cuts and self.sent >= self._cuts[0]:
                self._cuts.pop(0)
                self.done += 1
                return True
        return False
