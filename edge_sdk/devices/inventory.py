"""The registered devices: a TOML file that people may edit.

    # ~/.config/edge/devices.toml
    [kitchen]
    address = "pi@192.168.1.20"
    target = "rpi4"
    identity = "~/.ssh/kitchen"
    host_key = "ssh-ed25519 AAAA..."

Only `address` and `target` must be there. The file is replaced as a whole, so nobody reads half of one.
"""

from __future__ import annotations

import difflib
import fcntl
import os
import re
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from attrs import asdict, evolve, fields, frozen

from device_agent.errors import FileMissing, InvalidRequest, OutputError
from device_agent.sshsig import PublicKey
from edge_sdk.devices import addresses
from edge_sdk.devices.host_keys import parse_key

VARIABLE = "EDGE_DEVICES"
HEAD = "# The devices of edge-deployment-sdk; `edge devices` writes this file, and you may edit it.\n"


@frozen
class Entry:
    """A registered device.

    Args:
        name: what it goes by.
        address: user@host or user@host:port; a host alias of ~/.ssh/config will do.
        target: a board's name, or the absolute path of a board file.
        identity: the key file to use; the user's usual keys if None.
        known_hosts: a file to read beside the user's.
        host_key: the only host key it may show, as `ssh-ed25519 AAAA...`.
        agent_command: the shell command there that leads to the agent's socket; the installed one if None.
    """

    name: str
    address: str
    target: str
    identity: str | None = None
    known_hosts: str | None = None
    host_key: str | None = None
    agent_command: str | None = None

    @property
    def pinned(self) -> PublicKey | None:
        """The host key, None where known_hosts files decide."""
        return None if self.host_key is None else parse_key(self.host_key, self.name)


KEYS = tuple(field.name for field in fields(Entry) if field.name != "name")
NEEDED = ("address", "target")


def path() -> Path:
    """The inventory's file: EDGE_DEVICES, or edge/devices.toml under XDG_CONFIG_HOME (~/.config)."""
    chosen = os.environ.get(VARIABLE)
    if chosen:
        return Path(chosen).absolute()
    base = Path(os.environ.get("XDG_CONFIG_HOME", ""))  # a relative one is to be ignored, says XDG
    return (base if base.is_absolute() else Path.home() / ".config") / "edge/devices.toml"


def load() -> dict[str, Entry]:
    """Every registered device by its name, in the order of the file; empty without a file.

    Raises:
        InvalidRequest: the file is no TOML, or has a device with a wrong key or value; names line and key.
        FileMissing: it cannot be read.
    """
    file = path()
    try:
        text = file.read_text()
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as e:
        raise FileMissing("the list of devices cannot be read", where=str(file), got=str(e)) from e
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as e:
        raise InvalidRequest(
            "the list of devices is not valid TOML",
            where=str(file),
            got=str(e),
            next_step="Correct the file; `edge devices add --help` shows what a device has.",
        ) from e
    return {name: _entry(name, table, text, file) for name, table in data.items()}


def add(entry: Entry) -> Entry:
    """Register a device, or change what is registered of it.

    An option that is None keeps what is registered, as long as the address stays.

    Returns:
        The device as it is registered now.

    Raises:
        InvalidRequest: the name cannot be one, it is that of a device at another address, or the device has
            another host key pinned.
        OutputError: the file cannot be written.
    """
    addresses.check_name(entry.name)
    addresses.parse(entry.address)
    with _changing() as entries:
        before = entries.get(entry.name)
        if before is not None:
            entry = _changed(before, entry)
        entries[entry.name] = entry
    return entry


def remove(name: str) -> Entry:
    """Forget a device.

    Raises:
        InvalidRequest: none of that name is registered.
    """
    with _changing() as entries:
        if name not in entries:
            raise unknown(name, entries)
        return entries.pop(name)


def unknown(name: str, entries: Mapping[str, Entry]) -> InvalidRequest:
    """The error for a name that nothing has; near names are offered, and all are listed."""
    names = [*addresses.ADDRESSES, *entries]
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    hint = f"Did you mean {' or '.join(near)}? " if near else ""
    return InvalidRequest(
        "unknown device",
        got=repr(name),
        expected=f"{', '.join(names)}, or an SSH address user@host[:port]",
        next_step=f"{hint}`edge devices add` registers one over SSH.",
    )


