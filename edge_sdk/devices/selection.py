"""From what the user typed, or from the target alone, to a device."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from device_agent import home
from device_agent.bundle import check_name
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

LOCAL = "local"
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
    return _only(_registered_for(target, entries), target, entries)


def choose_deployed(model: str | None, target: str | None = None) -> str:
    """The device that holds a deployment, where none was named: the only one that can be meant.

    Those are the registered ones, and this machine where the model is deployed here or nothing is registered.
    No device is asked.

    Args:
        model: the deployment's name; None for whatever is deployed.
        target: only devices of this target; all if None or `null`.

    Raises:
        InvalidRequest: none or several can be meant; lists them, and says what to type.
        UnknownTarget: no board of that name.
    """
    if target is not None:
        load_target(target)
    if target == LOCAL:
        return LOCAL
    wanted = None if target == NULL_TARGET else target
    entries = inventory.load()
    found = _registered_for(wanted, entries)
    if wanted is None and (not entries or held_here(model)):
        found.insert(0, LOCAL)
    return _only(found, wanted, entries)


def held_here(model: str | None) -> bool:
    """Whether this user's own agent on this machine has a model of that name active, or any if None."""
    models = home.default_state_dir() / "models"
    if model is not None:
        return os.path.lexists(models / check_name(model) / "current")
    try:
        return any(os.path.lexists(folder / "current") for folder in models.iterdir())
    except OSError:  # no agent ever ran here
        return False


def choose_registered(target: str | None = None) -> str:
    """The only registered device, where none was named; never this machine.

    Raises:
        InvalidRequest: none or several are registered; lists them, and says what to type.
    """
    entries = inventory.load()
    return _only(_registered_for(target, entries), target, entries, option="")


def _registered_for(target: str | None, entries: Mapping[str, Entry]) -> list[str]:
    return [e.name for e in entries.values() if target is None or e.target == normal_target(target)]


def _only(
    found: Sequence[str], target: str | None, entries: Mapping[str, Entry], option: str = "--device "
) -> str:
    """The one device of those that were found; `option` is what is typed before a device's name."""
    if len(found) == 1:
        return found[0]
    for_target = "" if target is None else f" for target {target}"
    if found:
        here = " (local is this machine)" if LOCAL in found else ""
        raise InvalidRequest(
            f"several devices can be meant{for_target}",
            got=", ".join(found) + here,
            next_step=f"Name the one: {' or '.join(f'`{option}{name}`' for name in found)}.",
        )
    others = ", ".join(f"{e.name} ({e.target})" for e in entries.values()) or "none"
    raise InvalidRequest(
        f"no device is registered{for_target}",
        got=f"registered: {others}",
        next_step=f"`edge devices add NAME user@host --target {target or 'BOARD'}` registers one; "
        f"`{option}user@host` uses one without that, `{option}local` this machine.",
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
