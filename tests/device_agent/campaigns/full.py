"""Disks that are too small by steps: a tmpfs of this process alone, of which the agent gets more and more."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from device_agent.errors import DiskFull, EdgeError
from tests.device_agent.campaigns import processes
from tests.device_agent.campaigns.report import Row
from tests.device_agent.campaigns.scenarios import Stock, active, deploy, rollback
from tests.device_agent.harness import Client

STEP_BYTES = 8 << 10
AMPLE = "size=64m,nr_inodes=10000"
PARTS = ("start", "deploy and rollback", "no inode")
_NEWNS, _PRIVATE, _REC, _REMOUNT = 0x20000, 1 << 18, 1 << 14, 32
_libc = ctypes.CDLL(None, use_errno=True)


def unavailable() -> str | None:
    """Why no file system can be mounted here; None where one can, and this process now has its own mounts."""
    if _libc.unshare(_NEWNS) or _libc.mount(b"none", b"/", None, _REC | _PRIVATE, None):
        return f"no mounts of its own: {os.strerror(ctypes.get_errno())}"
    return None


class Small:
    """A tmpfs in a folder, whose size can be changed."""

    def __init__(self, folder: Path, options: str) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self._mount(0, options)

    def resize(self, options: str) -> None:
        """Give it another size or number of inodes."""
        self._mount(_REMOUNT, options)

    def used(self) -> tuple[int, int]:
        """Bytes and inodes."""
        found = os.statvfs(self.folder)
        return (found.f_blocks - found.f_bfree) * found.f_frsize, found.f_files - found.f_ffree

    def fill(self) -> Callable[[], None]:
        """Take all the bytes and inodes that are left; what is returned gives them back."""
        hoard = self.folder / "hoard"
        with suppress(OSError):
            hoard.mkdir()
            with (hoard / "bytes").open("wb", buffering=0) as file:
                while file.write(bytes(4096)):
                    pass
        with suppress(OSError):
            for number in range(20000):
                (hoard / str(number)).touch()

        def give_back() -> None:
            for path in hoard.iterdir():
                path.unlink()
            hoard.rmdir()

        return give_back

    def gone(self) -> None:
        """Unmount it."""
        _libc.umount2(os.fsencode(self.folder), 2)

    def _mount(self, flags: int, options: str) -> None:
        where = os.fsencode(self.folder)
        if _libc.mount(b"tmpfs", where, b"tmpfs", flags, options.encode()):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(self.folder))


def run(part: str, folder: Path, sample: int) -> Row:
    """Do one part; of its sizes about `sample`, or all."""
    row = Row(part)
    small = Small(folder / "small", AMPLE)
    try:
        {"start": _start, "deploy and rollback": _deploy, "no inode": _no_inode}[part](
            row, small, folder, sample
        )
    finally:
        small.gone()
    return row


def _start(row: Row, small: Small, folder: Path, sample: int) -> None:
    """An agent that has no room for its records says so; with room it starts."""
    del folder
    sizes = range(16 << 10, 1 << 20, 32 << 10)
    for size in sizes[:: max(1, len(sizes) // sample) if sample else 1]:
        small.gone()
        small = Small(small.folder.with_name(f"small{size}"), f"size={size}")
        state = small.folder / "state"
        row.tried += 1
        log = small.folder.with_suffix(".log")
        with processes.forked(["serve", "--state-dir", str(state)], log) as process:
            process.go()
            try:
                processes.answering(process, state)
            except AssertionError:
                if process.wait() != DiskFull.exit_code:
                    row.failures.append(
                        f"{size} bytes: ended with {process.wait()}: {log.read_text()[-200:]}"
                    )
                continue
        row.notes.append(f"starts with {size} bytes")
        break
    small.gone()


def _deploy(row: Row, small: Small, folder: Path, sample: int) -> None:
    """From not a byte to just enough: refused by name or done, the rollback works on the full disk, and
    with room again the next deployment does.
    """
    stock = Stock(folder / "bundles")
    with processes.agent(small.folder / "state") as (_, client):
        deploy(client, stock, 10)
        deploy(client, stock, 11)
        number, step, enough, refused = 11, 0, 0, 0
        while enough < 3:
            used, _ = small.used()
            small.resize(f"size={used + step * STEP_BYTES * (4 if sample else 1)}")
            row.tried += 1
            done, problems = _attempt(client, stock, number, number + 1)
            enough, refused = enough + done, refused + (not done)
            give_back = small.fill()
            problems += _roll_back(client, stock, number if done else number - 1)
            give_back()
            small.resize(AMPLE)
            for following in (number + 2, number + 3):
                deploy(client, stock, following)
            number += 3
            if active(client, stock) != number:
                problems.append("the next deployment is not active")
            row.failures += [f"{step} steps of room: {problem}" for problem in problems]
            step += 1
        row.notes.append(f"refused with {refused} sizes, done with {enough}")


def _attempt(client: Client, stock: Stock, now: int, new: int) -> tuple[bool, list[str]]:
    """Deploy; whether it was done, and what is wrong."""
    try:
        deploy(client, stock, new)
    except DiskFull:
        found = active(client, stock)
        return False, [] if found == now else [f"refused, and bundle {found} is active"]
    except EdgeError as e:
        return False, [f"refused by {type(e).__name__}: {e}"]
    return True, [] if active(client, stock) == new else ["done, and it is not active"]


def _roll_back(client: Client, stock: Stock, expected: int) -> list[str]:
    try:
        rollback(client)
    except EdgeError as e:
        return [f"the rollback on the full disk failed: {e}"]
    found = active(client, stock)
    return [] if found == expected else [f"after the rollback bundle {found} is active, expected {expected}"]


def _no_inode(row: Row, small: Small, folder: Path, sample: int) -> None:
    """Without a single inode left a rollback works, by the ballast's; without the ballast it would not."""
    del sample
    stock = Stock(folder / "bundles")
    state = small.folder / "state"
    for ballast in (True, False):
        row.tried += 1
        with processes.agent(state) as (process, client):
            for number in (10, 11) if ballast else (12, 13):
                deploy(client, stock, number)
            small.resize(f"size=64m,nr_inodes={small.used()[1] + 3}")
            give_back = small.fill()
            if not ballast:
                (state / "ballast").unlink()
                (small.folder / "hoard" / "in-its-place").touch()
            problems = _roll_back(client, stock, 10 if ballast else 12)
            given_up = "the ballast is given up" in process.log.read_text()
            give_back()
            small.resize(AMPLE)
        if not given_up or bool(problems) == ballast:
            row.failures.append(
                f"with the ballast {ballast}: given up {given_up}, {problems or 'rolled back'}"
            )
