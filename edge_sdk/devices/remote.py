"""What installing an agent needs of a device: run commands on it, and copy files to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from attrs import frozen


@frozen
class Completed:
    """How a command on the device ended: its exit status and what it printed."""

    status: int
    stdout: bytes
    stderr: bytes


class Remote(Protocol):
    """A device that commands can be run on, before any agent is there. `address` names it in messages.

    Every argument is quoted for the device's shell by the implementation. Errors of the way there are
    AgentUnreachable; a command that fails is a status, not an error.
    """

    address: str
    login_key: str | None  # the public key that the device let in, `TYPE BASE64`; None where there is none

    def run(self, command: Sequence[str], *, stdin: bytes = b"", timeout_s: float = 60.0) -> Completed:
        """Run a command and wait for it."""
        ...

    def put(self, source: Path, destination: str, *, mode: int, progress: Callable[[int, int], None]) -> None:
        """Copy a file there whole and synced to its medium, or not at all.

        Args:
            source: the file here.
            destination: an absolute path, or one relative to the user's home; its folder exists.
            mode: the permissions it gets.
            progress: called as `progress(bytes done, bytes total)`.

        Raises:
            DiskFull: no room; nothing is left behind.
        """
        ...

    def close(self) -> None:
        """End the connection. May be called twice."""
        ...
