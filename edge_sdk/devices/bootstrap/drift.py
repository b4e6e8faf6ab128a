"""Which files of an installation are not what this version writes; upgrades leave all of them alone."""

from __future__ import annotations

import hashlib

from edge_sdk.devices.bootstrap.layout import Layout, files
from edge_sdk.devices.remote import Remote

# a unit says only whether its interpreter is in somebody's home, and installing may have chosen either
_INTERPRETERS = ("/usr/bin/python3", "/home/user/bin/python3")


def outdated(remote: Remote, where: Layout) -> tuple[str, ...]:
    """The paths of launcher, units and supervisor that are missing on a device or another version's.

    None where the device has no `sha256sum`.

    Raises:
        AgentUnreachable: the device cannot be reached.
    """
    known = wanted(where)
    done = remote.run(["sha256sum", *known])
    return () if done.status > 1 else differing(known, done.stdout.decode(errors="replace"))


def wanted(where: Layout) -> dict[str, frozenset[str]]:
    """The sha256 (hex) that each file may have, by path."""
    variants = [files(where, python) for python in _INTERPRETERS]
    return {
        path: frozenset(hashlib.sha256(texts[path].encode()).hexdigest() for texts in variants)
        for path in variants[0]
    }


def differing(known: dict[str, frozenset[str]], printed: str) -> tuple[str, ...]:
    """The paths whose sum is none of those known, or which `sha256sum` did not print."""
    rows = (line.partition("  ") for line in printed.splitlines())
    found = {path: digest for digest, _, path in rows}
    return tuple(sorted(path for path, digests in known.items() if found.get(path) not in digests))
