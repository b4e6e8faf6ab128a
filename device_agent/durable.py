"""Writes that are on the medium when they return, and the mapping of the operating system's errors.

Every change to the state folder goes through these functions, so that the order of the writes and each
fsync can be read (and attacked by tests) in one place. fsync(2): a new name is durable only when the
folder that holds it has been synced as well.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from device_agent.errors import DeviceError, DiskFull, EdgeError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_READ_BYTES = 1 << 20


@contextmanager
def mapped(what: str, where: Path) -> Iterator[None]:
    """Errors of the operating system as ours: DiskFull where there is no room, DeviceError otherwise."""
    try:
        yield
    except EdgeError:
        raise
    except OSError as e:
        if e.errno in _FULL:
            raise DiskFull(
                f"the device has no room: {what}",
                where=str(where),
                got=os.strerror(e.errno or 0),
                next_step="Free space on the device or remove a model; what was active stays active.",
            ) from e
        raise DeviceError(what, where=str(where), got=str(e)) from e


def make_folder(folder: Path) -> None:
    """Make a folder in one that exists, durably, also where an agent died right after making it."""
    with mapped("cannot make a folder", folder):
        with suppress(FileExistsError):
            os.mkdir(folder, 0o700)  # noqa: PTH102 - every changing call here is of `os`, so that tests can cut it
        sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Make names that were added to or removed from a folder durable."""
    with mapped("cannot sync a folder", folder):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def preallocate(descriptor: int, size: int) -> None:
    """Reserve `size` bytes of disk for an open file, so that a full disk shows before the first write."""
    if size:
        try:
            os.posix_fallocate(descriptor, 0, size)
        except OSError as e:
            if e.errno not in {errno.EOPNOTSUPP, errno.EINVAL}:  # a file system that cannot; writes will tell
                raise


def write_at(descriptor: int, data: bytes | bytearray | memoryview, offset: int) -> None:
    """Write all of `data` at `offset`."""
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written


def write_file(path: Path, data: bytes) -> None:
    """Make a file with this content, or leave what was there: never half of it.

    Raises:
        DiskFull: no room. DeviceError: the medium did not keep what was written, or another failure.
    """
    temporary = path.with_name(path.name + ".tmp")
    with mapped("cannot write a file", path):
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            preallocate(descriptor, len(data))
            write_at(descriptor, data, 0)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if hash_file(temporary) != hashlib.sha256(data).hexdigest():
            raise DeviceError("the medium did not keep what was written", where=str(path))
        move(temporary, path)


def make_scratch(path: Path) -> None:
    """Make a file, if it is missing, whose content may be lost at any time.

    Whoever is given a descriptor of it may open it anew: a sandbox has no other way, and a user of its own.
    """
    with mapped("cannot make a file", path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            os.fchmod(descriptor, 0o666)  # the folders above are private
        finally:
            os.close(descriptor)


def move(source: Path, destination: Path) -> None:
    """Rename, replacing what is there, durably in the destination's folder."""
    with mapped("cannot rename a file", destination):
        os.rename(source, destination)  # noqa: PTH104 - as above
        sync_folder(destination.parent)


def point(link: Path, target: str) -> None:
    """Make `link` a symbolic link to `target` in one step: a reader sees the old one or the new one."""
    temporary = link.with_name(link.name + ".tmp")
    with mapped("cannot set a link", link):
        with suppress(FileNotFoundError):
            os.unlink(temporary)  # noqa: PTH108 - as above
        os.symlink(target, temporary)  # noqa: PTH211 - as above
        move(temporary, link)


def link_file(source: Path, destination: Path) -> None:
    """A second name for a file; the caller syncs the folder once it has given all of them."""
    with mapped("cannot link a file", destination), suppress(FileExistsError):
        os.link(source, destination)


def remove(path: Path) -> None:
    """Remove a file or link if it is there; the caller syncs the folder where the order matters."""
    with mapped("cannot remove a file", path), suppress(FileNotFoundError):
        os.unlink(path)  # noqa: PTH108 - as above


def remove_tree(folder: Path) -> None:
    """Remove a folder and what is in it, links not followed; nothing happens where it is not there."""
    with mapped("cannot remove a folder", folder), suppress(FileNotFoundError):
        with os.scandir(folder) as entries:
            for entry in list(entries):
                if entry.is_dir(follow_symlinks=False):
                    remove_tree(Path(entry.path))
                else:
                    remove(Path(entry.path))
        os.rmdir(folder)  # noqa: PTH106 - as above


def hash_file(path: Path) -> str:
    """The sha256 (hex) of a file as the medium holds it."""
    return hashed(path, None).hexdigest()


def hashed(path: Path, size: int | None) -> hashlib._Hash:
    """The sha256 so far of a file's first `size` bytes, of all if None, as the medium holds them.

    The file's pages are dropped from the cache first.
    """
    digest = hashlib.sha256()
    left = size
    with mapped("cannot read a file", path):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            while chunk := os.read(descriptor, _READ_BYTES if left is None else min(left, _READ_BYTES)):
                digest.update(chunk)
                left = None if left is None else left - len(chunk)
        finally:
            os.close(descriptor)
    return digest
