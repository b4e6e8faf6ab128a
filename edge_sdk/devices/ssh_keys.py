"""The user's keys: those of the SSH agent, and key files with their passphrases. Never a password."""

from __future__ import annotations

import getpass
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from device_agent.errors import AgentUnreachable, FileMissing, InvalidRequest
from edge_sdk.devices import host_keys
from edge_sdk.devices.ssh_config import Hop
from edge_sdk.devices.ssh_errors import mapped

if TYPE_CHECKING:
    import paramiko

PASSPHRASE_VARIABLE = "EDGE_SSH_PASSPHRASE"  # noqa: S105 - the name of a variable
MAX_TRIES = 6  # sshd's MaxAuthTries: it hangs up after so many keys

Ask = Callable[[Path], str | None]


def ask_for_passphrase(path: Path) -> str | None:
    """The passphrase of a key file: EDGE_SSH_PASSPHRASE, or asked for on a terminal; None without either."""
    given = os.environ.get(PASSPHRASE_VARIABLE)
    if given is not None:
        return given
    if not sys.stdin.isatty():
        return None
    return getpass.getpass(f"Passphrase of {path}: ")


class Passphrases:
    """Asks for each passphrase once, for several devices that are connected to at the same time."""

    def __init__(self, ask: Ask = ask_for_passphrase) -> None:
        self._ask = ask
        self._lock = threading.Lock()
        self._known: dict[Path, str | None] = {}

    def __call__(self, path: Path) -> str | None:
        """The passphrase of a key file."""
        with self._lock:
            if path not in self._known:
                self._known[path] = self._ask(path)
            return self._known[path]


class KeyRing:
    """Keys to offer, each file read and each passphrase asked for at most once.

    Args:
        identity: the only key to use, where the device has one of its own.
        ask: gives the passphrase of a key file, None where there is none.
    """

    def __init__(self, identity: Path | None = None, ask: Ask = ask_for_passphrase) -> None:
        self._identity = identity
        self._ask = ask
        self._loaded: dict[Path, paramiko.PKey] = {}
        self._agent: paramiko.Agent | None = None

    def offers(self, hop: Hop, *, last: bool) -> Iterator[tuple[str, paramiko.PKey]]:
        """The keys for a hop in the order to try them, each with what to call it in messages.

        Args:
            hop: where they will be offered.
            last: it is the device itself, for which `identity` is meant.

        Raises:
            FileMissing: the device's own key is not there.
            AgentUnreachable: a key is encrypted and there is no right passphrase.
            InvalidRequest: a file is no private key.
        """
        chosen = self._identity if last else None
        files = hop.identities if chosen is None else (chosen,)
        held = {key.asbytes(): key for key in self._agent_keys()}
        for path in files:  # a file whose key the agent holds needs no passphrase
            public = _public_half(path)
            if public in held:
                yield f"{path} (in the SSH agent)", held.pop(public)
        if chosen is None and not hop.identities_only:
            yield from ((f"{key.comment or key.get_name()} (in the SSH agent)", key) for key in held.values())
        for path in files:
            if path.is_file():
                yield str(path), self._load(path)
            elif chosen is not None:
                raise FileMissing("no such key file", where=str(path))

    def close(self) -> None:
        """Leave the SSH agent."""
        if self._agent is not None:
            self._agent.close()
            self._agent = None

    def _agent_keys(self) -> tuple[paramiko.agent.AgentKey, ...]:
        import paramiko

        if self._agent is None:
            with mapped("the SSH agent"):
                self._agent = paramiko.Agent()
        keys: tuple[paramiko.agent.AgentKey, ...] = self._agent.get_keys()
        return keys

    def _load(self, path: Path) -> paramiko.PKey:
        if path not in self._loaded:
            with mapped(str(path)):
                self._loaded[path] = self._read(path)
        return self._loaded[path]

    def _read(self, path: Path) -> paramiko.PKey:
        import paramiko

        try:
            return paramiko.PKey.from_path(path)
        except TypeError:  # how `cryptography` says that it is encrypted
            passphrase = self._ask(path)
        except ValueError as e:
            raise InvalidRequest("not a private key", where=str(path), got=str(e)) from e
        if passphrase is None:
            raise AgentUnreachable(
                "the key is encrypted and there is no terminal to ask for its passphrase on",
                where=str(path),
                next_step=f"Load it with `ssh-add {path}`, or set {PASSPHRASE_VARIABLE}.",
            )
        try:
            return paramiko.PKey.from_path(path, passphrase.encode())
        except ValueError as e:
            raise AgentUnreachable("the key's passphrase is wrong", where=str(path)) from e


def _public_half(path: Path) -> bytes | None:
    """The blob of a key's .pub file; None where there is none."""
    try:
        text = path.with_name(path.name + ".pub").read_text()
        return host_keys.parse_key(text, str(path)).blob
    except (OSError, ValueError):  # it only saves asking for a passphrase
        return None