def dumps(entries: Mapping[str, Entry]) -> str:
    """The text of a file that holds these devices."""
    lines = [HEAD]
    for entry in entries.values():
        lines.append(f"\n[{entry.name}]\n")
        lines += [f"{key} = {_quoted(value)}\n" for key in KEYS if (value := asdict(entry)[key]) is not None]
    return "".join(lines)


def _changed(before: Entry, entry: Entry) -> Entry:
    if before.address != entry.address:
        raise InvalidRequest(
            "a device of this name is registered at another address",
            where=entry.name,
            got=entry.address,
            expected=before.address,
            next_step=f"`edge devices remove {entry.name}` first, or choose another name.",
        )
    if entry.pinned is not None and before.pinned is not None and before.pinned != entry.pinned:
        raise InvalidRequest(
            "the device has another host key pinned",
            where=entry.name,
            got=entry.pinned.fingerprint,
            expected=before.pinned.fingerprint,
            next_step=f"Only if you know why it changed: `edge devices remove {entry.name}`, then add it.",
        )
    given = {key: value for key, value in asdict(entry).items() if value is not None}
    return evolve(before, **given)


def _entry(name: str, table: object, text: str, file: Path) -> Entry:
    def wrong(what: str, key: str | None, **parts: str) -> InvalidRequest:
        line = _line(text, name, key)
        place = f"{file}, line {line}, [{name}]" + (f" {key}" if key is not None else "")
        return InvalidRequest(what, where=place, **parts)

    if not isinstance(table, dict):
        raise wrong("a device is a table", None, got=repr(table), expected=f"[{name}] and keys below it")
    for key, value in table.items():
        if key not in KEYS:
            near = difflib.get_close_matches(key, KEYS, n=1)
            raise wrong("unknown key", key, got=repr(key), expected=" or ".join(near) or ", ".join(KEYS))
        if not isinstance(value, str):
            raise wrong("not a string", key, got=repr(value), expected="a string in quotes")
    for key in NEEDED:
        if key not in table:
            raise wrong(f"{key} is missing", None, expected=f'{key} = "..."')
    entry = Entry(name=name, **table)
    key = "name"
    try:
        addresses.check_name(name)
        key = "address"
        addresses.parse(entry.address)
        key = "host_key"
        entry.pinned  # noqa: B018 - raises where it is none
    except InvalidRequest as e:
        raise wrong(e.what, None if key == "name" else key, got=e.got or "", expected=e.expected or "") from e
    return entry


def _line(text: str, name: str, key: str | None) -> int:
    """The line of a device's table, or of a key in it; 1 where it is written in another way."""
    heading = re.compile(rf"\s*\[\s*[\"']?{re.escape(name)}[\"']?\s*\]")
    found = 1
    inside = False
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("["):
            inside = heading.match(line) is not None
            found = number if inside else found
        elif inside and key is not None and re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*=", line):
            return number
    return found


@contextmanager
def _changing() -> Iterator[dict[str, Entry]]:
    """The devices, to be changed; written when the body ends well. Other processes wait meanwhile."""
    file = path()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(file.parent, os.O_RDONLY)
    except OSError as e:
        raise _unwritable(file, e) from e
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        entries = load()
        before = dict(entries)
        yield entries
        if entries != before:
            _write(file, dumps(entries))
    finally:
        os.close(lock)


def _write(file: Path, text: str) -> None:
    target = file.resolve()  # a link stays one
    try:
        descriptor, name = tempfile.mkstemp(prefix=".devices-", dir=target.parent)
        try:
            with os.fdopen(descriptor, "w") as temporary:
                temporary.write(text)
                temporary.flush()
                os.fsync(temporary.fileno())
            Path(name).replace(target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as e:
        raise _unwritable(file, e) from e


def _unwritable(file: Path, error: OSError) -> OutputError:
    return OutputError(
        "the list of devices cannot be written",
        where=str(file),
        got=error.strerror,
        next_step=f"{VARIABLE} names another file.",
    )


def _quoted(value: str) -> str:
    """A TOML basic string."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(f"\\u{ord(c):04x}" if ord(c) < 0x20 or ord(c) == 0x7F else c for c in escaped) + '"'
