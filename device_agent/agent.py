"""The agent's parts, put together once for the routes to use."""

from __future__ import annotations

from pathlib import Path

from attrs import frozen

from device_agent import deadlines
from device_agent.activator import Activator
from device_agent.isolation import Isolation
from device_agent.lifetime import Lifetime
from device_agent.metrics import Metrics
from device_agent.records import RecordFile
from device_agent.serving import Serving
from device_agent.store import Store
from device_agent.trials import Trials
from device_agent.trust import Trust
from device_agent.uploads import Uploads


@frozen
class Agent:
    """Everything a request may need."""

    state_dir: Path
    store: Store
    uploads: Uploads
    serving: Serving
    activator: Activator
    lifetime: Lifetime
    trust: Trust
    metrics: Metrics
    trials: Trials


def open_agent(
    state_dir: Path, lifetime: Lifetime, contained: Isolation, *, accept_unsigned: bool = False
) -> Agent:
    """Open a state folder (the caller holds its lock) and bring every model in it to rest.

    Raises:
        DiskFull: there is no room for the records. DeviceError: the medium refuses.
        InvalidRequest: the deadlines in the environment make no sense.
    """
    store = Store(state_dir)
    serving = Serving(contained)
    trust = Trust(state_dir, accept_unsigned=accept_unsigned)
    activator = Activator(store, RecordFile(state_dir), serving, deadlines.from_environment(), trust)
    activator.start()
    trials = Trials(store, activator, serving)
    return Agent(state_dir, store, Uploads(store), serving, activator, lifetime, trust, Metrics(), trials)
