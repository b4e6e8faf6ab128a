"""Room kept for the moment when there is none, so that a full disk can still roll back.

    <state>/ballast    BALLAST_BYTES, preallocated, holds nothing

Going back needs a link, a commit needs a record: a few blocks and one inode that a full disk may not
have. Then the ballast is given up and the step done once more. It is made again when the agent starts
and after an operation, where there is room; an agent that is idle writes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from device_agent import durable, log
from device_agent.errors import DiskFull, EdgeError

T = TypeVar("T")
BALLAST_BYTES = 1 << 20  # a link and a record take a few blocks, also where a file system copies on write
_ROOM_LEFT = 2  # it is made only where as much stays free as it takes


class Ballast:
    """The ballast of a state folder; safe for use from several threads."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / "ballast"

    def relieve(self, work: Callable[[], T]) -> T:
        """Do `work`, and once more without the ballast if the disk was full; it must stand to be repeated.

        Raises:
            DiskFull: there is no room even so.
        """
        try:
            return work()
        except DiskFull as e:
            if not isinstance(e.__cause__, OSError):  # a limit of ours: no room on the disk would help
                raise
            log.event("the ballast is given up", reason=str(e))
            durable.remove(self._path)
            return work()

    def restore(self) -> None:
        """Make it, if it is not there and there is room; that it cannot be made harms nothing now."""
        try:
            with durable.mapped("cannot keep a ballast", self._path):
                self._restore()
        except EdgeError as e:
            log.event("no ballast", reason=str(e))

    def _restore(self) -> None:
        if self._path.exists() and self._path.stat().st_size >= BALLAST_BYTES:
            return
        durable.remove(self._path)
        disk = os.statvfs(self._path.parent)
        if disk.f_bavail * disk.f_frsize < _ROOM_LEFT * BALLAST_BYTES:
            return
        # not synced: one that a power cut takes away is made again at the next start
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            durable.preallocate(descriptor, BALLAST_BYTES)
        except OSError:
            durable.remove(self._path)  # a part of it would only take room
            raise
        finally:
            os.close(descriptor)
