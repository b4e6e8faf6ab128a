"""What a process gives up before it meets a model: by limits, by privileges, by namespaces.

Everything here is about the calling process and lasts until its end. Namespaces need no rights where the
kernel lets users make them; `separate` says what it could not do.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import struct
from collections.abc import Sequence

from device_agent.limits import Limits

# prctl(2), unshare(2), mount(2), mount_setattr(2), capabilities(7)
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS, _PR_SET_THP_DISABLE = 1, 36, 38, 41
_CLONE_NEW = {
    "NS": 0x00020000,
    "UTS": 0x04000000,
    "IPC": 0x08000000,
    "USER": 0x10000000,
    "PID": 0x20000000,
    "NET": 0x40000000,
}
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_REC, _MS_PRIVATE = 2, 4, 8, 0x4000, 0x40000
_SYS_MOUNT_SETATTR, _AT_FDCWD, _AT_RECURSIVE, _MOUNT_ATTR_RDONLY = 442, -100, 0x8000, 1
_CAPABILITY_VERSION_3 = 0x20080522

MOST_FILES = 64  # that a keeper has open, and then some
NO_NAMESPACES = ("no own network", "no own process tree", "files writable")


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def die_with_parent() -> None:
    """End with the parent, however that ends."""
    _libc().prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent ends, so that none gets away."""
    _libc().prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def separate(hide: Sequence[str]) -> tuple[bool, tuple[str, ...]]:
    """Enter namespaces of our own: no network, files read only, no process but those made from now on.

    Where that works, the caller goes on in a child that is the first process there: all others end with
    it. The parent only waits for it and never returns from here.

    Args:
        hide: folders that shall be seen empty.

    Returns:
        Whether there are namespaces, and what is not enforced.
    """
    libc = _libc()
    if libc.unshare(sum(_CLONE_NEW.values())):
        return False, NO_NAMESPACES
    child = os.fork()
    if child:
        os.closerange(
            0, MOST_FILES
        )  # the agent waits for the end of these, and this process is the last to go
        _, status = os.waitpid(child, 0)
        os._exit(min(abs(os.waitstatus_to_exitcode(status)), 255))
    die_with_parent()
    libc.mount(None, b"/", None, _MS_REC | _MS_PRIVATE, None)
    gaps = []
    covered = _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
    seen = [libc.mount(b"none", os.fsencode(path), b"tmpfs", covered, b"size=4k") for path in hide]
    if any(seen):
        gaps.append("the agent's folder visible")
    attributes = struct.pack("QQQQ", _MOUNT_ATTR_RDONLY, 0, 0, 0)
    root = (_AT_FDCWD, b"/", _AT_RECURSIVE, attributes, len(attributes))
    if libc.syscall(_SYS_MOUNT_SETATTR, *root):  # Linux 5.12
        gaps.append("files writable")
    return True, tuple(gaps)


def give_up(limits: Limits, *, memory: bool) -> None:
    """Give up privileges and what the limits deny: the last step before anything of a model is touched.

    Args:
        limits: of a worker.
        memory: whether the data segment is limited too: where no control group does it. The address space
            is not: C++ runtimes reserve far more than they use.
    """
    libc = _libc()
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_NOFILE, limits.worker_open_files)
    _limit(resource.RLIMIT_FSIZE, limits.worker_file_bytes)
    if memory:
        _limit(resource.RLIMIT_DATA, limits.worker_memory_bytes)
    # all capabilities, also those over namespaces of our own, which could be undone with them
    libc.capset(struct.pack("Ii", _CAPABILITY_VERSION_3, 0), bytes(24))
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    libc.prctl(_PR_SET_THP_DISABLE, 0, 0, 0, 0)  # the agent does without huge pages, a model need not


def limit_tasks(limits: Limits) -> None:
    """Limit processes and threads; they are counted by user, in namespaces by user and namespace."""
    _limit(resource.RLIMIT_NPROC, limits.worker_tasks)


def _limit(kind: int, value: int) -> None:
    _, most = resource.getrlimit(kind)
    value = value if most == resource.RLIM_INFINITY else min(value, most)
    resource.setrlimit(kind, (value, value))
