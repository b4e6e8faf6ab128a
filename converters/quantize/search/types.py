"""What a search for a scheme was asked, and what it tried, kept and rejected: plain data, read by people."""

from __future__ import annotations

from attrs import frozen

from converters.quantize.accuracy.metrics.base import Judgement
from converters.quantize.engine import Effect, Fallback, LayerError
from converters.quantize.scheme import Scheme


@frozen
class Goal:
    """What a search is after.

    `max_drop` is in the metric's unit. With `prove` the upper bound of the drop, at `confidence`, must be
    within it; without, the drop that was seen. `time_budget` is in seconds and `memory_budget` in bytes of
    this process, None: as long and as much as it takes.
    """

    max_drop: float
    confidence: float = 0.95
    prove: bool = False
    time_budget: float | None = None
    memory_budget: int | None = None


@frozen
class Culprit:
    """A layer's own effect: how much nearer the outputs come to the float model's when it alone is float.

    `gain` is the share (0..1) of the output error that goes with it, on the worst samples.
    """

    layer: str
    type: str
    label: str
    gain: float


@frozen
class Candidate:
    """A scheme that was tried.

    `step` says why it was tried (`plain int8`, `repair: equalization`, `int16x8 for 3 layers`, ...), `reason`
    why it was kept or rejected. `value` is the metric's, None where it could not be built or judged.
    `latency_ns` is the median on one thread of the machine that measured it.
    """

    number: int
    step: str
    scheme: Scheme
    kept: bool
    reason: str
    value: float | None = None
    judgement: Judgement | None = None
    latency_ns: int | None = None
    size_bytes: int | None = None
    float_operators: int = 0
    effects: tuple[Effect, ...] = ()
    fallbacks: tuple[Fallback, ...] = ()


@frozen
class Search:
    """What a search found.

    `met` says whether the best candidate reaches the goal; `stopped` why the search ended; `lacks` what the
    best is short of, empty if it is met. `reference` is the float model's value, `samples` where the
    validation samples came from.
    """

    metric: str
    unit: str
    goal: Goal
    samples: str
    count: int
    reference: float
    reference_latency_ns: int | None
    candidates: tuple[Candidate, ...]
    best: int  # a candidate's number
    met: bool
    stopped: str
    lacks: str
    culprits: tuple[Culprit, ...]
    errors: tuple[LayerError, ...]  # of the best candidate
    seconds: float
    plain_errors: tuple[LayerError, ...] = ()  # of plain int8, to compare with
    notes: tuple[str, ...] = ()
