"""What the activator needs of the serving side."""

from __future__ import annotations

from typing import Protocol

from device_agent.protocol import Parity
from device_agent.store import Generation


class Live(Protocol):
    """Lets generations answer, and checks them; see `serving.Serving`."""

    def switch(self, name: str, generation: Generation | None) -> None:
        """Let this generation answer from now on, or nothing."""
        ...

    async def preflight(self, generation: Generation) -> Parity:
        """Check a generation that is not live yet; ActivationFailed if it is not fit."""
        ...

    async def probe(self, name: str) -> Parity:
        """Check what is live, the way that requests go; ActivationFailed if it is not fit."""
        ...

    async def retire(self, name: str) -> None:
        """Give up what the generations of a model that are not live still hold."""
        ...
