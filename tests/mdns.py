"""A responder of multicast DNS on the loopback interface, and what it answers."""

from __future__ import annotations

import fcntl
import os
import select
import socket
import struct
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dns.flags
import dns.message
import dns.rrset
import pytest

from edge_sdk.devices import mdns

PI = (
    ("_ssh._tcp.local.", "PTR", r"pi\032one._ssh._tcp.local."),
    (r"pi\032one._ssh._tcp.local.", "SRV", "0 0 2222 Pi-One.local."),
    ("_workstation._tcp.local.", "PTR", r"pi\032[dc:a6].\_workstation._tcp.local."),
    (r"pi\032[dc:a6].\_workstation._tcp.local.", "SRV", "0 0 9 pi-one.local."),
    ("pi-one.local.", "A", "192.0.2.7"),
    ("pi-one.local.", "AAAA", "2001:db8::7"),
    ("pi-one.local.", "TXT", '"ignored"'),
)
FRESH = (("raspberrypi.local.", "A", "192.0.2.8"),)


def answer(query: bytes, records: tuple[tuple[str, str, str], ...], flags: int = 0) -> bytes:
    """An answer to a query; the cache-flush bit is set, as many responders do."""
    asked = dns.message.from_wire(query)
    made = dns.message.Message(asked.id)
    made.flags = dns.flags.QR | dns.flags.AA | flags
    made.question = asked.question
    made.answer = [dns.rrset.from_text(name, 120, "IN", kind, data) for name, kind, data in records]
    return made.to_wire()


@contextmanager
def responder(records: tuple[tuple[str, str, str], ...], noise: bytes | None = None) -> Iterator[list[bytes]]:
    """Answers questions on the loopback interface; gives those that came. Skips where that cannot be done."""
    seen: list[bytes] = []
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    stop, stopper = socket.socketpair()
    with sock, stop, stopper, (Path(tempfile.gettempdir()) / "edge-tests-mdns.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a responder of another test process would answer too
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("", mdns.PORT))
            group = struct.pack(
                "=4s4si", socket.inet_aton(mdns.GROUP_V4), bytes(4), socket.if_nametoindex("lo")
            )
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
        except OSError as e:
            if os.environ.get("CI") == "true":
                pytest.fail(f"no multicast on the loopback interface: {e}")
            pytest.skip(f"no multicast on the loopback interface: {e}")

        def serve() -> None:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
                while stop not in select.select([sock, stop], [], [])[0]:
                    datagram, sender = sock.recvfrom(9000)
                    if not dns.message.from_wire(datagram).question:
                        continue
                    seen.append(datagram)
                    if noise is not None:
                        sock.sendto(noise, sender)
                        stranger.sendto(answer(datagram, FRESH), sender)  # not from port 5353
                    sock.sendto(answer(datagram, records), sender)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield seen
        finally:
            stopper.close()
            thread.join(10)
