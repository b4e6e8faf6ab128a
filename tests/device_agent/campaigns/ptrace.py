"""Another process's changing system calls under a folder, from outside: counted, listed, failed or its end.

A point is the entry or the exit of such a call: killed at its entry, a process has not done it; at its
exit it has, and has not learned of it. ptrace(2); the calls of all threads are counted together, so a
point means the same in every run, which strace's own counters (one for each thread) do not give.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
import signal
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from attrs import define, frozen

_SYSCALL, _POKEUSER, _SEIZE, _INTERRUPT, _LISTEN, _INFO = 24, 6, 0x4206, 0x4207, 0x4208, 0x420E
_OPTIONS = 1 | 8 | 0x100000  # TRACESYSGOOD, TRACECLONE, EXITKILL
_EVENT_STOP = 128
_WALL = 0x40000000
_ENTRY, _EXIT = 1, 2
_ORIG_RAX, _RAX = 15 * 8, 10 * 8  # user_regs_struct of x86-64

# name -> (kind, index of the folder's descriptor or None, index of the path or descriptor)
_SHAPES: dict[str, tuple[str, int | None, int]] = {
    "write": ("fd", None, 0),
    "writev": ("fd", None, 0),
    "pwrite64": ("fd", None, 0),
    "fsync": ("fd", None, 0),
    "fdatasync": ("fd", None, 0),
    "ftruncate": ("fd", None, 0),
    "fallocate": ("fd", None, 0),
    "fchmod": ("fd", None, 0),
    "sync": ("all", None, 0),
    "open": ("open", None, 0),
    "openat": ("open", 0, 1),
    "truncate": ("path", None, 0),
    "mkdir": ("path", None, 0),
    "rmdir": ("path", None, 0),
    "unlink": ("path", None, 0),
    "chmod": ("path", None, 0),
    "mkdirat": ("path", 0, 1),
    "unlinkat": ("path", 0, 1),
    "fchmodat": ("path", 0, 1),
    "rename": ("path", None, 1),
    "link": ("path", None, 1),
    "symlink": ("path", None, 1),
    "renameat": ("path", 2, 3),
    "renameat2": ("path", 2, 3),
    "linkat": ("path", 2, 3),
    "symlinkat": ("path", 1, 2),
}
_X86_64 = (
    "write=1 open=2 pwrite64=18 writev=20 fsync=74 fdatasync=75 truncate=76 ftruncate=77 rename=82 mkdir=83 "
    "rmdir=84 link=86 unlink=87 symlink=88 chmod=90 fchmod=91 sync=162 openat=257 mkdirat=258 unlinkat=263 "
    "renameat=264 linkat=265 symlinkat=266 fchmodat=268 fallocate=285 renameat2=316"
)
_AARCH64 = (
    "mkdirat=34 unlinkat=35 symlinkat=36 linkat=37 renameat=38 truncate=45 ftruncate=46 fallocate=47 "
    "fchmod=52 fchmodat=53 openat=56 write=64 writev=66 pwrite64=68 sync=81 fsync=82 fdatasync=83 "
    "renameat2=276"
)
_TABLE = {"x86_64": _X86_64, "aarch64": _AARCH64}.get(platform.machine(), "")
_CALLS = {int(number): name for name, _, number in (entry.partition("=") for entry in _TABLE.split())}
_AT_FDCWD = -100

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.restype = ctypes.c_long
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


@frozen
class Call:
    """A changing call: its name, and the path that it changes, relative to the folder."""

    name: str
    path: str


# what the tracer shares with whoever started it
_COUNT, _KILL_AT, _FAIL_AT, _ERRNO, _HIT = range(5)


@define
class Tracer:
    """A tracer at work; made by `tracing`."""

    _shared: mmap.mmap
    _log: Path

    def arm(self, *, kill_at: int = 0, fail_at: int = 0, errno: int = 0) -> None:
        """Count from the beginning again, and end the process at a point or fail a call (numbered from 1)."""
        for index, value in ((_COUNT, 0), (_HIT, 0), (_ERRNO, errno), (_FAIL_AT, fail_at)):
            self._put(index, value)
        self._put(_KILL_AT, kill_at)

    @property
    def points(self) -> int:
        """How many points there were since `arm`."""
        return self._get(_COUNT)

    @property
    def hit(self) -> bool:
        """Whether what `arm` asked for has happened."""
        return bool(self._get(_HIT))

    def calls(self) -> list[Call]:
        """The calls so far."""
        return [Call(*line.split("\t")) for line in self._log.read_text().splitlines()]

    def _get(self, index: int) -> int:
        return int(struct.unpack_from("<q", self._shared, index * 8)[0])

    def _put(self, index: int, value: int) -> None:
        struct.pack_into("<q", self._shared, index * 8, value)


def unavailable() -> str | None:
    """Why no process can be traced here; None where one can."""
    if not _CALLS:
        return f"no table of system calls for {platform.machine()}"
    child = os.fork()
    if child == 0:
        signal.pause()
        os._exit(0)
    try:
        tracer = os.fork()
        if tracer == 0:
            os._exit(0 if _libc.ptrace(_SEIZE, child, None, 0) == 0 else 1)
        _, status = os.waitpid(tracer, 0)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return None if status == 0 else "ptrace is not permitted"


@contextmanager
def tracing(pid: int, folder: Path, log: Path) -> Iterator[Tracer]:
    """Trace a process and its threads (not its children) for as long as it lives; it ends with the context.

    Args:
        pid: of the process, which has been started by this one.
        folder: changing calls under it are points.
        log: the calls are written there.
    """
    tracer = Tracer(mmap.mmap(-1, 4096), log)
    log.write_text("")
    ready, tell = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(ready)
            _trace(pid, str(folder), tracer, tell)
            status = 0
        finally:
            os._exit(status)  # nothing of the parent's runs here, tests least of all
    os.close(tell)
    try:
        attached = os.read(ready, 1)
        if attached != b"+":
            raise OSError(f"process {pid} cannot be traced")
        yield tracer
    finally:
        os.close(ready)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(child, 0)


def _ptrace(request: int, tid: int, address: int | None = None, data: object = None) -> int:
    result = int(_libc.ptrace(request, tid, address, data))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def _trace(pid: int, folder: str, tracer: Tracer, tell: int) -> None:
    """The tracer's process: until the last thread has ended."""
    entered: dict[int, Call | None] = {}
    failing: dict[int, int] = {}
    for tid in [int(path.name) for path in Path(f"/proc/{pid}/task").iterdir()]:
        _ptrace(_SEIZE, tid, None, _OPTIONS)
        _ptrace(_INTERRUPT, tid)
        entered[tid] = None
    os.write(tell, b"+")
    with tracer._log.open("a", buffering=1) as log:
        while True:
            try:
                tid, status = os.waitpid(-1, _WALL)
            except ChildProcessError:
                return
            if not os.WIFSTOPPED(status):
                continue
            with suppress(ProcessLookupError):  # it was killed in the meantime
                sign, event = os.WSTOPSIG(status), status >> 16
                if sign == signal.SIGTRAP | 0x80:
                    _at_call(pid, tid, folder, tracer, entered, failing, log)
                    _ptrace(_SYSCALL, tid, None, 0)
                elif event == _EVENT_STOP and sign != signal.SIGTRAP:
                    _ptrace(_LISTEN, tid)
                else:
                    _ptrace(_SYSCALL, tid, None, 0 if event else sign)


