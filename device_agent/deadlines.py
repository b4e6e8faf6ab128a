"""How long the activation machine may stay in each of its states; past it, it goes back by itself.

The defaults leave room for a large model on a slow card; EDGE_AGENT_DEADLINES changes them, for example
`PREFLIGHT=900,PROBING=900` (seconds). They are measured by a clock that no correction of the time moves.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping

from attrs import field, frozen

from device_agent.activation import State
from device_agent.errors import ActivationOverdue, InvalidRequest

VARIABLE = "EDGE_AGENT_DEADLINES"
DEFAULTS_S: Mapping[State, float] = {
    State.STAGING: 600.0,  # every byte is read back
    State.VERIFIED: 60.0,
    State.PREFLIGHT: 600.0,  # a worker loads the model and runs its golden inputs
    State.ACTIVATING: 60.0,
    State.PROBING: 600.0,
    State.ROLLING_BACK: 60.0,
    # of a terminal state: for the collection of what nothing needs any more, and for what was signed anew
    State.COMMITTED: 60.0,
    State.ROLLED_BACK: 60.0,
    State.FAILED: 60.0,
}


@frozen
class Deadlines:
    """Seconds by state, for every state but IDLE."""

    seconds: Mapping[State, float] = field(default=DEFAULTS_S)

    def left(self, state: State, elapsed_s: float) -> float:
        """How many seconds a state still has after `elapsed_s` in it; 0 if it is overdue."""
        return max(0.0, self.seconds[state] - elapsed_s)

    def overdue(self, state: State, name: str) -> ActivationOverdue:
        """What is said of a model whose operation stayed too long in a state."""
        return ActivationOverdue(
            f"{state.value} did not end within {self.seconds[state]:g} s",
            where=name,
            next_step=f"Set {VARIABLE}={state.value}=SECONDS for the agent if the device needs longer.",
        )


def parse(text: str) -> Deadlines:
    """The defaults with the changes that `text` makes: `STATE=SECONDS`, separated by commas.

    Raises:
        InvalidRequest: a state that has no deadline, or no positive number.
    """
    seconds = dict(DEFAULTS_S)
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, value = part.partition("=")
        try:
            state, limit = State(name.strip()), float(value)
        except ValueError:
            state, limit = State.IDLE, math.nan
        if state not in seconds or not 0 < limit < math.inf:
            raise InvalidRequest(
                "not a deadline",
                where=VARIABLE,
                got=repr(part[:80]),
                expected="STATE=SECONDS with one of " + ", ".join(state.value for state in DEFAULTS_S),
            )
        seconds[state] = limit
    return Deadlines(seconds)


def from_environment() -> Deadlines:
    """The deadlines that this process was given."""
    return parse(os.environ.get(VARIABLE, ""))
