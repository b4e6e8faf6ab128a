"""Faults at the operating system's door: the k-th changing call of this process crashes, fails or is torn."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

CHANGING = (
    *("mkdir", "rmdir", "rename", "symlink", "link", "unlink"),
    *("pwrite", "fsync", "truncate", "posix_fallocate", "chmod"),
)


class Crash(BaseException):
    """The agent's process ends here: nothing after it happens."""


class Counter:
    """Counts changing calls; `fault` is called with the number and the call, and may do it, or raise."""

    def __init__(self, fault: Callable[[int, Callable[[], Any], str, tuple[Any, ...]], Any]) -> None:
        self.count = 0
        self.calls: list[str] = []
        self._fault = fault
        self._lock = threading.Lock()

    def wrap(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            with self._lock:
                self.count += 1
                number = self.count
                self.calls.append(name)
            return self._fault(number, lambda: real(*arguments, **options), name, arguments)

        return call


@contextmanager
def faulty(fault: Callable[[int, Callable[[], Any], str, tuple[Any, ...]], Any]) -> Iterator[Counter]:
    """While in this context, every changing call goes through `fault`."""
    counter = Counter(fault)
    real = {name: getattr(os, name) for name in (*CHANGING, "open")}
    try:
        for name in CHANGING:
            setattr(os, name, counter.wrap(name, real[name]))
        creating = counter.wrap("open", real["open"])

        def open_(path: Any, flags: int, *rest: Any, **options: Any) -> Any:
            maker = creating if flags & os.O_CREAT else real["open"]
            return maker(path, flags, *rest, **options)

        os.open = open_
        yield counter
    finally:
        for name, function in real.items():
            setattr(os, name, function)


def nothing(_: int, do: Callable[[], Any], __: str, ___: tuple[Any, ...]) -> Any:
    """No fault: for counting."""
    return do()


def crash_at(k: int) -> Callable[..., Any]:
    """The process ends right before its k-th changing call; no later one happens either."""

    def fault(number: int, do: Callable[[], Any], _: str, __: tuple[Any, ...]) -> Any:
        if number >= k:
            raise Crash
        return do()

    return fault


def tear_at(k: int) -> Callable[..., Any]:
    """As `crash_at`, but if the k-th call is a write, its first half gets through."""

    def fault(number: int, do: Callable[[], Any], name: str, arguments: tuple[Any, ...]) -> Any:
        if number == k and name == "pwrite":
            descriptor, data, offset = arguments
            view = memoryview(data)
            os.lseek(descriptor, offset, os.SEEK_SET)
            os.write(descriptor, view[: len(view) // 2])
        if number >= k:
            raise Crash
        return do()

    return fault


def fail_at(k: int, *, code: int = errno.ENOSPC, lasting: bool = False) -> Callable[..., Any]:
    """The k-th changing call fails with this error number; all later ones as well if `lasting`."""

    def fault(number: int, do: Callable[[], Any], _: str, __: tuple[Any, ...]) -> Any:
        if number == k or (lasting and number > k):
            raise OSError(code, os.strerror(code))
        return do()

    return fault
