"""Multicast DNS as bytes: the question that discovery asks, and what a datagram says. Opens no socket.

A one-shot query as of RFC 6762, 5.1 and 6.7: an ordinary DNS query from a port of its own, answered by
unicast with the query's ID. What comes back was written by whoever is on the network: names that could be no
host's are left out.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable
from typing import TYPE_CHECKING

from attrs import field, frozen

from device_agent.errors import ProtocolError

if TYPE_CHECKING:
    import dns.wire

GROUP_V4, GROUP_V6, PORT = "224.0.0.251", "ff02::fb", 5353
SERVICES = ("_ssh._tcp.local.", "_sftp-ssh._tcp.local.", "_workstation._tcp.local.")
WELL_KNOWN = "raspberrypi.local."  # a fresh Raspberry Pi OS answers to it and may announce no service
A, PTR, AAAA, SRV = 1, 12, 28, 33
IN = 1
MAX_RECORDS = 200  # in a datagram; the answers to these questions have a dozen
_CLASS = 0x7FFF  # RFC 6762, 10.2: the highest bit of the class is the cache-flush bit
_RESPONSE, _OPCODE, _RCODE = 0x8000, 0x7800, 0x000F
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.local\.")


@frozen
class Facts:
    """What a datagram says.

    Args:
        instances: service type -> instance name, for each PTR record.
        places: instance name -> host name and port, for each SRV record.
        addresses: host name -> address, for each A and AAAA record.
    """

    instances: frozenset[tuple[str, str]] = field(default=frozenset())
    places: frozenset[tuple[str, tuple[str, int]]] = field(default=frozenset())
    addresses: frozenset[tuple[str, str]] = field(default=frozenset())

    def __or__(self, other: Facts) -> Facts:
        return Facts(
            self.instances | other.instances, self.places | other.places, self.addresses | other.addresses
        )


@frozen
class Host:
    """A host that answered: `raspberrypi.local`, its addresses, its SSH port, the services it announces."""

    host: str
    addresses: tuple[str, ...]
    port: int
    services: tuple[str, ...]


def query(message_id: int, questions: Iterable[tuple[str, int]]) -> bytes:
    """A query.

    Args:
        message_id: 1 to 65535.
        questions: name with its last dot, and type.
    """
    import dns.name

    asked = [
        dns.name.from_text(name).to_digestable() + struct.pack("!HH", kind, IN) for name, kind in questions
    ]
    return struct.pack("!6H", message_id, 0, len(asked), 0, 0, 0) + b"".join(asked)


def questions(known: Facts) -> list[tuple[str, int]]:
    """What to ask next: the services, the well-known host, and what the answers so far leave open."""
    places = dict(known.places)
    resolved = {host for host, _ in known.addresses}
    unplaced = sorted({instance for _, instance in known.instances if instance not in places})
    unresolved = sorted({host for host, _ in places.values() if host not in resolved})
    return [
        *((service, PTR) for service in SERVICES),
        *((WELL_KNOWN, kind) for kind in (A, AAAA)),
        *((instance, SRV) for instance in unplaced[:16]),
        *((host, kind) for host in unresolved[:16] for kind in (A, AAAA)),
    ]


def parse(datagram: bytes, message_id: int) -> Facts:
    """What an answer to our query says.

    Raises:
        ProtocolError: it is no answer to it, or makes no sense.
    """
    import dns.exception
    import dns.name
    import dns.wire

    try:
        parser = dns.wire.Parser(datagram)
        number, flags, asked, *counts = parser.get_struct("!6H")
        if number != message_id or not flags & _RESPONSE or flags & (_OPCODE | _RCODE):
            raise ProtocolError("not an answer to our question")
        if asked + sum(counts) > MAX_RECORDS:
            raise ProtocolError(
                "too many records", got=str(asked + sum(counts)), expected=f"<= {MAX_RECORDS}"
            )
        for _ in range(asked):
            dns.name.from_wire_parser(parser)
            parser.get_struct("!HH")
        facts = Facts()
        for _ in range(sum(counts)):
            facts |= _record(parser)
    except (dns.exception.DNSException, struct.error, UnicodeError, ValueError) as e:
        if isinstance(e, ProtocolError):
            raise
        raise ProtocolError("a malformed answer", got=type(e).__name__) from e
    return facts


def _record(parser: dns.wire.Parser) -> Facts:
    import dns.ipv4
    import dns.ipv6
    import dns.name

    name = dns.name.from_wire_parser(parser).to_text().lower()
    kind, of_class, _ttl, length = parser.get_struct("!HHIH")
    with parser.restrict_to(length):
        if of_class & _CLASS != IN or kind not in (A, AAAA, PTR, SRV):
            parser.get_remaining()
            return Facts()
        if kind == PTR:
            instance = dns.name.from_wire_parser(parser).to_text()
            return Facts(instances=frozenset({(name, instance)} if name in SERVICES else ()))
        if kind == SRV:
            _priority, _weight, port = parser.get_struct("!HHH")
            host = dns.name.from_wire_parser(parser).to_text().lower()
            good = _HOST.fullmatch(host) and port
            return Facts(places=frozenset({(name, (host, port))} if good else ()))
        read = dns.ipv4.inet_ntoa if kind == A else dns.ipv6.inet_ntoa
        address = read(parser.get_remaining())
        return Facts(addresses=frozenset({(name, address)} if _HOST.fullmatch(name) else ()))


def merge(facts: Facts) -> list[Host]:
    """One entry for each host that has an address, by name."""
    places = {instance.lower(): place for instance, place in facts.places}
    services: dict[str, dict[str, int]] = {}
    for service, instance in facts.instances:
        if instance.lower() in places:
            host, port = places[instance.lower()]
            services.setdefault(host, {})[service.removesuffix(".local.")] = port
    addresses: dict[str, set[str]] = {}
    for host, address in facts.addresses:
        addresses.setdefault(host, set()).add(address)
    return [
        Host(
            host.removesuffix("."),
            tuple(sorted(found, key=lambda address: (":" in address, address))),
            next((port for name, port in sorted(services.get(host, {}).items()) if "ssh" in name), 22),
            tuple(sorted(services.get(host, {}))),
        )
        for host, found in sorted(addresses.items())
        if host in services or host == WELL_KNOWN
    ]
