"""Where the agent lives: its state folder, its Unix socket, and the lock that keeps it alone.

    <state>/lock  agent.sock  state.0  state.1  ballast  blobs/sha256/<hex>  uploads/<id>/
            models/<name>/current -> gens/<N>  models/<name>/gens/<N>/

All of it is mode 0700: whoever may write here decides what runs.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from device_agent import durable
from device_agent.errors import DeviceError

if TYPE_CHECKING:  # the bridge, which each SSH session starts, needs none of it
    from device_agent.ballast import Ballast

MAX_SOCKET_PATH_BYTES = 107  # sizeof(sockaddr_un.sun_path) less its final NUL, unix(7)
BACKLOG = 128
LOCK_WAIT_S = 5.0  # an agent that is ending holds the lock a moment longer than its socket


def default_state_dir() -> Path:
    """The user's state folder: EDGE_AGENT_STATE, or edge-agent under XDG_STATE_HOME (~/.local/state)."""
    chosen = os.environ.get("EDGE_AGENT_STATE")
    if chosen:
        return Path(chosen).absolute()
    # the XDG specification says that a relative path is to be ignored
    base = Path(os.environ.get("XDG_STATE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".local/state") / "edge-agent"


def socket_path(state_dir: Path) -> Path:
    """Where the agent of `state_dir` listens; a short path elsewhere if that one is too long for a socket.

    Host and agent must both arrive at it, so it depends on nothing but the folder, the user and
    XDG_RUNTIME_DIR.

    Raises:
        DeviceError: the folder of the short path belongs to someone else or is open to others.
    """
    path = state_dir.absolute() / "agent.sock"
    if len(os.fsencode(path)) <= MAX_SOCKET_PATH_BYTES:
        return path
    runtime_dir = os.environ.get("XDG_RUNTIME_DIR", "")
    name = hashlib.sha256(os.fsencode(state_dir.absolute())).hexdigest()[:16] + ".sock"
    short = Path(runtime_dir) / "edge-agent" / name
    if not Path(runtime_dir).is_absolute() or len(os.fsencode(short)) > MAX_SOCKET_PATH_BYTES:
        import tempfile  # it takes a tenth of the bridge's start, and is seldom needed

        short = Path(tempfile.gettempdir()) / f"edge-agent-{os.getuid()}" / name
        if len(os.fsencode(short)) > MAX_SOCKET_PATH_BYTES:
            short = Path("/tmp") / f"edge-agent-{os.getuid()}" / name  # noqa: S108 - made 0700 and checked below
    make_private(short.parent)
    return short


def make_private(folder: Path) -> None:
    """Make a folder that only this user may enter, or check that it is one.

    Raises:
        DeviceError: it cannot be made, is a link, belongs to someone else, or is open to others.
    """
    with durable.mapped("cannot make the agent's folder", folder):
        missing = [path for path in (folder, *folder.parents) if not path.exists()]
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700, parents=True)
        found = folder.lstat()
    for made in reversed(missing):
        durable.sync_folder(made.parent)
    ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077
    if not ours:
        raise DeviceError(
            "the agent's folder is not private",
            where=str(folder),
            got=f"{stat.filemode(found.st_mode)} of user {found.st_uid}",
            expected=f"drwx------ of user {os.getuid()}",
            next_step=f"Remove it, or `chmod 700 {folder}` if it is yours.",
        )


@contextmanager
def alone(state_dir: Path, listening: Path) -> Iterator[None]:
    """Hold the lock of a state folder; the kernel gives it up when the process ends, however it ends.

    Args:
        state_dir: the folder, which exists.
        listening: the agent's socket: while something answers there, waiting for the lock is in vain.

    Raises:
        DeviceError: another agent has it.
    """
    with durable.mapped("cannot open the agent's lock", state_dir):
        descriptor = os.open(state_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + LOCK_WAIT_S
        while not _locked(descriptor):
            if answers(listening) or time.monotonic() > deadline:
                raise DeviceError(
                    "another agent is running with this state folder",
                    where=str(state_dir),
                    next_step="Use that one, or end it with `edge agent stop`.",
                )
            time.sleep(0.02)
        yield
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def answers(path: Path) -> bool:
    """Whether something accepts connections on a Unix socket; a stale socket file does not."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(os.fsencode(path))
        except OSError:
            return False
    return True


@contextmanager
def listener(path: Path, ballast: Ballast, group: int | None = None) -> Iterator[socket.socket]:
    """A listening Unix socket that only this user, and a group's members, may open.

    Its file goes when the context ends.

    The caller holds the lock, so a file that is already there is what a killed agent left behind.

    Args:
        path: of the socket.
        ballast: given up if the disk has no room for the socket.
        group: whose members may connect too.

    Raises:
        DeviceError: the socket cannot be made.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        ballast.relieve(lambda: _listen(sock, path, group))
        try:
            yield sock
        finally:
            path.unlink(missing_ok=True)
    finally:
        sock.close()


def _listen(sock: socket.socket, path: Path, group: int | None) -> None:
    with durable.mapped("cannot listen on the agent's socket", path):
        path.unlink(missing_ok=True)
        previous = os.umask(0o177)  # the file must never exist with a wider mode, not even for a moment
        try:
            sock.bind(os.fsencode(path))
        finally:
            os.umask(previous)
        if group is not None:
            os.chown(path, -1, group)
            path.chmod(0o660)
        sock.listen(BACKLOG)
