"""What a disk may hold after a power cut, given what was done to it: a pessimistic file system.

- fsync of a file makes its data and size durable, not its name; fsync of a folder makes the names in it
  durable, not what they lead to. sync makes everything durable.
- What is not durable may be there or not, each for itself and in any order: names, sizes, writes. A write
  may also be there by half, or as zeros.
- A rename within a folder happens whole or not at all. One from folder to folder may leave both names,
  but never none.

After Pillai et al., "All File Systems Are Not Created Equal" (OSDI 2014).
"""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import ClassVar

from attrs import define, field, frozen

from tests.device_agent.campaigns.recording import Op

_ROOT = 0
_NONE, _ALL, _TORN, _ZEROS = range(4)


@frozen
class Names:
    """A change of names in a folder: name -> inode, or None for a name that goes."""

    inode: int
    changes: tuple[tuple[str, int | None], ...]
    after: Names | None = None  # it cannot be there without that one
    options: ClassVar[int] = 2


@frozen
class Size:
    """A file has another size."""

    inode: int
    size: int
    options: ClassVar[int] = 2


@frozen
class Write:
    """A write to a file."""

    inode: int
    offset: int
    data: bytes = field(repr=False)
    options: ClassVar[int] = 4


Update = Names | Size | Write


@define
class Image:
    """Inodes: folders with their names, files with their content, symbolic links with their target."""

    folders: dict[int, dict[str, int]] = field(factory=lambda: {_ROOT: {}})
    files: dict[int, bytes] = field(factory=dict)

    def copy(self) -> Image:
        """A copy whose inodes may be changed."""
        return Image(dict(self.folders), dict(self.files))

    def apply(self, update: Update, choice: int = _ALL) -> None:
        """Let an update have happened: whole, by half, or as zeros."""
        if isinstance(update, Names):
            names = dict(self.folders.get(update.inode, {}))
            for name, inode in update.changes:
                if inode is None:
                    names.pop(name, None)
                else:
                    names[name] = inode
            self.folders[update.inode] = names
            return
        content = self.files.get(update.inode, b"")
        if isinstance(update, Size):
            self.files[update.inode] = content[: update.size].ljust(update.size, b"\0")
            return
        data = update.data[: len(update.data) // 2] if choice == _TORN else update.data
        data = bytes(len(data)) if choice == _ZEROS else data
        before = content[: update.offset].ljust(update.offset, b"\0")
        self.files[update.inode] = before + data + content[update.offset + len(data) :]


class Disk:
    """A disk on which operations are done one after the other."""

    def __init__(self) -> None:
        self._durable = Image()
        self._now = Image()
        self._pending: list[Update] = []
        self._links: dict[int, str] = {}
        self._kinds = {_ROOT: "folder"}

    def do(self, op: Op) -> None:
        """Do an operation."""
        if op.name == "fsync":
            inode = self._inode(op.path)
            self._settle([update for update in self._pending if update.inode == inode])
        elif op.name == "sync":
            self._settle(self._pending)
        else:
            for update in self._updates(op):
                self._now.apply(update)
                self._pending.append(update)

    def states(self, limit: int, draw: random.Random) -> Iterator[State]:
        """What it may hold if the power goes now: everything that is possible, or about `limit` of it."""
        for choices in _choices([update.options for update in self._pending], limit, draw):
            image = self._durable.copy()
            absent: set[int] = set()
            for update, choice in zip(self._pending, choices, strict=True):
                if choice == _NONE or (isinstance(update, Names) and id(update.after) in absent):
                    absent.add(id(update))
                else:
                    image.apply(update, choice)
            yield State(image, self._links, self._kinds)

    def _settle(self, updates: list[Update]) -> None:
        for update in updates:
            self._durable.apply(update)
        gone = {id(update) for update in updates}
        self._pending = [update for update in self._pending if id(update) not in gone]

    def _updates(self, op: Op) -> list[Update]:
        folder, name = self._parent(op.path)
        if op.name in {"mkdir", "create", "symlink"}:
            inode = len(self._kinds)
            self._kinds[inode] = {"mkdir": "folder", "create": "file", "symlink": "link"}[op.name]
            self._links[inode] = op.other
            return [Names(folder, ((name, inode),))]
        if op.name in {"unlink", "rmdir"}:
            return [Names(folder, ((name, None),))]
        inode = self._inode(op.path)
        if op.name == "write":
            return [Write(inode, op.offset, op.data)]
        if op.name == "size":
            return [Size(inode, op.offset)]
        to, new = self._parent(op.other)
        if op.name == "link":
            return [Names(to, ((new, inode),))]
        if folder == to:
            return [Names(to, ((name, None), (new, inode)))]
        added = Names(to, ((new, inode),))
        return [added, Names(folder, ((name, None),), added)]

    def _parent(self, path: str) -> tuple[int, str]:
        where = PurePosixPath(path)
        return self._inode(str(where.parent)), where.name

    def _inode(self, path: str) -> int:
        inode = _ROOT
        for part in PurePosixPath(path).parts:
            inode = self._now.folders[inode][part]
        return inode


@frozen
class State:
    """What a disk holds after a power cut."""

    _image: Image
    _links: dict[int, str]
    _kinds: dict[int, str]

    def key(self) -> int:
        """Equal for equal contents."""
        return hash(tuple((path, kind, content) for path, kind, content, _ in self._walk(_ROOT, "")))

    def materialise(self, folder: Path) -> None:
        """Make it in an empty folder."""
        made: dict[int, Path] = {}
        for name, kind, content, inode in self._walk(_ROOT, ""):
            path = folder / name
            if kind == "folder":
                path.mkdir(mode=0o700)
            elif kind == "link":
                path.symlink_to(str(content))
            elif inode in made:
                os.link(made[inode], path)
            else:
                made[inode] = path
                path.write_bytes(content if isinstance(content, bytes) else b"")
                path.chmod(0o600)

    def _walk(self, inode: int, prefix: str) -> Iterator[tuple[str, str, bytes | str, int]]:
        for name, child in sorted(self._image.folders.get(inode, {}).items()):
            kind = self._kinds[child]
            content = self._links[child] if kind == "link" else self._image.files.get(child, b"")
            yield prefix + name, kind, content, child
            if kind == "folder":
                yield from self._walk(child, f"{prefix}{name}/")


def _choices(options: list[int], limit: int, draw: random.Random) -> Iterator[tuple[int, ...]]:
    """A choice for each update: all combinations where they are few, else the telling ones and others."""
    combinations = 1
    for count in options:
        combinations *= count
        if combinations > limit:
            break
    if combinations <= limit:
        yield from itertools.product(*(range(count) for count in options))
        return
    many = len(options)
    nothing, everything = [_NONE] * many, [_ALL] * many
    found = {tuple(nothing): None, tuple(everything): None}
    for index, count in enumerate(options):
        found[tuple(everything[:index] + nothing[index:])] = None
        for choice in range(count):
            for base in (nothing, everything):
                found[(*base[:index], choice, *base[index + 1 :])] = None
    while len(found) < limit:
        found[tuple(draw.randrange(count) for count in options)] = None
    yield from found
