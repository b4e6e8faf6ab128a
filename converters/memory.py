"""Gives memory that was freed back to the system."""

from __future__ import annotations

import ctypes
import sys


def hand_back() -> None:
    """Let go of what was freed: glibc keeps it for later, and what comes next may not fit into it.

    Arrays of up to 32 MB lie in glibc's heap, and a file's bytes never do, so without this a model's
    weights would count twice where they are written (https://man7.org/linux/man-pages/man3/malloc_trim.3.html).
    Other C libraries have no such call, and need none.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
