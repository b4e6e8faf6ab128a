"""A line of an agent's log for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_HEAD = ("time", "level", "event")
_BELOW = ("stderr", "traceback")


def readable(row: Mapping[str, Any]) -> str:
    """When, how grave, what, then the fields; long texts indented below, no control characters.

    Args:
        row: a line as the agent wrote it; a worker's own words in it are not to be trusted.
    """
    time, level, event = (str(row.get(key, "")) for key in _HEAD)
    fields = [f"{key}={row[key]}" for key in row if key not in (*_HEAD, *_BELOW)]
    text = _plain(" ".join([time, f"{level:7}", event, *fields]))
    below = [line for key in _BELOW for line in str(row.get(key) or "").splitlines()]
    return "\n".join([text, *(f"    {_plain(line)}" for line in below)])


def _plain(text: str) -> str:
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
