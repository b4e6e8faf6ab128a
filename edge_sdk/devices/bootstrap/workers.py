"""The systemd units that workers run in: a socket of the agent's, and a sandbox for each connection to it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edge_sdk.devices.bootstrap.probe import Accelerator

SOCKET = "edge-agent-worker.socket"
_TEMPLATE = "edge-agent-worker@.service"
_SLICE = "edge-agent-workers.slice"
NAMES = (SOCKET, _TEMPLATE, _SLICE)
STOPPED = (SOCKET, _SLICE)  # the slice takes every worker with it
MOST = 16  # connections, thus workers, at once


def units(
    launcher: str,
    user: str,
    socket: str,
    *,
    protect_home: str,
    accelerators: Sequence[Accelerator] = (),
) -> dict[str, str]:
    """The units by name.

    Not set: MemoryDenyWriteExecute, because runtimes compile at run time; PrivateDevices, because an
    accelerator is a device: instead none is allowed but these accelerators and those that a drop-in names.

    Args:
        launcher: the command of the agent.
        user: the agent's own, who alone may have workers made.
        socket: its path.
        protect_home: as for the agent.
        accelerators: that workers may open, as members of the groups that may.
    """
    return {
        SOCKET: _SOCKET_TEXT.format(socket=socket, user=user, most=MOST),
        _TEMPLATE: _TEMPLATE_TEXT.format(
            launcher=launcher,
            protect_home=protect_home,
            slice=_SLICE,
            devices="".join(f"{line}\n" for line in _devices(accelerators)),
        ),
        _SLICE: _SLICE_TEXT,
    }


def _devices(accelerators: Sequence[Accelerator]) -> Iterator[str]:
    """The lines of a unit that let it open accelerators, each by its node: a class holds displays too."""
    for one in accelerators:
        yield f"DeviceAllow={one.path} rw"
    groups = sorted({one.worker_group for one in accelerators if one.worker_group})
    if groups:
        yield f"SupplementaryGroups={' '.join(groups)}"


_SOCKET_TEXT = """\
[Unit]
Description=Workers of the edge agent

[Socket]
ListenStream={socket}
SocketUser={user}
SocketGroup={user}
SocketMode=0600
Accept=yes
MaxConnections={most}
RemoveOnStop=yes
TriggerLimitIntervalSec=0
"""
# OOMPolicy=continue: the keeper outlives its worker and says what it died of
# LimitFSIZE: before it meets a model a worker sets hard and soft to this, or to what its cache may come to
# WatchdogSec: a worker may stop its keeper, which is of the same user; systemd then ends both
_TEMPLATE_TEXT = """\
[Unit]
Description=Worker of the edge agent
CollectMode=inactive-or-failed
StartLimitIntervalSec=0

[Service]
ExecStart={launcher} worker
StandardInput=socket
StandardOutput=null
StandardError=journal
Slice={slice}
DynamicUser=yes
User=ew-%i
Restart=no
KillMode=control-group
TimeoutStopSec=2
SendSIGKILL=yes
OOMPolicy=continue
NotifyAccess=main
WatchdogSec=30
TimeoutAbortSec=2
UMask=0077
MemoryAccounting=yes
MemoryMax=50%
MemorySwapMax=0
TasksMax=128
LimitCORE=0
LimitNOFILE=256
LimitFSIZE=16M:infinity
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
PrivateNetwork=yes
IPAddressDeny=any
RestrictAddressFamilies=AF_UNIX
PrivateTmp=yes
PrivateIPC=yes
DevicePolicy=closed
{devices}ProtectSystem=strict
ProtectHome={protect_home}
ProtectProc=default
ProtectClock=yes
ProtectHostname=yes
ProtectControlGroups=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
InaccessiblePaths=-/run/dbus -/run/systemd/private -/run/edge-agent-worker.sock
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RemoveIPC=yes
KeyringMode=private
LockPersonality=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallFilter=setrlimit prlimit64 sched_setaffinity sched_setscheduler capset
SystemCallErrorNumber=EPERM
"""
_SLICE_TEXT = """\
[Unit]
Description=All workers of the edge agent

[Slice]
MemoryMax=75%
MemorySwapMax=0
CPUWeight=50
"""
