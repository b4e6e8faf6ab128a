"""What can be typed where a device is asked for: the built-in ones, a name, or an SSH address."""

from __future__ import annotations

import re

from attrs import frozen

from device_agent.errors import InvalidRequest

# address -> (target, what it is)
ADDRESSES = {
    "local": ("local", "this machine; its agent is started on demand"),
    "fake": ("null", "an agent with a temporary store, gone afterwards"),
}
SCHEME = "ssh://"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_USER = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.@$+-]*")
_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*|\[[0-9A-Fa-f:.]+(?:%[A-Za-z0-9_.-]+)?\]")
MAX_PORT = 65535


@frozen
class SshAddress:
    """user@host:port; what is None comes from ~/.ssh/config or OpenSSH's defaults. No host is in brackets."""

    host: str
    user: str | None = None
    port: int | None = None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        user = "" if self.user is None else f"{self.user}@"
        return f"{user}{host}" + ("" if self.port is None else f":{self.port}")


def is_address(text: str) -> bool:
    """Whether it looks like an SSH address and not like a name."""
    return text.startswith(SCHEME) or "@" in text


def parse(text: str) -> SshAddress:
    """An SSH address: `host`, `user@host`, `user@host:port`, `ssh://user@host:port`; IPv6 in brackets.

    Raises:
        InvalidRequest: it is none, or could be taken for an option of a command.
    """
    user, at, place = text.removeprefix(SCHEME).rstrip("/").rpartition("@")
    host, colon, port = place, "", ""
    if not place.endswith("]") and ":" in place:
        host, colon, port = place.rpartition(":")
    good = (
        (not at or _USER.fullmatch(user))
        and _HOST.fullmatch(host)
        and (not colon or (port.isdecimal() and 0 < int(port) <= MAX_PORT))
    )
    if not good:
        raise InvalidRequest(
            "not an SSH address",
            got=repr(text),
            expected="user@host, user@host:port or ssh://user@host:port, an IPv6 address in brackets",
        )
    return SshAddress(host.strip("[]"), user if at else None, int(port) if colon else None)


def check_name(name: str) -> str:
    """`name` itself if a device may be registered under it.

    Raises:
        InvalidRequest: it may not.
    """
    if _NAME.fullmatch(name) is None or name in ADDRESSES:
        raise InvalidRequest(
            "a device cannot have this name",
            got=repr(name),
            expected="lower-case letters, digits, - and _, at most 63; not " + " or ".join(ADDRESSES),
        )
    return name
