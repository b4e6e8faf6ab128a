"""This machine as a `Remote`: so an agent can be installed here as on any device."""

from __future__ import annotations

import errno
import os
import shlex
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from device_agent.errors import AgentUnreachable, DeviceError, DiskFull
from edge_sdk.devices.remote import Completed

COPY_BYTES = 1 << 20
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
# these would lead away from the home that was given, or change which Python answers
_OURS = ("EDGE_AGENT_STATE", "EDGE_AGENT_RELEASE", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
_XDG = ("XDG_STATE_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME")


class LocalRemote:
    """Runs commands on this machine in a home folder; see `Remote`.

    Args:
        home: HOME for every command, and what relative destinations are relative to.
    """

    address = "local"
    login_key: str | None = None

    def __init__(self, home: Path | None = None) -> None:
        own = Path.home()
        self.home = (home or own).absolute()
        dropped = _OURS if self.home == own else (*_OURS, *_XDG)
        kept: Mapping[str, str] = os.environ
        self._environment = {key: value for key, value in kept.items() if key not in dropped}
        self._environment["HOME"] = str(self.home)

    def run(self, command: Sequence[str], *, stdin: bytes = b"", timeout_s: float = 60.0) -> Completed:
        """Run a command through this machine's shell and wait for it.

        Raises:
            AgentUnreachable: there is no shell, or the command did not end in time.
        """
        try:
            done = subprocess.run(
                ["sh", "-c", "exec " + shlex.join(command)],  # noqa: S607 - the shell that PATH names, as over SSH
                input=stdin,
                capture_output=True,
                timeout=timeout_s,
                cwd=self.home,
                env=self._environment,
                check=False,
            )
        except subprocess.TimeoutExpired as e:
            raise AgentUnreachable(
                "a command did not end in time",
                where=self.address,
                got=shlex.join(command)[:200],
                expected=f"at most {timeout_s:g} s",
            ) from e
        except OSError as e:
            raise AgentUnreachable("cannot run commands here", where=self.address, got=str(e)) from e
        return Completed(done.returncode, done.stdout, done.stderr)

    def put(self, source: Path, destination: str, *, mode: int, progress: Callable[[int, int], None]) -> None:
        """Copy a file whole and synced, or not at all."""
        target = self.home / destination
        part = target.with_name(f".{target.name}.part")
        try:
            total = source.stat().st_size
            with source.open("rb") as read, part.open("wb") as write:
                done = 0
                while chunk := read.read(COPY_BYTES):
                    write.write(chunk)
                    done += len(chunk)
                    progress(done, total)
                write.flush()
                part.chmod(mode)
                os.fsync(write.fileno())
            part.replace(target)
            _sync(target.parent)
        except OSError as e:
            part.unlink(missing_ok=True)
            if e.errno in _FULL:
                raise DiskFull("no room for a file", where=str(target), got=str(e)) from e
            raise DeviceError("cannot copy a file", where=str(target), got=str(e)) from e

    def close(self) -> None:
        """Nothing is held."""


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
