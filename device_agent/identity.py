"""Which device this is: a random id for good, and the board that it was told it is."""

from __future__ import annotations

import re
import secrets
from pathlib import Path

from attrs import evolve, frozen

from device_agent import codec, durable, home, log
from device_agent.errors import InvalidRequest

FILE = "device.json"
_ID = re.compile(r"[0-9a-f]{32}")
_TARGET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@frozen
class Identity:
    """A device's id, and the name of its board; None where nobody said it."""

    id: str
    target: str | None = None


def find(state_dir: Path) -> Identity | None:
    """The identity of a state folder; None where none was made, or the file is damaged."""
    try:
        found = codec.from_json((state_dir / FILE).read_bytes(), Identity, where=FILE, exact=True)
    except (OSError, InvalidRequest):  # a new one is made: what was signed for the old one is refused
        return None
    return found if _ID.fullmatch(found.id) else None


def establish(state_dir: Path) -> Identity:
    """The identity of a state folder that exists, made on its first use.

    Raises:
        DeviceError: the medium takes no writes.
    """
    identity = find(state_dir)
    if identity is None:
        identity = Identity(secrets.token_hex(16))
        durable.write_file(state_dir / FILE, codec.dumps(identity).encode())
        log.event("this device has a new identity", device_id=identity.id)
    return identity


def set_target(state_dir: Path, target: str) -> Identity:
    """Tell a device which board it is, so that what is signed for that board is for it.

    Raises:
        InvalidRequest: not the name of a board.
    """
    if not _TARGET.fullmatch(target):
        raise InvalidRequest("not the name of a board", got=repr(target[:80]))
    home.make_private(state_dir)
    identity = establish(state_dir)
    if identity.target != target:
        identity = evolve(identity, target=target)
        durable.write_file(state_dir / FILE, codec.dumps(identity).encode())
    return identity
