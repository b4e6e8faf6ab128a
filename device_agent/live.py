"""What the activator needs of the serving side."""

from __future__ import annotations

from typing import Protocol

from attrs import frozen

from device_agent.protocol import Parity, Placement
from device_agent.store import Generation


@frozen
class Checked:
    """What a check that was passed found: that it computes the same, and where if its runtime tells."""

    parity: Parity
    placement: Placement | None = None


class Live(Protocol):
    """Lets generations answer, and checks them; see `serving.Serving`."""

    def switch(self, name: str, generation: Generation | None) -> None:
        """Let this generation answer from now on, or nothing."""
        ...

    async def preflight(self, generation: Generation) -> Checked:
        """Check a generation that is not live yet; ActivationFailed if it is not fit."""
        ...

    async def probe(self, name: str) -> Checked:
        """Check what is live, the way that requests go; ActivationFailed if it is not fit."""
        ...

    async def retire(self, name: str) -> None:
        """Give up what the generations of a model that are not live still hold."""
        ...
