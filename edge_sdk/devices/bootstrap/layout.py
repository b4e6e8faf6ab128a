"""Where an installation puts what, for each way of keeping an agent running, and the files it writes."""

from __future__ import annotations

import shlex
from collections.abc import Collection

from attrs import frozen

from device_agent.device_nodes import OPENVINO_PCI_VENDOR
from edge_sdk.devices.bootstrap import workers
from edge_sdk.devices.bootstrap.probe import SYSTEM_STATE, Accelerator, Facts, script

SERVICES = ("system", "user", "plain")
SERVICE_USER = "edge-agent"
UNIT = "edge-agent.service"
UNITS = "/etc/systemd/system"
WORKER_SOCKET = "/run/edge-agent-worker.sock"


@frozen
class Layout:
    """The places of one installation on a device; all absolute."""

    service: str  # system: a systemd unit; user: a unit of the user's own; plain: our supervisor
    root: str
    state: str
    launcher: str
    unit: str | None
    user: str | None  # the agent's own user; None: whoever installs it
    staging: str  # what is copied there is unpacked from here; gone afterwards
    accelerators: tuple[Accelerator, ...] = ()  # those that a worker's runtime may use

    @property
    def supervise(self) -> str | None:
        """The supervisor's script, where there is one."""
        return f"{self.root}/supervise" if self.service == "plain" else None

    @property
    def worker_units(self) -> tuple[str, ...]:
        """The units of the workers, by path, where systemd keeps them; the socket is the first."""
        return tuple(f"{UNITS}/{name}" for name in workers.NAMES) if self.service == "system" else ()

    @property
    def parents(self) -> tuple[str, ...]:
        """The folders under the home that installing may have to make, outermost first."""
        if self.service == "system":
            return ()
        home = self.staging.rpartition("/")[0]
        names = [".local", ".local/bin", ".local/share", ".local/state"]
        if self.service == "user":
            names += [".config", ".config/systemd", ".config/systemd/user"]
            names += [".config/systemd/user/default.target.wants"]
        return tuple(f"{home}/{name}" for name in names)


def layout(facts: Facts, service: str, runtimes: Collection[str] = ()) -> Layout:
    """The places for a service on a device.

    Args:
        facts: of the device.
        service: one of SERVICES.
        runtimes: those that it gets, or has: what they can use, workers may open.
    """
    usable = tuple(one for one in facts.accelerators if one.vendor == OPENVINO_PCI_VENDOR)
    accelerators = usable if "openvino" in runtimes else ()
    staging = f"{facts.home}/.edge-agent-staging"
    if service == "system":
        return Layout(
            service,
            "/opt/edge-agent",
            SYSTEM_STATE,
            "/usr/local/bin/edge-agent",
            f"{UNITS}/{UNIT}",
            SERVICE_USER,
            staging,
            accelerators,
        )
    local = f"{facts.home}/.local"
    return Layout(
        service,
        f"{local}/share/edge-agent",
        f"{facts.state_home or local + '/state'}/edge-agent",
        f"{local}/bin/edge-agent",
        f"{facts.home}/.config/systemd/user/{UNIT}" if service == "user" else None,
        None,
        staging,
        accelerators,
    )


def worker_units(where: Layout, python: str) -> dict[str, str]:
    """The units of the workers by path; none where systemd does not keep the agent as root's."""
    if where.user is None:
        return {}
    texts = workers.units(
        where.launcher,
        where.user,
        WORKER_SOCKET,
        protect_home=_protect_home(python),
        accelerators=where.accelerators,
    )
    return {f"{UNITS}/{name}": text for name, text in texts.items()}


def files(where: Layout, python: str) -> dict[str, str]:
    """What an installation writes and upgrades leave alone, by path: launcher, units, supervisor."""
    found = {where.launcher: launcher(where), **worker_units(where, python)}
    if where.unit is not None:
        found[where.unit] = unit(where, python)
    if where.supervise is not None:
        found[where.supervise] = supervisor(where)
    return found


def _protect_home(python: str) -> str:
    return "read-only" if python.startswith(("/home/", "/root/")) else "yes"


def launcher(where: Layout) -> str:
    """The command `edge-agent` on the device."""
    values = {"root": where.root, "state": where.state, "user": where.user or ""}
    return _shell(values | {"supervise": where.supervise or ""}, "launcher.sh")


def supervisor(where: Layout) -> str:
    """The script that keeps the agent running where no init system does."""
    values = {"root": where.root, "state": where.state, "launcher": where.launcher}
    return _shell(values, "supervise.sh")


def _shell(values: dict[str, str], name: str) -> str:
    head = "".join(f"{key}={shlex.quote(value)}\n" for key, value in values.items())
    return f"#!/bin/sh\n{head}\n{script(name)}"


def unit(where: Layout, python: str) -> str:
    """The systemd unit of an installation.

    Not set: MemoryDenyWriteExecute, because runtimes compile at run time; PrivateDevices, because an
    accelerator is a device; a limit on memory, because that belongs to each worker.

    Args:
        where: with a unit.
        python: the interpreter, which must stay visible.
    """
    return (
        _SYSTEM.format(
            launcher=where.launcher,
            user=where.user,
            state=where.state,
            protect_home=_protect_home(python),
            workers=WORKER_SOCKET,
            socket=workers.SOCKET,
        )
        if where.service == "system"
        else _USER.format(launcher=where.launcher.replace("%", "%%"))
    )


# NotifyAccess=all: while a new release is on trial, the launcher is the agent's parent.
# Restart=always: also after a clean end, so that a device is never without its agent.
_COMMON = """\
Type=notify
NotifyAccess=all
Restart=always
RestartSec=2
TimeoutStartSec=180
TimeoutStopSec=30
WatchdogSec=60
KillMode=mixed
NoNewPrivileges=yes
UMask=0077
"""
_SYSTEM = (
    """\
[Unit]
Description=Edge agent: keeps models on this device and runs them
StartLimitIntervalSec=0
Wants={socket}
After={socket}

[Service]
ExecStart={launcher} serve
Environment=EDGE_AGENT_WORKER_SOCKET={workers}
User={user}
Group={user}
StateDirectory=edge-agent
StateDirectoryMode=0700
"""
    + _COMMON
    + """\
ProtectSystem=strict
ProtectHome={protect_home}
PrivateTmp=yes
PrivateNetwork=yes
RestrictAddressFamilies=AF_UNIX
RestrictNamespaces=yes
RestrictSUIDSGID=yes
RestrictRealtime=yes
LockPersonality=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectHostname=yes
SystemCallArchitectures=native
CapabilityBoundingSet=

[Install]
WantedBy=multi-user.target
"""
)
# a user's manager cannot change what the file system looks like; it starts no unit that asks for it
_USER = (
    """\
[Unit]
Description=Edge agent: keeps models on this device and runs them
StartLimitIntervalSec=0

[Service]
ExecStart={launcher} serve
"""
    + _COMMON
    + """\
RestrictAddressFamilies=AF_UNIX
RestrictSUIDSGID=yes
RestrictRealtime=yes
LockPersonality=yes
SystemCallArchitectures=native

[Install]
WantedBy=default.target
"""
)
