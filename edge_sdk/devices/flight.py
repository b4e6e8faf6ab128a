"""How much of an upload may be under way: what a cut, and what the agent's death, may cost."""

from __future__ import annotations

from attrs import define, frozen

LEAST_CHUNK_BYTES = 1 << 17
MOST_CHUNK_BYTES = 1 << 20  # the agent takes more, but holds two of them in memory
LEAST_UNRECEIVED_BYTES = 1 << 19
MOST_UNRECEIVED_BYTES = 1 << 24
CALM = 16  # the share of what came through unbroken that may be on its way, and be lost by a cut
LEAST_UNSYNCED_BYTES = 1 << 21
MOST_UNSYNCED_BYTES = 1 << 24


@frozen
class Allowance:
    """What may be under way after so many bytes came through unbroken.

    Args:
        unreceived_bytes: of what the agent has not got, which a broken connection loses.
        unsynced_bytes: of what is not on the agent's medium, which only its death loses.
    """

    unreceived_bytes: int
    unsynced_bytes: int

    @property
    def chunk_bytes(self) -> int:
        """How many bytes to send and check at a time."""
        return min(max(self.unreceived_bytes // 2, LEAST_CHUNK_BYTES), MOST_CHUNK_BYTES)


def after(unbroken_bytes: int) -> Allowance:
    """What may be under way once this much came through; the longer nothing breaks the more."""
    calm = unbroken_bytes // CALM
    return Allowance(
        min(max(calm, LEAST_UNRECEIVED_BYTES), MOST_UNRECEIVED_BYTES),
        min(max(4 * calm, LEAST_UNSYNCED_BYTES), MOST_UNSYNCED_BYTES),
    )


@frozen
class Chunk:
    """Bytes of a blob that are sent and checked together, and what may be under way once they are sent."""

    offset: int
    data: bytes
    allowed: Allowance

    @property
    def end(self) -> int:
        """The offset after it."""
        return self.offset + len(self.data)


@define
class Flight:
    """The offsets that an upload has come to: sent here, received by the agent, kept on its medium."""

    sent: int
    received: int
    kept: int

    @classmethod
    def at(cls, offset: int) -> Flight:
        """Nothing under way yet."""
        return cls(offset, offset, offset)

    def answered(self, offset: int, *, kept: bool) -> None:
        """Take an answer: a receipt, or that all up to this offset is `kept`."""
        self.received = max(self.received, offset)
        if kept:
            self.kept = offset

    def exceeds(self, allowed: Allowance) -> bool:
        """Whether an answer must be waited for before more is sent."""
        unreceived, unsynced = self.sent - self.received, self.sent - self.kept
        return unreceived > allowed.unreceived_bytes or unsynced > allowed.unsynced_bytes
