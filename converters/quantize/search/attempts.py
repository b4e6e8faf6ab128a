"""One search under way: single candidates are built, timed, judged, written to the journal and told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from attrs import define, evolve, field

from converters.quantize.engine import Apart, Built, Engine, LayerError
from converters.quantize.scheme import Scheme
from converters.quantize.search.culprits import CLOSER, LOOK_SECONDS, LOOK_SHARE, WORST, Gains, look
from converters.quantize.search.groups import Group, joined, suspected
from converters.quantize.search.telling import summary
from converters.quantize.search.trials import Bench, Look, Tried, Try, Worst
from device_agent import codec
from device_agent.errors import FidelityError, MetricError, QuantizationError, WorkerFailed

if TYPE_CHECKING:
    from converters.progress import Progress
    from converters.quantize.accuracy.metrics.base import Metric
    from converters.quantize.search.budget import Budget
    from converters.quantize.search.journal import Journal

REFUSALS = (
    QuantizationError,
    MetricError,
    FidelityError,
    WorkerFailed,
)  # of one candidate: the search goes on


@define
class Attempts:
    """What was tried, and how single steps are done.

    `latencies` are of the whole model in one precision, in nanoseconds.
    """

    engine: Engine
    bench: Bench
    metric: Metric
    journal: Journal | None
    progress: Progress
    budget: Budget
    history: list[Tried] = field(factory=list)
    latencies: dict[str, int] = field(factory=dict)
    notes: list[str] = field(factory=list)
    _built: tuple[str, Built] | None = None  # the last, and its scheme's key
    _worst: Worst | None = None

    def attempt(self, step: Try) -> Tried:
        """Build, time and judge a candidate, unless the same was done before, here or in the journal."""
        for tried in self.history:
            if tried.scheme.key == step.scheme.key and _stands(tried, step):
                return tried
        number = len(self.history) + 1
        record = self._find("candidate", step.scheme)
        made = codec.from_json(record, Tried, where="the journal") if record is not None else None
        if made is not None and _stands(made, step):
            made = evolve(made, number=number, step=step.step)
        else:
            self.progress(f"candidate {number}: {step.step}", 0, 1)
            made = self._measured(Tried(number, step.step, step.scheme), step)
            self._keep("candidate", step.scheme, made)
        if not self.history and made.latency_ns is not None:
            self.latencies[made.scheme.precision] = made.latency_ns
        self.history.append(made)
        self.progress(f"candidate {number}: {step.step}: {summary(made, self.metric)}", 1, 1)
        return made

    def time(self, precision: str, scheme: Scheme) -> None:
        """Time the whole model in one precision, if it can be built."""
        record = self._find("latency", scheme)
        if record is None:
            self.progress(f"timing {precision}", 0, 0)
            try:
                record = {"ns": self.bench.cost(self._build(scheme).artifact)}
            except REFUSALS as e:
                record = {"ns": None, "refusal": str(e)}
            self._keep("latency", scheme, record)
        if record["ns"] is not None:
            self.latencies[precision] = int(record["ns"])

    def look(self, groups: Sequence[Group], steps: Sequence[str], start: Tried) -> tuple[list[Group], Gains]:
        """The groups, the most suspicious first, and what each gains alone over `start`."""
        order = self._recorded("order", start.scheme, lambda: self._suspicion(groups, start))
        by_name = {group.key: group for group in groups}
        ordered = [by_name[name] for name in order]
        left = self.budget.left()
        until = self.budget.spent + (LOOK_SECONDS if left is None else min(LOOK_SECONDS, LOOK_SHARE * left))
        done = 0

        def probe(group: Group, step: str) -> Look | None:
            nonlocal done
            done += 1
            self.progress(f"looking at single layers: {group.label} in {step}", done, 0)
            scheme = evolve(start.scheme, exceptions=group.exceptions(step))
            return self._looked(scheme)

        def go_on() -> bool:
            return self.budget.over() is None and self.budget.spent < until

        before = self._looked(start.scheme)
        if before is None:
            return ordered, Gains({}, {}, "single layers could not be looked at")
        joint = (joined(group, groups) for group in ordered[:CLOSER])
        pairs = [pair for pair in joint if pair is not None]
        return ordered, look(ordered, pairs, steps, before, probe, go_on)

    def building(self, tried: Tried) -> Built:
        """The model of a candidate."""
        if self._built is None or self._built[0] != tried.scheme.key:
            self._built = (tried.scheme.key, self._build(tried.scheme, needed=True))
        return self._built[1]

    def layer_errors(self, tried: Tried) -> tuple[LayerError, ...]:
        """The errors of a candidate's layers; empty where it was not judged or they cannot be told."""
        if tried.judgement is None:
            return ()
        try:
            self._allow(None)
            return self.engine.errors(tried.scheme, self._samples().samples)
        except REFUSALS as e:
            self.notes.append(f"the errors of the layers of candidate {tried.number} are not known: {e}")
            return ()

    def _measured(self, made: Tried, step: Try) -> Tried:
        try:
            built = self._build(step.scheme, needed=not self.history)
        except QuantizationError as e:
            return evolve(made, refusal=f"cannot be built: {e}".rstrip("."))
        artifact = built.artifact
        self._built = (step.scheme.key, built)
        made = evolve(
            made,
            size_bytes=artifact.size_bytes,
            float_operators=len(artifact.float_operators),
            effects=built.effects,
            fallbacks=built.fallbacks,
            sha256=artifact.digest,
        )
        for twin in self.history:
            if twin.sha256 == made.sha256 and twin.judgement is not None:
                return evolve(
                    made,
                    value=twin.value,
                    judgement=twin.judgement,
                    errors=twin.errors,
                    latency_ns=twin.latency_ns,
                )
        try:
            made = evolve(made, latency_ns=self.bench.cost(artifact))
            if step.limit_ns is not None and made.latency >= step.limit_ns:
                return evolve(made, slow=step.limit)
            measured = self.bench.evaluate(artifact)
        except REFUSALS as e:
            return evolve(made, refusal=f"cannot be judged: {e}".rstrip("."))
        return evolve(made, value=measured.value, judgement=measured.judgement, errors=measured.errors)

    def _build(self, scheme: Scheme, *, needed: bool = False) -> Built:
        """Build a model, within the time that is left unless the search cannot do without it."""
        self._allow(None if needed else self.budget.left())
        return self.engine.build(scheme)

    def _allow(self, seconds: float | None) -> None:
        if isinstance(self.engine, Apart):
            self.engine.allow(seconds)

    def _looked(self, scheme: Scheme) -> Look | None:
        """A scheme on the worst samples; None where it cannot be built, which is told where it is tried."""

        def make() -> object:
            try:
                return self._samples().look(self._build(scheme).artifact)
            except REFUSALS:
                return None

        found = self._recorded("layer", scheme, lambda: codec.to_json(make()))
        return None if found is None else codec.from_json(found, Look, where="the journal")

    def _suspicion(self, groups: Sequence[Group], start: Tried) -> list[str]:
        return [group.key for group in suspected(groups, self.layer_errors(start))]

    def _samples(self) -> Worst:
        """Those where the first candidate that was judged, plain int8, is furthest from the float model."""
        if self._worst is None:
            errors = next(tried.errors for tried in self.history if tried.judgement is not None)
            chosen = sorted(range(len(errors)), key=lambda index: -errors[index])[:WORST]
            self._worst = self.bench.worst(chosen)
        return self._worst

    def _recorded(self, kind: str, scheme: Scheme, make: Callable[[], Any]) -> Any:
        """What the journal holds of that kind, made and put there if it holds nothing."""
        record = self._find(kind, scheme)
        if record is None:
            record = {"is": make()}
            self._keep(kind, scheme, record)
        return record["is"]

    def _find(self, kind: str, scheme: Scheme) -> Any:
        return self.journal.find(kind, scheme.key) if self.journal is not None else None

    def _keep(self, kind: str, scheme: Scheme, record: object) -> None:
        if self.journal is not None:
            self.journal.add(kind, scheme.key, record)


def _stands(tried: Tried, step: Try) -> bool:
    """Whether what came of a scheme once answers this step too: not if it was too slow for another limit."""
    return tried.slow is None or (step.limit_ns is not None and tried.latency >= step.limit_ns)
