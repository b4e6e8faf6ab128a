"""Who is at the other end of the agent's socket, as the kernel says it (unix(7), SO_PEERCRED)."""

from __future__ import annotations

import grp
import os
import socket
import struct
from collections.abc import Iterable

from attrs import frozen

from device_agent import log
from device_agent.errors import InvalidRequest, PeerRefused

_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid
_SO_PEERGROUPS = 59  # since Linux 4.13; Python has no name for it
_GROUPS_BYTES = 1024  # the most that Python takes: 256 groups
_ROOT = 0


@frozen
class Peer:
    """A connected process: its user, and every group it had when it connected."""

    pid: int
    uid: int
    groups: frozenset[int]


def peer_of(connection: socket.socket) -> Peer:
    """Who connected a Unix socket."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, gid = _CREDENTIALS.unpack(raw)
    try:
        listed = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _GROUPS_BYTES)
    except OSError:  # an older kernel, or more groups than that: the first one counts alone
        listed = b""
    others: Iterable[tuple[int]] = struct.iter_unpack("I", listed)
    return Peer(pid, uid, frozenset({gid, *(group for (group,) in others)}))


def refusal(peer: Peer, *, own_uid: int, group: int | None) -> PeerRefused | None:
    """Why a peer may not talk to the agent; None for root, the agent's own user and the group's members."""
    if peer.uid in (_ROOT, own_uid) or (group is not None and group in peer.groups):
        return None
    return PeerRefused(
        "this user may not talk to the agent",
        got=f"user {peer.uid}",
        expected=f"user {own_uid}, root" + (f" or a member of group {group}" if group is not None else ""),
        next_step="`edge-agent serve --group` lets the members of a group in.",
    )


def check(connection: socket.socket, group: int | None) -> PeerRefused | None:
    """Look at who connected, and log who may not; see `refusal`."""
    peer = peer_of(connection)
    refused = refusal(peer, own_uid=os.getuid(), group=group)
    if refused is not None:
        log.event("peer refused", pid=peer.pid, uid=peer.uid, groups=sorted(peer.groups)[:16])
    return refused


def group_id(name: str) -> int:
    """The number of a group; InvalidRequest where there is none of that name."""
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError as e:
        raise InvalidRequest("no such group", where="--group", got=name[:80]) from e
