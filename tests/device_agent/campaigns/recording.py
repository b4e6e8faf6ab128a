"""What a process does to a folder, as a list: every changing call with its data and where it was made."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import field, frozen

_PACKAGE = str(Path(__file__).parents[3] / "device_agent") + os.sep


@frozen
class Op:
    """A changing call that succeeded; paths are relative to the folder."""

    name: str
    path: str
    other: str = ""  # a rename's or link's new name, a symbolic link's content
    data: bytes = field(default=b"", repr=False)
    offset: int = 0  # of a write; the size for `size`
    site: str = ""  # of an fsync or sync: the functions that led to it, the innermost first


class Recording:
    """Operations in their order, and marks between them that say what has been promised by then."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ops: list[Op] = []
        self.marks: list[tuple[int, object]] = []  # (how many operations came before, what)
        self._lock = threading.Lock()
        self._seen: set[int] = set()

    def mark(self, what: object) -> None:
        """Note what holds from here on."""
        self.marks.append((len(self.ops), what))

    def promised(self, count: int) -> list[object]:
        """The marks that were made before an operation beyond the first `count`."""
        return [what for at, what in self.marks if at <= count]

    def without(self, site: str) -> Recording:
        """As if the code had no fsync at a site."""
        mutant = Recording(self.folder)
        dropped = 0
        kept = [0]
        for op in self.ops:
            gone = op.site == site
            dropped += gone
            mutant.ops += [] if gone else [op]
            kept.append(len(mutant.ops))
        mutant.marks = [(kept[at], what) for at, what in self.marks]
        return mutant

    @property
    def sites(self) -> list[str]:
        """Where fsync and sync were called, each once."""
        return list(dict.fromkeys(op.site for op in self.ops if op.site))

    def add(self, op: Op) -> None:
        """Add an operation."""
        with self._lock:
            self.ops.append(op)

    def relative(self, path: Any) -> str | None:
        """A path or descriptor as a path in the folder; None where it is elsewhere."""
        text = str(Path(f"/proc/self/fd/{path}").readlink()) if isinstance(path, int) else os.fspath(path)
        root = str(self.folder)
        return text[len(root) + 1 :] if text.startswith(root + "/") or text == root else None

    def found(self) -> None:
        """Add what is in the folder and came there by calls that are not recorded (of `zipfile`, say)."""
        known = {op.path for op in self.ops} | {op.other for op in self.ops}
        for path in sorted(self.folder.rglob("*")):
            name = str(path.relative_to(self.folder))
            inode = path.lstat().st_ino  # a name may have changed since
            new = name not in known and inode not in self._seen and not path.is_symlink()
            self._seen.add(inode)
            if not new:
                continue
            if path.is_dir():
                self.add(Op("mkdir", name))
            else:
                self.add(Op("create", name))
                self.add(Op("write", name, data=path.read_bytes()))


@contextmanager
def recorded(folder: Path) -> Iterator[Recording]:
    """Record the changing calls of this process under a folder; `os` is as it was when the context ends."""
    recording = Recording(folder)
    real = {name: getattr(os, name) for name in (*_SHAPES, "open", "sync")}

    def wrap(name: str, shape: Callable[..., Op]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            path = recording.relative(
                arguments[-1] if name in {"rename", "link", "symlink"} else arguments[0]
            )
            result = real[name](*arguments, **options)
            if path is not None:
                recording.add(shape(recording, path, arguments, result))
            return result

        return call

    def open_(path: Any, flags: int, *rest: Any, **options: Any) -> Any:
        name = None if isinstance(path, int) else recording.relative(path)
        existed = Path(path).exists()
        descriptor = real["open"](path, flags, *rest, **options)
        if name is not None and flags & os.O_CREAT and not existed:
            recording.add(Op("create", name))
        elif name is not None and flags & os.O_TRUNC:
            recording.add(Op("size", name))
        return descriptor

    def sync() -> None:
        recording.found()
        recording.add(Op("sync", "", site=_site()))

    try:
        for name, shape in _SHAPES.items():
            setattr(os, name, wrap(name, shape))
        os.open, os.sync = open_, sync  # type: ignore[assignment]
        yield recording
    finally:
        for name, function in real.items():
            setattr(os, name, function)


def _site() -> str:
    """The functions of device_agent on the stack, up to the first one outside of `durable`."""
    names = []
    frame = sys._getframe(2)
    while frame is not None:
        code = frame.f_code
        if code.co_filename.startswith(_PACKAGE):
            module = Path(code.co_filename).stem
            names.append(f"{module}.{code.co_name}")
            if module != "durable":
                break
        frame = frame.f_back  # type: ignore[assignment]
    return " < ".join(names)


def _two(name: str) -> Callable[..., Op]:
    def shape(recording: Recording, path: str, arguments: tuple[Any, ...], _: Any) -> Op:
        return Op(name, recording.relative(arguments[0]) or "", path)

    return shape


def _one(name: str) -> Callable[..., Op]:
    return lambda _, path, __, ___: Op(name, path)


_SHAPES: dict[str, Callable[..., Op]] = {
    **{name: _one(name) for name in ("mkdir", "rmdir", "unlink")},
    **{name: _two(name) for name in ("rename", "link")},
    "symlink": lambda _, path, arguments, __: Op("symlink", path, str(arguments[0])),
    "pwrite": lambda _, path, arguments, done: Op(
        "write", path, data=bytes(arguments[1][:done]), offset=arguments[2]
    ),
    "posix_fallocate": lambda _, path, arguments, __: Op("size", path, offset=arguments[1] + arguments[2]),
    "truncate": lambda _, path, arguments, __: Op("size", path, offset=arguments[1]),
    "fsync": lambda _, path, __, ___: Op("fsync", path, site=_site()),
}
