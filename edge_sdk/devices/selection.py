"""From what the user typed, or from the target alone, to a device."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from device_agent.errors import InvalidRequest
from edge_sdk.devices import addresses, inventory, ssh_config
from edge_sdk.devices.addresses import ADDRESSES
from edge_sdk.devices.device import Device
from edge_sdk.devices.inventory import Entry
from edge_sdk.devices.ssh import SshSettings
from edge_sdk.devices.ssh_keys import Ask, ask_for_passphrase
from edge_sdk.devices.transports.base import Transport
from edge_sdk.devices.transports.fake import FakeTransport
from edge_sdk.devices.transports.local import LocalTransport
from edge_sdk.devices.transports.ssh import DEFAULT_AGENT_COMMAND, SshTransport
from targets.schema import load_target

NULL_TARGET = "null"  # computes nothing, so it fits every device


def open_device(address: str, target: str | None = None, ask: Ask = ask_for_passphrase) -> Device:
    """The device of a name or at an address; nothing is contacted until it is entered.

    Args:
        address: `local`, `fake`, a registered name, or user@host[:port], ssh://user@host:port.
        target: the board that an address which is not registered is; unknown if None.
        ask: gives the passphrase of a key file.

    Raises:
        InvalidRequest: none of these.
    """
    if address in ADDRESSES:
        transport: Transport = FakeTransport() if address == "fake" else LocalTransport()
        return Device(address, load_target(ADDRESSES[address][0]), transport, ssh_config.default_keys)
    entry = find(address)
    board = target or entry.target
    return Device(
        entry.name,
        load_target(board) if board else None,
        SshTransport(ssh_settings(entry), entry.agent_command or DEFAULT_AGENT_COMMAND, ask),
        lambda: _keys(entry),
    )


def _keys(entry: Entry) -> tuple[Path, ...]:
    """The key files that log in to a device."""
    if entry.identity is not None:
        return (Path(entry.identity).expanduser(),)
    return ssh_config.way_to(addresses.parse(entry.address))[-1].identities


def find(address: str) -> Entry:
    """The registered device of a name, or at an address; for another address an entry with no target.

    Raises:
        InvalidRequest: neither a registered name nor an SSH address.
    """
    entries = inventory.load()
    if address in entries:
        return entries[address]
    if not addresses.is_address(address):
        raise inventory.unknown(address, entries)
    place = addresses.parse(address)
    for entry in entries.values():  # its key and settings hold however it is called
        if addresses.parse(entry.address) == place:
            return entry
    return Entry(name=address, address=str(place), target="")


def choose(target: str) -> str:
    """The device for a target where none was named: local, fake, or the only registered one.

    Raises:
        InvalidRequest: none or several are registered for it; lists them, and says what to type.
        UnknownTarget: no board of that name.
    """
    load_target(target)  # a misspelt target is that, and not one without devices
    for address, (own, _) in ADDRESSES.items():
        if target == own:
            return address
    entries = inventory.load()
    fitting = [entry.name for entry in entries.values() if entry.target == normal_target(target)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise InvalidRequest(
            f"several devices are registered for target {target}",
            got=", ".join(fitting),
            next_step=f"Name one or more: `--device {fitting[0]}`.",
        )
    others = ", ".join(f"{e.name} ({e.target})" for e in entries.values()) or "none"
    raise InvalidRequest(
        f"no device is registered for target {target}",
        got=f"registered: {others}",
        next_step="`edge devices add NAME user@host --target "
        f"{target}` registers one; `--device user@host` uses one without that.",
    )


def target_of(devices: Sequence[str], default: str) -> str:
    """The target of the registered devices among those named; `default` for local and fake alone.

    Raises:
        InvalidRequest: they have several, or only addresses were named that nothing is known of.
    """
    named = {name: find(name).target for name in devices if name not in ADDRESSES}
    targets = set(named.values()) - {""}
    if len(targets) > 1:
        raise InvalidRequest(
            "the devices have several targets",
            got=", ".join(f"{name} ({target})" for name, target in named.items()),
            next_step="One conversion serves one target: run the command once for each.",
        )
    if named and not targets:
        raise InvalidRequest(
            "what board this is is not known",
            where=next(iter(named)),
            next_step="Say it with --target, or register the device with `edge devices add`.",
        )
    return next(iter(targets), default)


def check_target(device: str, target: str) -> None:
    """Refuse a target that is not the one a device is registered for; `null` fits all.

    Raises:
        InvalidRequest: it is another.
    """
    if device in ADDRESSES or target == NULL_TARGET:
        return
    own = find(device).target
    if own and own != normal_target(target):
        raise InvalidRequest(
            "the device is registered for another target",
            where=device,
            got=target,
            expected=own,
            next_step=f"Leave --target away, or change it with `edge devices add {device} ... --target`.",
        )


def normal_target(target: str) -> str:
    """A target as the inventory holds it: a name, or the absolute path of a board file."""
    is_path = target.endswith(".toml") or "/" in target
    return str(Path(target).expanduser().absolute()) if is_path else target


def registered_target(target: str) -> str:
    """A target as the inventory holds it, checked to be one; raises what `load_target` raises."""
    load_target(target)
    return normal_target(target)


def ssh_settings(entry: Entry) -> SshSettings:
    """How to reach a device over SSH."""
    registered = bool(entry.target)
    words = (entry.name, entry.address, entry.target) if registered else ("NAME", entry.address, "TARGET")
    name, address, target = map(shlex.quote, words)
    return SshSettings(
        address=addresses.parse(entry.address),
        name=entry.name,
        identity=None if entry.identity is None else Path(entry.identity).expanduser(),
        known_hosts=None if entry.known_hosts is None else Path(entry.known_hosts).expanduser(),
        host_key=entry.pinned,
        accept=f"`edge devices add {name} {address} --target {target} --accept-key {{fingerprint}}`.",
    )
