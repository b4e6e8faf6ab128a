"""Ask the local network who offers SSH. A hint only: nothing found is trusted, contacted or registered."""

from __future__ import annotations

import re
import secrets
import selectors
import shlex
import socket
import struct
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack

from attrs import frozen

from device_agent.errors import DiscoveryError, ProtocolError
from edge_sdk.devices import addresses, mdns
from edge_sdk.devices.inventory import Entry
from edge_sdk.devices.mdns import Facts, Host

ROUND_S = 1.0  # between two rounds of questions; RFC 6762, 5.2 wants at least one second
MAX_DATAGRAM_BYTES = 9000  # RFC 6762, 17
MAX_FACTS = 2000  # of all answers; a network that says more is lying
SSH_PORT = 22


@frozen
class Found:
    """A host that answered, and what to do with it.

    Args:
        name: that it could be registered under.
        host: that answered.
        registered: the name it is registered under, None if it is not.
        command: the command that registers it.
    """

    name: str
    host: Host
    registered: str | None
    command: str


@frozen
class Discovery:
    """What came of asking.

    Args:
        found: the hosts that answered.
        ignored: how many datagrams made no sense or were no answers.
        interfaces: that the question was sent on.
    """

    found: tuple[Found, ...]
    ignored: int
    interfaces: tuple[str, ...]


def discover(timeout_s: float, entries: Mapping[str, Entry]) -> Discovery:
    """Ask on every interface, and collect the answers until the time is up.

    Args:
        timeout_s: how long to wait for answers, in seconds.
        entries: the registered devices.

    Raises:
        DiscoveryError: the question cannot be sent on any interface.
    """
    with ExitStack() as stack, selectors.DefaultSelector() as selector:
        interfaces = _open(stack, selector)
        if not interfaces:
            raise DiscoveryError(
                "no network interface can send to the local network",
                next_step="Connect this machine to the device's network, or add the device by its address: "
                "`edge devices add NAME user@host --target BOARD`.",
            )
        facts, ignored = _ask(selector, timeout_s)
    hosts = mdns.merge(facts)
    return Discovery(tuple(described(host, entries) for host in hosts), ignored, tuple(interfaces))


def described(host: Host, entries: Mapping[str, Entry]) -> Found:
    """A host with the name it may have, and whether it is registered already."""
    name = suggested_name(host.host, entries)
    address = f"USER@{host.host}" + ("" if host.port == SSH_PORT else f":{host.port}")
    words = (name, address, "--target", "BOARD")
    command = f"edge devices add {' '.join(map(shlex.quote, words))}"
    return Found(name, host, _registered(host, entries.values()), command)


def suggested_name(host: str, taken: Mapping[str, Entry]) -> str:
    """A name that a device may have, made of a host's, that none has yet."""
    stem = re.sub(r"[^a-z0-9-]", "-", host.lower().removesuffix(".local"))[:60].lstrip("-") or "device"
    names = (stem, *(f"{stem}-{number}" for number in range(2, len(taken) + 4)))
    return next(name for name in names if name not in taken and name not in addresses.ADDRESSES)


def _registered(host: Host, entries: Iterable[Entry]) -> str | None:
    """The first device whose address is the host, or one of its addresses, at its port."""
    known = {host.host, host.host.removesuffix(".local"), *host.addresses}
    for entry in entries:
        place = addresses.parse(entry.address)
        if place.host.lower().removesuffix(".") in known and (place.port or SSH_PORT) == host.port:
            return entry.name
    return None


def _ask(selector: selectors.BaseSelector, timeout_s: float) -> tuple[Facts, int]:
    """What is answered, and how much was ignored."""
    message_id = 1 + secrets.randbelow(0xFFFF)
    facts, ignored = Facts(), 0
    deadline = time.monotonic() + timeout_s
    again = time.monotonic()
    while (now := time.monotonic()) < deadline:
        if now >= again:
            _send(selector, mdns.query(message_id, mdns.questions(facts)))
            again = now + ROUND_S
        for key, _ in selector.select(max(0.0, min(again, deadline) - time.monotonic())):
            try:
                facts |= _received(key.fileobj, message_id)  # type: ignore[arg-type] # only sockets are in it
            except ProtocolError:
                ignored += 1
            if len(facts.instances) + len(facts.places) + len(facts.addresses) > MAX_FACTS:
                return facts, ignored
    return facts, ignored


def _received(sock: socket.socket, message_id: int) -> Facts:
    try:
        datagram, sender = sock.recvfrom(MAX_DATAGRAM_BYTES)
    except OSError as e:  # an ICMP error of an earlier question
        raise ProtocolError("no answer", got=str(e)) from e
    if sender[1] != mdns.PORT:  # RFC 6762, 6: others must be ignored
        raise ProtocolError("not from the port of multicast DNS", got=str(sender[1]))
    return mdns.parse(datagram, message_id)


def _send(selector: selectors.BaseSelector, datagram: bytes) -> list[str]:
    """Send on every socket; the names of the interfaces that took it."""
    sent = []
    for key in list(selector.get_map().values()):
        interface, place = key.data
        try:
            key.fileobj.sendto(datagram, place)  # type: ignore[union-attr] # only sockets are in it
        except OSError:  # an interface without an address, or one that went away
            continue
        sent.append(interface)
    return sent


def _open(stack: ExitStack, selector: selectors.BaseSelector) -> list[str]:
    """A socket for each interface and family that can be asked on; the interfaces' names."""
    usable = []
    for index, interface in socket.if_nameindex():
        for sock, place in _sockets(index):
            stack.enter_context(sock)
            try:
                sock.sendto(mdns.query(1, ()), place)  # a query without questions: answered by nobody
            except OSError:
                continue
            selector.register(sock, selectors.EVENT_READ, (interface, place))
            usable.append(interface)
    return list(dict.fromkeys(usable))


def _sockets(index: int) -> Iterator[tuple[socket.socket, tuple[str, int] | tuple[str, int, int, int]]]:
    """The sockets of an interface, and where to send what they ask."""
    v4 = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    any_address = bytes(4)  # struct ip_mreqn: group, own address, interface
    v4.setsockopt(
        socket.IPPROTO_IP, socket.IP_MULTICAST_IF, struct.pack("=4s4si", any_address, any_address, index)
    )
    yield v4, (mdns.GROUP_V4, mdns.PORT)
    if socket.has_ipv6:
        v6 = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        v6.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
        yield v6, (mdns.GROUP_V6, mdns.PORT, 0, index)
