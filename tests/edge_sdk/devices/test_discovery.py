"""Discovery by multicast DNS: datagrams in, hosts out."""

from __future__ import annotations

import os
import random
import socket
import struct

import dns.message
import pytest

from device_agent.errors import DiscoveryError, ProtocolError
from edge_sdk.devices import discovery, mdns
from edge_sdk.devices.inventory import Entry
from edge_sdk.devices.mdns import Facts, Host
from tests.mdns import FRESH, PI, answer


def test_a_query_is_plain_dns() -> None:
    """Any DNS implementation reads our question, and it has an ID of its own."""
    read = dns.message.from_wire(mdns.query(77, mdns.questions(Facts())))
    assert (77, 0) == (read.id, read.flags)
    assert [
        "_ssh._tcp.local. IN PTR",
        "_sftp-ssh._tcp.local. IN PTR",
        "_workstation._tcp.local. IN PTR",
        "raspberrypi.local. IN A",
        "raspberrypi.local. IN AAAA",
    ] == [str(question) for question in read.question]


def test_answers_are_merged_by_host() -> None:
    """Several services of a host are one entry, with the port of its SSH service."""
    query = mdns.query(7, mdns.questions(Facts()))
    facts = mdns.parse(answer(query, PI), 7) | mdns.parse(answer(query, FRESH), 7)
    assert [
        Host("pi-one.local", ("192.0.2.7", "2001:db8::7"), 2222, ("_ssh._tcp", "_workstation._tcp")),
        Host("raspberrypi.local", ("192.0.2.8",), 22, ()),
    ] == mdns.merge(facts)


def test_the_cache_flush_bit_is_no_class_of_its_own() -> None:
    """Responders that set it in answers to a one-shot query are understood."""
    wire = bytearray(answer(mdns.query(7, ()), FRESH))
    place = wire.index(struct.pack("!HH", mdns.A, mdns.IN))
    wire[place + 2] |= 0x80
    assert {("raspberrypi.local.", "192.0.2.8")} == mdns.parse(bytes(wire), 7).addresses


def test_what_is_open_is_asked_for() -> None:
    """An instance without a place, and a host without an address, are in the next question."""
    query = mdns.query(7, ())
    only = mdns.parse(answer(query, PI[:1]), 7)
    assert (r"pi\032one._ssh._tcp.local.", mdns.SRV) in mdns.questions(only)
    placed = mdns.parse(answer(query, PI[:2]), 7)
    assert ("pi-one.local.", mdns.AAAA) in mdns.questions(placed)
    assert 5 == len(mdns.questions(mdns.parse(answer(query, PI), 7)))
    assert [] == mdns.merge(placed)


HOSTILE = [
    ("_ssh._tcp.local.", "PTR", "x._ssh._tcp.local."),
    ("x._ssh._tcp.local.", "SRV", r"0 0 22 a\;reboot\027[2J.local."),
    (r"a\;reboot\027[2J.local.", "A", "192.0.2.9"),
    ("raspberrypi.local.evil.example.", "A", "192.0.2.9"),
    ("-oproxycommand.local.", "A", "192.0.2.9"),
]


def test_names_that_could_be_no_hosts_are_left_out() -> None:
    """Nothing that a shell or a terminal would act on comes through."""
    facts = mdns.parse(answer(mdns.query(7, ()), tuple(HOSTILE)), 7)
    assert [] == mdns.merge(facts)
    assert (frozenset(), frozenset()) == (facts.places, facts.addresses)


def test_a_datagram_that_is_no_answer_is_refused() -> None:
    """Queries, errors, answers to somebody else and cut ones are ProtocolErrors."""
    query = mdns.query(7, mdns.questions(Facts()))
    good = answer(query, PI)
    many = struct.pack("!6H", 7, 0x8400, 0, 65535, 0, 0)
    bad = [query, b"", b"\0", good[:40], answer(query, PI, 3), b"\0\x08" + good[2:], many, good[:-1]]
    for datagram in bad:
        with pytest.raises(ProtocolError):
            mdns.parse(datagram, 7)


def test_no_datagram_breaks_the_parser() -> None:
    """Whatever bytes arrive, the parser gives facts or a ProtocolError; EDGE_FUZZ sets how many."""
    count = int(os.environ.get("EDGE_FUZZ", "3000"))
    chance = random.Random(5353)
    good = answer(mdns.query(7, mdns.questions(Facts())), PI + FRESH)
    refused = 0
    for number in range(count):
        wire = bytearray(good if number % 4 else good[:12] + chance.randbytes(chance.randrange(200)))
        for _ in range(chance.randrange(1, 12)):
            wire[chance.randrange(2, len(wire))] = chance.choice([0, 1, 0xC0, 0xFF, chance.randrange(256)])
        cut = bytes(wire[: chance.randrange(len(wire) + 1)]) if chance.random() < 0.3 else bytes(wire)
        try:
            mdns.merge(mdns.parse(cut, 7))
        except ProtocolError:
            refused += 1
    assert 0 < refused < count


def test_registered_ones_are_known() -> None:
    """A device is recognised by its host name or address, and its port; a new one gets a name of its own."""
    host = Host("pi-one.local", ("192.0.2.7",), 22, ("_ssh._tcp",))
    for address in ("pi@pi-one.local", "pi@PI-ONE.local:22", "pi@192.0.2.7", "pi-one"):
        entries = {"kitchen": Entry("kitchen", address, "rpi4")}
        assert "kitchen" == discovery.described(host, entries).registered, address
    taken = {"pi-one": Entry("pi-one", "pi@192.0.2.7:2222", "rpi4")}
    found = discovery.described(host, taken)
    assert (None, "pi-one-2") == (found.registered, found.name)
    assert "edge devices add pi-one-2 USER@pi-one.local --target BOARD" == found.command
    odd = Host("local.local", ("192.0.2.7",), 2222, ())
    assert "local-2" == discovery.described(odd, {}).name
    assert "USER@local.local:2222" in discovery.described(odd, {}).command


def test_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an interface that can send there is an error of its own."""
    monkeypatch.setattr(socket, "if_nameindex", list)
    with pytest.raises(DiscoveryError, match="no network interface"):
        discovery.discover(0.1, {})
