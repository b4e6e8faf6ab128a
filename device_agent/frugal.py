"""Keeping the agent's own memory small: the C library and the kernel are generous unless told not to be."""

from __future__ import annotations

import ctypes

LARGE_BUFFER_BYTES = 256 << 10
ARENAS = 1
_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8  # mallopt(3)
_PR_SET_THP_DISABLE = 41  # prctl(2)


def frugal() -> None:
    """Make this process frugal; before the heap grows, so before most imports.

    A chunk or tensor once received goes back to the system: glibc would raise its mmap threshold and keep
    it. Threads share one arena. Heaps are made of small pages: where huge ones are always given, every
    2 MiB that are touched anywhere count in full (8 of 36 MB on Debian for ARM).
    """
    libc = ctypes.CDLL(None)
    mallopt = getattr(libc, "mallopt", None)  # musl has none, and no need of it
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, LARGE_BUFFER_BYTES)
        mallopt(_M_ARENA_MAX, ARENAS)
    libc.prctl(_PR_SET_THP_DISABLE, 1, 0, 0, 0)
