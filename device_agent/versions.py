"""Versions, as far as it takes to order releases."""

from __future__ import annotations

MAX_DIGITS = 18


def numbers(version: str) -> tuple[int, ...]:
    """`2.3.0rc1` as (2, 3): enough to order releases. Empty where there is no number at its beginning."""
    found = []
    for part in version.split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        found.append(int(digits[:MAX_DIGITS]))
    while len(found) > 1 and found[-1] == 0:  # 2.3 and 2.3.0 are the same release
        found.pop()
    return tuple(found)
