"""How much of an upload may be under way."""

from __future__ import annotations

import pytest

from edge_sdk.devices.flight import (
    CALM,
    LEAST_CHUNK_BYTES,
    LEAST_UNRECEIVED_BYTES,
    LEAST_UNSYNCED_BYTES,
    MOST_CHUNK_BYTES,
    MOST_UNRECEIVED_BYTES,
    MOST_UNSYNCED_BYTES,
    Allowance,
    Flight,
    after,
)

MB = 1_000_000


def test_more_may_be_under_way_the_longer_nothing_breaks() -> None:
    """A share of what came through, within bounds."""
    assert Allowance(LEAST_UNRECEIVED_BYTES, LEAST_UNSYNCED_BYTES) == after(0)
    assert Allowance(32 * MB // CALM, 4 * 32 * MB // CALM) == after(32 * MB)
    assert Allowance(MOST_UNRECEIVED_BYTES, MOST_UNSYNCED_BYTES) == after(1 << 40)


@pytest.mark.parametrize("unbroken", [0, MB, 10 * MB, 100 * MB, 1 << 40])
def test_chunks_are_a_part_of_what_may_be_under_way(unbroken: int) -> None:
    """So that one is sent while another is checked."""
    allowed = after(unbroken)
    assert LEAST_CHUNK_BYTES <= allowed.chunk_bytes <= MOST_CHUNK_BYTES
    assert 2 * allowed.chunk_bytes <= allowed.unreceived_bytes


def test_a_receipt_lets_more_be_sent_until_too_much_is_not_kept() -> None:
    """What is received no cut takes, so only what is not synced bounds it then."""
    allowed = Allowance(unreceived_bytes=10, unsynced_bytes=25)
    flight = Flight.at(100)
    flight.sent = 111
    assert flight.exceeds(allowed)
    flight.answered(105, kept=False)
    assert not flight.exceeds(allowed)
    flight.sent = 126
    flight.answered(126, kept=False)
    assert flight.exceeds(allowed)
    flight.answered(105, kept=True)
    assert not flight.exceeds(allowed)
    assert Flight(126, 126, 105) == flight


def test_an_agent_without_receipts() -> None:
    """What it keeps it has received."""
    flight = Flight.at(0)
    flight.sent = 11
    flight.answered(5, kept=True)
    assert not flight.exceeds(Allowance(unreceived_bytes=6, unsynced_bytes=100))
    assert flight.exceeds(Allowance(unreceived_bytes=5, unsynced_bytes=100))
