"""Host keys: what known_hosts files say of a host, and whether the key it shows is the one it must have.

Nothing here adds a key. The file format is that of sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT".
"""

from __future__ import annotations

import base64
import fnmatch
import hashlib
import hmac
from collections.abc import Iterable, Sequence
from pathlib import Path

from attrs import frozen

from device_agent.errors import FileMissing, HostKeyRefused, InvalidRequest
from device_agent.sshsig import PublicKey

SSH_PORT = 22
REVOKED = "@revoked"


@frozen
class KnownHost:
    """One line of a known_hosts file. `marker` is empty, @revoked or @cert-authority."""

    marker: str
    patterns: tuple[str, ...]
    key: PublicKey

    def matches(self, name: str) -> bool:
        """Whether the line is about the host of that name (`lookup_name`)."""
        found = False
        for pattern in self.patterns:
            if pattern.startswith("|1|"):
                found = found or _hash_matches(pattern, name)
            elif fnmatch.fnmatchcase(name, _literal_brackets(pattern.removeprefix("!").lower())):
                if pattern.startswith("!"):
                    return False
                found = True
        return found


def lookup_name(host: str, port: int) -> str:
    """What a host is called in known_hosts files: `host`, or `[host]:port` where the port is not 22."""
    return host.lower() if port == SSH_PORT else f"[{host.lower()}]:{port}"


def parse_key(text: str, where: str) -> PublicKey:
    """A key as it stands in known_hosts and .pub files: type and base64.

    Raises:
        InvalidRequest: it is none.
    """
    words = text.split()
    try:
        blob = base64.b64decode(words[1], validate=True)
        length = int.from_bytes(blob[:4], "big")  # RFC 4253, section 6.6: the blob begins with its type
        own_type = blob[4 : 4 + length].decode("ascii")
    except (IndexError, ValueError) as e:
        raise _no_key(text, where) from e
    if own_type != words[0]:
        raise _no_key(text, where)
    return PublicKey(words[0], blob)


def _no_key(text: str, where: str) -> InvalidRequest:
    expected = "a type and base64, as in `ssh-ed25519 AAAA...`"
    return InvalidRequest("not a public key", where=where, got=repr(text[:60]), expected=expected)


def read(path: Path, *, must_exist: bool = False) -> list[KnownHost]:
    """The lines of a known_hosts file; those that are no keys are left out, as OpenSSH does.

    Raises:
        FileMissing: it cannot be read; where it is only absent, if `must_exist`.
    """
    try:
        text = path.read_text(errors="replace")
    except FileNotFoundError as e:
        if must_exist:
            raise FileMissing("no such known_hosts file", where=str(path)) from e
        return []
    except OSError as e:
        raise FileMissing("the known_hosts file cannot be read", where=str(path), got=str(e)) from e
    return [entry for line in text.splitlines() if (entry := _parse_line(line, str(path))) is not None]


def check(shown: PublicKey, name: str, known: Iterable[KnownHost], *, where: str, accept: str) -> None:
    """Return if the key that a host shows is one it is known by.

    Args:
        shown: what it shows.
        name: what it is called in known_hosts files.
        known: lines of all files; a pinned key is a line as well.
        where: names the device in errors.
        accept: for a key that is not known: how it is accepted, with `{fingerprint}` for the key's.

    Raises:
        HostKeyRefused: the host is not known, is known by another key, or the key is revoked.
    """
    lines = [entry for entry in known if entry.matches(name)]
    if any(entry.marker == REVOKED and entry.key == shown for entry in lines):
        raise HostKeyRefused(
            "the host shows a key that is marked as revoked",
            where=where,
            got=f"{shown.type} {shown.fingerprint}",
            next_step="Nothing was sent to it. Do not use this host until its key has been replaced.",
        )
    keys = [entry.key for entry in lines if not entry.marker]
    if shown in keys:
        return
    if not keys:
        raise HostKeyRefused(
            "the host's key is not known yet",
            where=where,
            got=f"{shown.type} {shown.fingerprint}",
            next_step=f"Compare the fingerprint with the device's own (there: `ssh-keygen -lf "
            f"/etc/ssh/ssh_host_{_short(shown.type)}_key.pub`). Only if they are equal: "
            + accept.format(fingerprint=shown.fingerprint),
        )
    same_type = [key for key in keys if key.type == shown.type] or keys
    raise HostKeyRefused(
        "the host's key has changed: somebody may be in between, or the device was installed anew",
        where=where,
        got=f"{shown.type} {shown.fingerprint}",
        expected=" or ".join(f"{key.type} {key.fingerprint}" for key in same_type),
        next_step="Nothing was sent to it. Only if you know why it changed: remove the old key (`edge "
        f"devices remove` for a device that has it pinned, `ssh-keygen -R '{name}'` for known_hosts), and "
        "accept the new one.",
    )


def known_types(name: str, known: Iterable[KnownHost]) -> list[str]:
    """The types of the keys a host is known by: what to ask it for first."""
    return list(dict.fromkeys(e.key.type for e in known if not e.marker and e.matches(name)))


def read_all(
    paths: Sequence[Path], required: Path | None, pinned: PublicKey | None, name: str
) -> list[KnownHost]:
    """Every line that may be about a host.

    Args:
        paths: known_hosts files that need not exist.
        required: one that must.
        pinned: the key the inventory has for it; then only that one counts, beside revocations.
        name: what it is called in the files.
    """
    lines = [] if required is None else read(required, must_exist=True)
    for path in paths:
        lines += read(path)
    if pinned is None:
        return lines
    return [entry for entry in lines if entry.marker == REVOKED] + [KnownHost("", (name,), pinned)]


def _parse_line(line: str, where: str) -> KnownHost | None:
    words = line.split()
    marker = words.pop(0) if words and words[0].startswith("@") else ""
    if len(words) < 3 or words[0].startswith("#"):
        return None
    try:
        key = parse_key(" ".join(words[1:3]), where)
    except InvalidRequest:
        return None  # a line that OpenSSH would leave out as well; a host with no other line is unknown
    return KnownHost(marker, tuple(words[0].split(",")), key)


def _hash_matches(pattern: str, name: str) -> bool:
    try:
        salt, digest = (base64.b64decode(part, validate=True) for part in pattern.split("|")[2:4])
    except ValueError:
        return False
    return hmac.compare_digest(digest, hmac.new(salt, name.encode(), hashlib.sha1).digest())


def _literal_brackets(pattern: str) -> str:
    """Brackets hold a host with a port; fnmatch would read a set of characters."""
    return pattern.replace("[", "[[]")


def _short(key_type: str) -> str:
    """The name of sshd's file for a key type."""
    for short in ("ed25519", "ecdsa", "rsa"):
        if short in key_type:
            return short
    return "*"
