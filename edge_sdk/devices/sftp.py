"""Copy a file to a device over SFTP: whole and on its medium, or not at all."""

from __future__ import annotations

import os
import posixpath
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from device_agent.errors import AgentUnreachable, DeviceError, DiskFull, FileMissing
from edge_sdk.devices.remote import Remote
from edge_sdk.devices.ssh_errors import mapped, words

if TYPE_CHECKING:
    import paramiko

PIECE_BYTES = 1 << 18
DF_BLOCK_BYTES = 1024  # of `df -Pk`


def put(
    remote: Remote,
    transport: paramiko.Transport,
    source: Path,
    destination: str,
    *,
    mode: int,
    progress: Callable[[int, int], None],
) -> None:
    """Copy a file to a device; see `Remote.put`.

    It is written beside its destination, synced, renamed over it, and the folder synced.

    Args:
        remote: runs `sync` and `df` there.
        transport: of the same device, authenticated.
        source: the file here.
        destination: a path there; its folder exists.
        mode: the permissions it gets.
        progress: called as `progress(bytes done, bytes total)`.
    """
    import paramiko

    try:
        size = source.stat().st_size
    except OSError as e:
        raise FileMissing("no such file", where=str(source)) from e
    partial = f"{destination}.{secrets.token_hex(4)}.part"
    with mapped(remote.address):
        client = paramiko.SFTPClient.from_transport(transport)
        if client is None:  # cannot be: paramiko answers None only for a channel that did not open
            raise AgentUnreachable("the device has no SFTP server", where=remote.address)
        with client:
            try:
                _write(client, source, partial, mode, lambda done: progress(done, size))
                _sync(remote, partial)
                client.posix_rename(partial, destination)
            except BaseException as e:
                with suppress(OSError, EOFError, paramiko.SSHException):  # the connection itself may be gone
                    client.remove(partial)
                if isinstance(e, OSError) and not isinstance(e, DeviceError) and transport.is_active():
                    raise _failed(remote, e, destination, size) from e
                raise
    _sync(remote, posixpath.dirname(destination) or ".")


def _write(
    client: paramiko.SFTPClient, source: Path, partial: str, mode: int, progress: Callable[[int], None]
) -> None:
    done = 0
    progress(0)
    with source.open("rb") as here, client.open(partial, "wx") as there:
        there.chmod(mode)
        there.set_pipelined(True)
        while piece := here.read(PIECE_BYTES):
            there.write(piece)
            done += len(piece)
            progress(done)
    if client.stat(partial).st_size != done:  # answers to pipelined writes are read at the end only
        raise OSError("the file arrived with another size")


def _sync(remote: Remote, path: str) -> None:
    """Bring a file or folder to the device's medium; all of it where `sync` takes no path (BusyBox)."""
    if remote.run(["sync", "--", path]).status and (done := remote.run(["sync"])).status:
        raise DeviceError(
            "a file could not be synced",
            where=f"{remote.address}:{path}",
            got=done.stderr.decode(errors="replace").strip()[-200:] or f"status {done.status}",
        )


def _failed(remote: Remote, error: OSError, destination: str, size: int) -> DeviceError:
    """What a failed copy was. SFTP says only "Failure" for a full disk, so the device is asked."""
    folder = posixpath.dirname(destination) or "."
    where = f"{remote.address}:{destination}"
    free = _free_bytes(remote, folder)
    if error.errno is None and free is not None and free < size:
        return DiskFull(
            "no room on the device",
            where=where,
            got=f"{free} bytes free",
            expected=f"{size} bytes",
            next_step="Free some space there; nothing of the file was left behind.",
        )
    return DeviceError(
        "the file cannot be copied",
        where=where,
        got=words(error) or os.strerror(error.errno or 0),
        next_step=f"Check that the folder {folder} is there and that this user may write to it.",
    )


def _free_bytes(remote: Remote, folder: str) -> int | None:
    """What this user can still write to a folder's file system; None where the device does not say."""
    done = remote.run(["df", "-Pk", "--", folder])
    fields = done.stdout.decode(errors="replace").splitlines()[-1:]
    columns = fields[0].split() if fields and not done.status else []
    return int(columns[3]) * DF_BLOCK_BYTES if len(columns) > 3 and columns[3].isdecimal() else None
