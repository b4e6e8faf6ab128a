"""`edge devices discover` against a responder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import dns.message

from edge_sdk.devices import inventory
from tests.mdns import PI, responder

Run = Callable[..., Any]


def test_discover(run: Run) -> None:
    """A host that answers is shown with the command that registers it; nothing is registered by itself."""
    with responder(PI) as seen:
        done = run("devices", "discover", "--timeout", "0.5", "--json", "-")
        text = run("devices", "discover", "--timeout", "0.5").out
    assert 0 == done.code, done.err
    (row,) = [found for found in done.json["found"] if found["host"]["host"] == "pi-one.local"]
    assert (["192.0.2.7", "2001:db8::7"], 2222) == (row["host"]["addresses"], row["host"]["port"])
    assert "edge devices add pi-one USER@pi-one.local:2222 --target BOARD" == row["command"]
    assert row["command"] in text
    assert "hint only" in text
    assert {} == inventory.load()
    assert seen


def test_an_announcement_in_pieces(run: Run) -> None:
    """A responder that gives no addresses with its service is asked for them in the next round."""
    pieces = iter([PI[:1], PI[:2]])

    class Pieces(tuple):  # type: ignore[type-arg] # what is answered, one piece at a time
        def __iter__(self) -> Iterator[Any]:
            return iter(next(pieces, PI))

    with responder(Pieces()) as seen:
        done = run("devices", "discover", "--timeout", "3", "--json", "-")
    assert ["pi-one.local"] == [found["host"]["host"] for found in done.json["found"]]
    assert "SRV" in str(dns.message.from_wire(seen[1]))


def test_noise_is_counted(run: Run) -> None:
    """Malformed answers, and answers from another port, are ignored and counted."""
    with responder(PI, noise=b"\xff" * 40):
        done = run("devices", "discover", "--timeout", "0.5", "--json", "-")
    hosts = [found["host"]["host"] for found in done.json["found"]]
    assert ("pi-one.local" in hosts, "raspberrypi.local" in hosts) == (True, False)
    assert done.json["ignored"] >= 2


def test_nobody_answers(run: Run) -> None:
    """Silence is no failure, and what it means and what to do instead is said."""
    done = run("devices", "discover", "--timeout", "0.1")
    assert 0 == done.code
    if "Nobody answered" in done.out:  # on a network with real devices somebody may
        text = " ".join(done.out.split())
        assert "many networks filter multicast DNS" in text
        assert "edge devices add NAME USER@ADDRESS" in text
