"""What one small script finds out about a device: `Facts`. It needs nothing there but a POSIX shell."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources

from attrs import frozen

from device_agent.errors import DeviceError
from device_agent.system import userland_machine
from edge_sdk.devices.remote import Remote

SYSTEM_STATE = "/var/lib/edge-agent"
_NO_GROUPS = ("root", "UNKNOWN", "")  # that a worker shall not be of, or that the device has no name for
_DPKG_BITS = {"arm64": 64, "amd64": 64, "armhf": 32, "armel": 32, "i386": 32}


@frozen
class Python:
    """A Python 3 on the device."""

    version: tuple[int, int, int]
    word_bits: int
    modules: frozenset[str]  # of venv, ensurepip, pip, numpy: those it has
    path: str  # of the interpreter itself, not of a virtual environment

    @property
    def series(self) -> tuple[int, int]:
        """Major and minor version."""
        return self.version[:2]


@frozen
class Installation:
    """An agent that is installed already."""

    service: str  # system, user or plain
    root: str
    current: str  # the release that runs; empty where there is none
    releases: tuple[str, ...]
    made: tuple[str, ...]  # the folders that installing it made, outermost first
    wheels: tuple[str, ...] = ()  # of the release that runs, by their file names


@frozen
class Accelerator:
    """A device node of an accelerator."""

    path: str
    vendor: str  # as the kernel has it: 0x8086
    group: str
    mode: int
    openable: bool  # for whoever is connected, to read and write

    @property
    def worker_group(self) -> str | None:
        """The group that a worker must be of to open it; empty: anybody may, None: only its owner may."""
        if self.mode & 0o006 == 0o006:
            return ""
        return self.group if self.mode & 0o060 == 0o060 and self.group not in _NO_GROUPS else None


@frozen
class Facts:
    """A device before anything is changed on it."""

    system: str
    kernel_machine: str
    word_bits: int  # of the userland
    libc: str  # glibc, musl, or empty where it is neither
    libc_version: tuple[int, int] | None
    user: str
    uid: int
    home: str
    state_home: str  # XDG_STATE_HOME; empty where it is not set
    ram_bytes: int
    home_free_bytes: int
    opt_free_bytes: int
    memory_cgroup: bool
    systemd: bool
    user_manager: bool
    sudo: bool
    pythons: tuple[Python, ...]  # the one called `python3` first
    missing: frozenset[str]  # folders under the home that an installation would have to make
    installed: tuple[Installation, ...]
    states: frozenset[str]  # state folders that are there, of an installation or of an agent on demand
    kept: tuple[Installation, ...]  # without a release: what `uninstall --keep-models` left
    foreign: frozenset[str]  # commands `edge-agent` that are not our launcher
    accelerators: tuple[Accelerator, ...] = ()

    @property
    def machine(self) -> str:
        """The architecture of the userland: a 64-bit kernel may carry a 32-bit one."""
        return userland_machine(self.kernel_machine, self.word_bits)

    @property
    def root_rights(self) -> bool:
        """Whether commands can be run as root."""
        return self.uid == 0 or self.sudo


@cache
def script(name: str) -> str:
    """A shell script of this package."""
    return (resources.files("edge_sdk.devices.bootstrap") / "scripts" / name).read_text()


def ask(remote: Remote) -> Facts:
    """Run the script on a device.

    Raises:
        AgentUnreachable: the device cannot be reached.
        DeviceError: it has no POSIX shell, or the script did not come to its end.
    """
    done = remote.run(["sh", "-s"], stdin=script("probe.sh").encode(), timeout_s=120.0)
    text = done.stdout.decode(errors="replace")
    if "end=yes" not in text.splitlines():
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise DeviceError(
            "the device cannot be examined",
            where=remote.address,
            got=f"status {done.status}: {said[-1] if said else text[-200:]}",
            expected="a Linux system with a POSIX shell",
        )
    return parse(text)


def parse(text: str) -> Facts:
    """The facts in what the script printed; what it does not say is empty, zero or no."""
    rows: dict[str, list[str]] = {}
    for line in text.splitlines():
        key, found, value = line.partition("=")
        if found:
            rows.setdefault(key, []).append(value)
    one = {key: values[-1] for key, values in rows.items()}
    pythons = _pythons(rows.get("python", ()))
    libc, _, version = one.get("libc", "").partition(" ")
    return Facts(
        system=one.get("system", ""),
        kernel_machine=one.get("machine", ""),
        word_bits=_word_bits(one, pythons),
        libc=libc,
        libc_version=_series(version),
        user=one.get("user", ""),
        uid=_number(one, "uid", -1),
        home=one.get("home", ""),
        state_home=one.get("state_home", ""),
        ram_bytes=_number(one, "ram_kib") * 1024,
        home_free_bytes=_number(one, "home_free_kib") * 1024,
        opt_free_bytes=_number(one, "opt_free_kib") * 1024,
        memory_cgroup=one.get("memory_cgroup") == "yes",
        systemd=one.get("systemd") == "yes",
        user_manager=one.get("user_manager") == "yes",
        sudo=one.get("sudo") == "yes",
        pythons=pythons,
        missing=frozenset(rows.get("missing", ())),
        installed=_installations(rows),
        states=frozenset(rows.get("state", ())),
        kept=_kept(rows),
        foreign=frozenset(rows.get("foreign", ())),
        accelerators=tuple(map(_accelerator, rows.get("accelerator", ()))),
    )


def _pythons(lines: Sequence[str]) -> tuple[Python, ...]:
    found: dict[str, Python] = {}
    for line in lines:
        version, bits, modules, path = line.split("|", 3)
        numbers = [int(part) for part in version.split(".")]
        python = Python((numbers[0], numbers[1], numbers[2]), int(bits), frozenset(modules.split()), path)
        found.setdefault(path, python)
    return tuple(found.values())


def _word_bits(one: Mapping[str, str], pythons: Sequence[Python]) -> int:
    """Of the userland: what its Python says is what its wheels must be; then its C library, its packages."""
    if pythons:
        return pythons[0].word_bits
    return _number(one, "word_bits") or _DPKG_BITS.get(one.get("dpkg", ""), 64)


def _accelerator(line: str) -> Accelerator:
    path, vendor, openable, mode, group = line.split("|", 4)
    return Accelerator(path, vendor, group, int(mode or "0", 8), openable == "yes")


def _wheels(description: str) -> tuple[str, ...]:
    """The wheels that a release.json names; none where it makes no sense."""
    try:
        found = json.loads(description)["wheels"]
    except (ValueError, KeyError, TypeError):
        return ()
    return tuple(sorted(map(str, found)))


def _installations(rows: Mapping[str, Sequence[str]]) -> tuple[Installation, ...]:
    found = []
    described = {
        where: text for where, _, text in (one.partition("|") for one in rows.get("description", ()))
    }
    for line in rows.get("installed", ()):
        service, current, root = line.split("|", 2)
        pairs = [text.rpartition("|") for text in rows.get("release", ())]
        releases = tuple(release for where, _, release in pairs if where == root)
        made = () if service == "system" else tuple(rows.get("made", ()))
        wheels = _wheels(described.get(root, ""))
        found.append(Installation(service, root, current, releases, made, wheels))
    return tuple(found)


def _kept(rows: Mapping[str, Sequence[str]]) -> tuple[Installation, ...]:
    running = {line.split("|", 1)[0] for line in rows.get("installed", ())}
    made = tuple(rows.get("made", ()))
    found = [Installation(service, "", "", (), made) for service in rows.get("kept", ())]
    # nobody but an installation has this one; its user alone may look into it
    if SYSTEM_STATE in rows.get("state", ()):
        found.append(Installation("system", "", "", (), ()))
    return tuple(one for one in found if one.service not in running)


def _number(one: Mapping[str, str], key: str, otherwise: int = 0) -> int:
    text = one.get(key, "")
    return int(text) if text.isdecimal() else otherwise


def _series(version: str) -> tuple[int, int] | None:
    major, _, minor = version.partition(".")
    minor = minor.partition(".")[0]
    return (int(major), int(minor)) if major.isdecimal() and minor.isdecimal() else None
