"""Who may sign for this device, and which keys are trusted no more: two files in the state folder.

    <state>/trust/allowed_signers   ssh-keygen's format: NAME namespaces="..." TYPE BASE64
    <state>/trust/revoked_keys      TYPE BASE64, one a line

Only `edge-agent signers`, run as the agent's own user, changes them: the way to that is SSH, and the socket
has no route for it. A line of another form makes every signature be refused, rather than be guessed at.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attrs import frozen

from device_agent import durable, home
from device_agent.errors import DeviceError, EdgeError, MissingDependency, RevokedKey, UntrustedSigner
from device_agent.sshsig import PublicKey, parse_key, tool
from device_agent.statement import NAMESPACE

MAX_SIGNERS = 64
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9@._+-]{0,63}")
_LINE = re.compile(r'(\S+) namespaces="([^"\s]+)" (\S+ \S+)')


@frozen
class Signer:
    """Someone whose signature counts: what they are called, and their key."""

    name: str
    key: PublicKey


@frozen
class SignerRow:
    """A key as `edge-agent signers list` shows it."""

    name: str
    type: str
    fingerprint: str
    revoked: bool


@frozen
class Signers:
    """The signers of a device and its revoked keys, as read at one moment."""

    allowed: tuple[Signer, ...] = ()
    revoked: tuple[PublicKey, ...] = ()

    @property
    def installed(self) -> bool:
        """Whether there ever was one: with all of them revoked nothing is trusted, not everything."""
        return bool(self.allowed or self.revoked)

    def rows(self) -> tuple[SignerRow, ...]:
        """Every key, the revoked ones last."""
        allowed = [SignerRow(s.name, s.key.type, s.key.fingerprint, revoked=False) for s in self.allowed]
        revoked = [SignerRow("", key.type, key.fingerprint, revoked=True) for key in self.revoked]
        return (*allowed, *revoked)

    def find(self, key: PublicKey) -> Signer:
        """The signer whose key this is.

        Raises:
            RevokedKey: it was revoked. UntrustedSigner: it is nobody's.
        """
        if any(other.blob == key.blob for other in self.revoked):
            raise RevokedKey("the device trusts this key no more", got=key.fingerprint)
        for signer in self.allowed:
            if signer.key.blob == key.blob:
                return signer
        raise UntrustedSigner(
            "the device does not know this signer",
            got=key.fingerprint,
            expected=", ".join(signer.key.fingerprint for signer in self.allowed) or "none is left",
            next_step="`edge devices signers add` makes a key one of the device's signers.",
        )


def load(state_dir: Path) -> Signers:
    """The signers of a state folder; none where it has no such files.

    Raises:
        DeviceError: a file cannot be read or has a line that is none of ours.
    """
    folder = state_dir / "trust"
    allowed = tuple(_signer(line, folder) for line in _lines(folder / "allowed_signers"))
    revoked = tuple(_key(line, folder / "revoked_keys") for line in _lines(folder / "revoked_keys"))
    return Signers(allowed, revoked)


def add(state_dir: Path, line: str, name: str | None = None) -> Signer:
    """Make the key of a .pub file's line one of the signers; one that is already stays as it is.

    Raises:
        UntrustedSigner: no key, or a name that cannot be one.
        RevokedKey: it was revoked.
        MissingDependency: this device could not check its signatures, and would take no bundle any more.
    """
    key = parse_key(line)
    name = name or re.sub(r"[^A-Za-z0-9@._+-]", "-", key.comment)[:64].lstrip("@._+-") or "signer"
    if not _NAME.fullmatch(name):
        raise UntrustedSigner(
            "not a signer's name", got=repr(name[:80]), expected="letters, digits, @ . _ + -"
        )
    if tool() is None:
        raise MissingDependency(
            "ssh-keygen is missing, so no signature could be checked",
            where=str(state_dir),
            next_step="Install OpenSSH's client on the device: `apt install openssh-client`.",
        )
    with _changing(state_dir) as signers:
        if any(other.blob == key.blob for other in signers.revoked):
            raise RevokedKey("the key was revoked, which is for good", got=key.fingerprint)
        for signer in signers.allowed:
            if signer.key.blob == key.blob:
                return signer
        if len(signers.allowed) >= MAX_SIGNERS:
            raise DeviceError("the device has as many signers as it can", got=str(MAX_SIGNERS))
        signer = Signer(name, key)
        _write_allowed(state_dir, (*signers.allowed, signer))
    return signer


def revoke(state_dir: Path, what: str) -> tuple[PublicKey, ...]:
    """Trust keys no more, for good.

    Args:
        state_dir: the device's.
        what: a signer's name, a fingerprint (SHA256:...), or the line of a .pub file.

    Returns:
        The keys revoked now.

    Raises:
        UntrustedSigner: it is none of these.
    """
    what = what.strip()
    with _changing(state_dir) as signers:
        found = [s.key for s in signers.allowed if what in (s.name, s.key.fingerprint)]
        if not found and what.startswith(("ssh-", "ecdsa-", "sk-")):
            found = [parse_key(what)]
        if not found:
            raise UntrustedSigner(
                "no such signer",
                got=repr(what[:80]),
                expected=", ".join(f"{s.name} {s.key.fingerprint}" for s in signers.allowed)
                or "there are none",
            )
        blobs = {key.blob for key in found}
        known = {key.blob for key in signers.revoked}
        revoked = (*signers.revoked, *(key for key in found if key.blob not in known))
        # first what forbids, then what allows: in between both files name it, and it is refused
        durable.write_file(state_dir / "trust/revoked_keys", "".join(f"{key}\n" for key in revoked).encode())
        _write_allowed(state_dir, tuple(s for s in signers.allowed if s.key.blob not in blobs))
    return tuple(found)


def _write_allowed(state_dir: Path, allowed: tuple[Signer, ...]) -> None:
    lines = [f'{signer.name} namespaces="{NAMESPACE}" {signer.key}\n' for signer in allowed]
    durable.write_file(state_dir / "trust/allowed_signers", "".join(lines).encode())


@contextmanager
def _changing(state_dir: Path) -> Iterator[Signers]:
    """The signers, to be changed; other commands wait meanwhile."""
    home.make_private(state_dir)
    folder = state_dir / "trust"
    durable.make_folder(folder)
    with durable.mapped("cannot lock the signers", folder):
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield load(state_dir)
    finally:
        os.close(lock)


def _lines(path: Path) -> list[str]:
    try:
        with durable.mapped("cannot read the signers", path):
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            with os.fdopen(descriptor, encoding="ascii", errors="replace") as file:
                return file.read().splitlines()
    except DeviceError as e:
        if isinstance(e.__cause__, FileNotFoundError):
            return []
        raise


def _signer(line: str, folder: Path) -> Signer:
    match = _LINE.fullmatch(line)
    if match is None or match[2] != NAMESPACE or not _NAME.fullmatch(match[1]):
        raise _foreign(line, folder / "allowed_signers")
    return Signer(match[1], _key(match[3], folder / "allowed_signers"))


def _key(line: str, path: Path) -> PublicKey:
    try:
        return parse_key(line)
    except EdgeError as e:
        raise _foreign(line, path) from e


def _foreign(line: str, path: Path) -> DeviceError:
    return DeviceError(
        "a line that `edge-agent signers` did not write: no signature counts until it is gone",
        where=str(path),
        got=repr(line[:80]),
        next_step="Remove the line; `edge devices signers add` adds signers.",
    )