def _at_call(pid, tid, folder, tracer, entered, failing, log) -> None:  # type: ignore[no-untyped-def]
    info = ctypes.create_string_buffer(88)
    _ptrace(_INFO, tid, len(info), ctypes.addressof(info))
    kind = info.raw[0]
    if kind == _ENTRY:
        number, *arguments = struct.unpack_from("<7Q", info.raw, 24)
        entered[tid] = call = _call(pid, _CALLS.get(number), arguments, folder)
        if call is None:
            return
        _point(pid, tracer)
        log.write(f"{call.name}\t{call.path}\n")
        if tracer._get(_FAIL_AT) and (tracer.points + 1) // 2 == tracer._get(_FAIL_AT):
            failing[tid] = tracer._get(_ERRNO)
            _ptrace(_POKEUSER, tid, _ORIG_RAX, ctypes.c_void_p(-1))
            tracer._put(_HIT, 1)
    elif kind == _EXIT and entered.get(tid) is not None:
        entered[tid] = None
        if tid in failing:
            _ptrace(_POKEUSER, tid, _RAX, ctypes.c_void_p(-failing.pop(tid)))
        _point(pid, tracer)


def _point(pid: int, tracer: Tracer) -> None:
    tracer._put(_COUNT, tracer.points + 1)
    if tracer.points == tracer._get(_KILL_AT):
        tracer._put(_HIT, 1)
        os.kill(pid, signal.SIGKILL)


def _call(pid: int, name: str | None, arguments: list[int], folder: str) -> Call | None:
    """The call, where it changes something under the folder."""
    if name is None:
        return None
    kind, at, index = _SHAPES[name]
    if kind == "all":
        return Call(name, "")
    if kind == "open" and not arguments[index + 1] & os.O_CREAT:
        return None
    try:
        if kind == "fd":
            path = str(Path(f"/proc/{pid}/fd/{arguments[index]}").readlink())
        else:
            base = _AT_FDCWD if at is None else ctypes.c_int(arguments[at] & 0xFFFFFFFF).value
            where = f"/proc/{pid}/cwd" if base == _AT_FDCWD else f"/proc/{pid}/fd/{base}"
            text = _string(pid, arguments[index])
            path = text if text.startswith("/") else os.path.normpath(Path(where).readlink() / text)
    except OSError:
        return None
    if path != folder and not path.startswith(folder + "/"):
        return None
    return Call(name, path[len(folder) + 1 :] or ".")


def _string(pid: int, address: int) -> str:
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        memory.seek(address)
        found = b""
        while b"\0" not in found and len(found) < 4096:
            found += memory.read(256)
    return os.fsdecode(found.split(b"\0")[0])
