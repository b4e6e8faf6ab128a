"""A search on real samples: the float model runs over them, then the ladder, which the journal follows."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import evolve, frozen

from converters.quantize.accuracy import output_error
from converters.quantize.accuracy.evaluate import evaluate, evaluate_source
from converters.quantize.accuracy.fidelity import runner
from converters.quantize.accuracy.metrics.base import Evaluation, FromInputs
from converters.quantize.accuracy.output_error import WithError, WithErrorFromInputs
from converters.quantize.accuracy.paired import default_drop, judge
from converters.quantize.accuracy.recording import recorded
from converters.quantize.engine import Apart
from converters.quantize.search import budget as budgets
from converters.quantize.search import journal as journals
from converters.quantize.search import ladder, search_key
from converters.quantize.search.timing import Stopwatch
from converters.quantize.search.trials import Look, Measured

if TYPE_CHECKING:
    import numpy as np

    from converters.artifact import Artifact
    from converters.model import Model
    from converters.progress import Progress
    from converters.quantize.accuracy.metrics.base import Metric
    from converters.quantize.accuracy.recording import Recording
    from converters.quantize.engine import Built, Engine
    from converters.quantize.samples.calibration import Calibration
    from converters.quantize.samples.validation import Validation
    from converters.quantize.scheme import Scheme
    from converters.quantize.search.types import Goal, Search

    Arrays = Mapping[str, np.ndarray]

WORST_BYTES = 256 << 20  # that samples kept at hand may take, inputs and outputs


def search(
    model: Model,
    engine: Engine,
    calibration: Calibration | None,
    validation: Validation,
    metric: Metric,
    goal: Goal,
    *,
    journal: Path | None,
    progress: Progress,
    io: str = "integer",
    only: Scheme | None = None,
    usual_drop: bool = False,
) -> tuple[Search, Built]:
    """Find the fastest scheme of a model that meets the goal, on these samples and this machine.

    The float source runs once over all validation samples; memory does not grow with their number beyond
    what the metric keeps of each.

    Args:
        model: the float source.
        engine: builds it in any scheme.
        calibration: what the engine calibrates on; None where it needs none.
        validation: samples to judge on, perhaps with labels.
        metric: what judges.
        goal: what is asked for; that it is missed is told by `Search.met`.
        journal: a file that keeps what was measured, to go on from; made if there is none.
        progress: told of every stage and candidate.
        io: `integer` or `float`, of the model's own inputs and outputs.
        only: build and judge this scheme alone.
        usual_drop: allow the drop that is the metric's own default, whatever `goal` says.

    Raises:
        BudgetExceeded: the memory budget is too small; nothing was computed or written.
        CalibrationError: there are no samples to calibrate on.
        InvalidRequest: the journal is of another search.
        MetricError: the metric cannot judge the float model.
        QuantizationError: nothing could be built.
    """

    def resident() -> int:
        return budgets.resident_bytes() + (engine.held_bytes() if isinstance(engine, Apart) else 0)

    needed = budgets.check(model.path.name, model.parameters, goal.memory_budget, resident())
    budget = budgets.Budget(goal.time_budget, goal.memory_budget, needed, resident=resident)
    with ExitStack() as stack:
        kept = None
        if journal is not None:
            key = search_key.of(model, engine, calibration, validation, metric, goal, io)
            if usual_drop:
                key["goal"] += ", the metric's own drop"
            kept = stack.enter_context(journals.opened(journal, key))
        recording = recorded(model, validation.samples, validation.count, progress)
        reference = evaluate_source(metric, validation, recording)
        if usual_drop:
            goal = evolve(goal, max_drop=default_drop(metric, reference))
        bench = SampleBench.on(validation, recording, metric, reference, goal, progress)
        found, built = ladder.run(
            engine,
            goal,
            bench,
            metric=metric,
            reference=reference,
            source=validation.source,
            io=io,
            journal=kept,
            progress=progress,
            budget=budget,
            only=only,
        )
    return found, built


@frozen
class SampleBench:
    """A `Bench` of real samples, the float model's recorded outputs and a metric."""

    validation: Validation
    recording: Recording
    metric: Metric
    reference: Evaluation
    goal: Goal
    progress: Progress
    power: Mapping[str, float]
    stopwatch: Stopwatch

    @classmethod
    def on(
        cls,
        validation: Validation,
        recording: Recording,
        metric: Metric,
        reference: Evaluation,
        goal: Goal,
        progress: Progress,
    ) -> SampleBench:
        """A bench for these samples; one pass over the recorded outputs."""
        power = output_error.powers(outputs for _, outputs in recording.pairs(validation.samples))
        stopwatch = Stopwatch(next(iter(validation.samples.samples())))
        return cls(validation, recording, metric, reference, goal, progress, power, stopwatch)

    def evaluate(self, artifact: Artifact) -> Measured:
        """One pass over the samples gives the metric and the output errors; see `Bench`."""
        kind = WithErrorFromInputs if isinstance(self.metric, FromInputs) else WithError
        both = evaluate(
            artifact, kind(self.metric, self.power), self.validation, self.recording, self.progress
        )
        kept = Evaluation(both.value, tuple(one for one, _ in both.kept))
        judgement = judge(self.metric, self.reference, kept, self.goal)
        return Measured(both.value, judgement, tuple(error for _, error in both.kept))

    def cost(self, artifact: Artifact) -> int:
        """Timed in turns with the first artifact that was; see `Bench`."""
        return self.stopwatch.latency_ns(artifact)

    def worst(self, indices: Sequence[int]) -> WorstSamples:
        """The samples at these indices, the first of them, as far as they fit; see `Bench`."""
        wanted = {index: place for place, index in enumerate(indices)}
        found: dict[int, tuple[dict[str, np.ndarray], dict[str, np.ndarray]]] = {}
        for index, (sample, outputs) in enumerate(self.recording.pairs(self.validation.samples)):
            if index in wanted:
                copied = {name: array.copy() for name, array in sample.items()}  # not a view of all of them
                found[wanted[index]] = (copied, outputs)
                size = sum(array.nbytes for array in chain(sample.values(), outputs.values()))
                if len(found) * size > WORST_BYTES:
                    found.pop(max(found))
                    wanted = {
                        index: place for index, place in wanted.items() if place < max(found, default=1)
                    }
        pairs = [found[place] for place in sorted(found)]
        return WorstSamples([one for one, _ in pairs], [other for _, other in pairs], self.power)


@frozen
class WorstSamples:
    """See `Worst`."""

    samples: Sequence[dict[str, np.ndarray]]
    outputs: Sequence[Mapping[str, np.ndarray]]
    power: Mapping[str, float]

    def look(self, artifact: Artifact) -> Look:
        """The mean output error over these samples, and the shortest run."""
        run = runner(artifact)
        errors, times = [], []
        for sample, outputs in zip(self.samples, self.outputs, strict=True):
            begun = time.perf_counter_ns()
            got = run(sample)
            times.append(time.perf_counter_ns() - begun)
            errors.append(output_error.of(got, outputs, self.power))
        return Look(sum(errors) / len(errors), min(times))
