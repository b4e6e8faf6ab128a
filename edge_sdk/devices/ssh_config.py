"""What ~/.ssh/config says of a host: the hops to it, each with its user, port, keys and known_hosts files."""

from __future__ import annotations

import getpass
import glob
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

from device_agent.errors import FileMissing, InvalidRequest
from edge_sdk.devices import addresses
from edge_sdk.devices.addresses import SshAddress
from edge_sdk.devices.host_keys import SSH_PORT, lookup_name
from edge_sdk.devices.ssh_errors import mapped

if TYPE_CHECKING:
    import paramiko

DEFAULT_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")
GLOBAL_KNOWN_HOSTS = Path("/etc/ssh/ssh_known_hosts")
MAX_HOPS = 8
MAX_INCLUDES = 16  # deep, as OpenSSH has it


@frozen
class Hop:
    """One SSH server on the way; the last of a way is the device.

    `known_as` is its name in known_hosts files. `proxy_command` is a shell command whose stdin and stdout
    lead to it, only ever that of the first hop.
    """

    host: str
    port: int
    user: str
    known_as: str
    identities: tuple[Path, ...]
    identities_only: bool
    known_hosts: tuple[Path, ...]
    proxy_command: str | None = None

    def __str__(self) -> str:
        return f"{self.user}@{lookup_name(self.host, self.port)}"


def way_to(address: SshAddress, config: Path | None = None) -> tuple[Hop, ...]:
    """The hops to an address; the first is reached directly or by its proxy command.

    Args:
        address: what the user named; its user and port win over the file's.
        config: ~/.ssh/config if None; need not exist.

    Raises:
        FileMissing: the file is there and cannot be read.
        InvalidRequest: it makes no sense, or its jumps lead in a circle.
    """
    import paramiko

    path = config or Path.home() / ".ssh/config"
    with mapped(str(path)):
        parsed = paramiko.SSHConfig.from_text(_with_includes(path))
    return _hops(address, parsed, str(path), MAX_HOPS)


def _hops(address: SshAddress, config: paramiko.SSHConfig, where: str, left: int) -> tuple[Hop, ...]:
    if left <= 0:
        raise InvalidRequest(f"ProxyJump leads over more than {MAX_HOPS} hosts, or in a circle", where=where)
    with mapped(where):
        try:
            options = config.lookup(address.host)
        except ImportError as e:  # paramiko runs the command of `Match exec` with a package of its own choice
            raise InvalidRequest("`Match exec` is not supported", where=where) from e
    # whichever of the two stands first wins: ssh_config(5); a lookup keeps the order
    proxy = next((key for key in options if key in {"proxyjump", "proxycommand"}), None)
    jump = options["proxyjump"] if proxy == "proxyjump" else None
    command = options["proxycommand"] if proxy == "proxycommand" else None
    hop = _hop(address, options, where, command)
    if jump is None or jump.lower() == "none":
        return (hop,)
    first, *others = (addresses.parse(part) for part in jump.split(","))
    way = _hops(first, config, where, left - 1)
    for place in others:  # reached through the one before, whatever the file says of them
        way += _hops(place, config, where, left - len(way))[-1:]
    return (*way, hop)


def default_keys() -> tuple[Path, ...]:
    """The key files that OpenSSH looks for, whether they are there or not."""
    return tuple(Path.home() / ".ssh" / name for name in DEFAULT_KEYS)


def _hop(address: SshAddress, options: paramiko.config.SSHConfigDict, where: str, command: str | None) -> Hop:
    host = options.get("hostname", address.host)
    port = address.port or _port(options.get("port", str(SSH_PORT)), where)
    configured = tuple(_path(name) for name in options.get("identityfile", []))
    folder = Path.home() / ".ssh"
    files = shlex.split(options.get("userknownhostsfile", ""))
    return Hop(
        host=host,
        port=port,
        user=address.user or options.get("user") or getpass.getuser(),
        known_as=options["hostkeyalias"] if "hostkeyalias" in options else lookup_name(host, port),
        identities=configured or default_keys(),
        identities_only=options.get("identitiesonly", "no").lower() == "yes",
        known_hosts=(
            *([_path(file) for file in files if file != "none"] if files else [folder / "known_hosts"]),
            GLOBAL_KNOWN_HOSTS,
        ),
        proxy_command=command,
    )


def _port(text: str, where: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= addresses.MAX_PORT:
        raise InvalidRequest("not a port", where=where, got=repr(text), expected="1 to 65535")
    return int(text)


def _path(name: str) -> Path:
    """A path of the file: `~` is the home folder, and what is relative is so to it."""
    return Path.home() / Path(os.path.expanduser(name))  # noqa: PTH111 - Path.expanduser fails on unknown users


def _with_includes(path: Path, depth: int = 0) -> str:
    """The text of a configuration with its Include lines replaced by what they name.

    paramiko leaves Include out without a word. After an included file the block that included it goes on.
    """
    if depth > MAX_INCLUDES:
        raise InvalidRequest("Include goes deeper than OpenSSH allows", where=str(path))
    try:
        text = path.read_text()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as e:
        raise FileMissing("the SSH configuration cannot be read", where=str(path), got=str(e)) from e
    lines: list[str] = []
    block = "Host *"
    for line in text.splitlines():
        keyword, _, rest = line.strip().replace("=", " ", 1).partition(" ")
        if keyword.lower() in {"host", "match"}:
            block = line
        if keyword.lower() != "include":
            lines.append(line)
            continue
        for pattern in shlex.split(rest):
            whole = Path.home() / ".ssh" / os.path.expanduser(pattern)  # noqa: PTH111 - as above
            for name in sorted(glob.glob(str(whole))):  # noqa: PTH207 - the pattern may be absolute
                lines += [_with_includes(Path(name), depth + 1), block]
    return "\n".join(lines) + "\n"
