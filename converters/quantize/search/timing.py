"""Latency of candidates on this machine: each runs in turns with one that all are compared with."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from attrs import define, field

from converters.artifact import opened
from converters.quantize.accuracy.fidelity import tensor_of

if TYPE_CHECKING:
    import numpy as np

    from converters.artifact import Artifact
    from device_agent.runtimes.base import Session

WARM_UP_SECONDS = 0.02  # and at least two runs, as the first allocates
TURN_SECONDS = 0.005  # a turn is as many runs as fit, at least one: the other's weights leave the caches
LEAST_TURNS = 7
LEAST_SECONDS = 0.1  # of turns of both together
MOST_SECONDS = 4.0  # but in any case three turns


@define
class Stopwatch:
    """Times artifacts on one thread, with one sample as their input.

    The first that is timed becomes the yardstick. Every other one runs in turns with it, and its latency is
    the yardstick's times the median of the ratios of their turns: a machine that slows down, or does other
    work meanwhile, slows both.
    """

    sample: Mapping[str, np.ndarray] = field(repr=False)
    _yardstick: Session | None = None
    _yardstick_ns: float = 0.0

    def latency_ns(self, artifact: Artifact) -> int:
        """The median latency of a run.

        Raises:
            WorkerFailed: the runtime refuses the artifact.
            RuntimeMissing: there is no such runtime here.
        """
        session = self._opened(artifact)
        if self._yardstick is None:
            self._yardstick, self._yardstick_ns = session, _alone(session)
            return round(self._yardstick_ns)
        return round(self._yardstick_ns * _ratio(session, self._yardstick))

    def _opened(self, artifact: Artifact) -> Session:
        session = opened(artifact)
        session.set_inputs({spec.name: tensor_of(self.sample[spec.name], spec) for spec in artifact.inputs})
        return session


def _alone(session: Session) -> float:
    _warm(session)
    turns: list[float] = []
    begun = time.perf_counter()
    while not _enough(len(turns), time.perf_counter() - begun):
        turns.append(_turn(session))
    return statistics.median(turns)


def _ratio(session: Session, yardstick: Session) -> float:
    _warm(session)
    _warm(yardstick)
    ratios: list[float] = []
    begun = time.perf_counter()
    while not _enough(len(ratios), time.perf_counter() - begun):
        one, other = (session, yardstick) if len(ratios) % 2 == 0 else (yardstick, session)
        first, second = _turn(one), _turn(other)
        ratios.append(first / second if one is session else second / first)
    return statistics.median(ratios)


def _enough(turns: int, seconds: float) -> bool:
    return turns >= 3 and ((turns >= LEAST_TURNS and seconds >= LEAST_SECONDS) or seconds >= MOST_SECONDS)


def _warm(session: Session) -> None:
    begun, runs = time.perf_counter(), 0
    while runs < 2 or (time.perf_counter() - begun < WARM_UP_SECONDS):
        session.invoke()
        runs += 1


def _turn(session: Session) -> float:
    """The median latency, in nanoseconds, of the runs of one turn."""
    found: list[int] = []
    begun = time.perf_counter_ns()
    while not found or time.perf_counter_ns() - begun < TURN_SECONDS * 1e9:
        start = time.perf_counter_ns()
        session.invoke()
        found.append(time.perf_counter_ns() - start)
    return statistics.median(found)
