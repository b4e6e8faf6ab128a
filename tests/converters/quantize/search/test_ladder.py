"""The ladder finds what keeps the accuracy, fast, and says why it did what it did."""

from pathlib import Path

import numpy as np
import pytest
from attrs import evolve

from converters.quantize.scheme import Scheme
from converters.quantize.search import journal as journals
from converters.quantize.search.budget import Budget
from converters.quantize.search.types import Goal
from device_agent.errors import InvalidRequest, MetricError, QuantizationError
from tests.converters.quantize.search.ladder_problems import (
    FakeBench,
    FakeEngine,
    campaign,
    draw,
    judgement,
    optimum,
    searched,
)

HARD = draw(1045)  # int8, its ranges and its repairs do not keep the accuracy; int16x8 and float32 can


def test_a_goal_that_can_be_met_is_met():
    """Of problems whose optimum is known none is missed; the latency is near it, and tries are few."""
    found = campaign(range(2000, 2040))
    assert [] == found.missed
    assert 1.04 > np.mean(found.over)
    assert 1.15 > np.quantile(found.over, 0.9)
    assert np.mean(found.over) < np.mean(found.greedy_over)
    assert 40 > max(found.validations)


def test_plain_int8_is_enough():
    """Where plain int8 meets the goal nothing else is tried."""
    search = searched(evolve(HARD, max_drop=100.0))
    assert (True, 1, 1) == (search.met, search.best, len(search.candidates))
    assert ("plain int8 meets the goal", "") == (search.stopped, search.lacks)
    assert search.candidates[0].kept


def test_the_same_search_twice():
    """A search is a function of what it measures."""
    one, other = searched(HARD), searched(HARD)
    assert one.candidates == other.candidates
    assert one.culprits == other.culprits


def test_what_is_kept_and_why():
    """The best is kept with what led to it, everything else is rejected with a reason in words."""
    search = searched(HARD)
    best = search.candidates[search.best - 1]
    assert search.met
    assert best.kept
    assert "the fastest that meets the goal" in best.reason
    latency, _ = optimum(HARD)
    assert best.latency_ns >= latency
    for candidate in search.candidates:
        assert candidate.reason
        if candidate.kept and candidate.judgement is not None:
            assert set(candidate.scheme.exceptions) <= set(best.scheme.exceptions)
    assert search.culprits
    assert sorted(search.culprits, key=lambda one: -one.gain) == list(search.culprits)
    assert all(0 < one.gain <= 1 for one in search.culprits)
    assert search.reference_latency_ns == HARD.cost(Scheme("float32"))
    assert len(search.errors) == len(search.plain_errors) == len(HARD.errors)


def test_a_missed_goal_is_no_error():
    """Without a precision to fall back on the nearest candidate is the best, and it says what it lacks."""
    search = searched(evolve(HARD, steps=(), max_drop=-1.0))
    best = search.candidates[search.best - 1]
    assert not search.met
    assert min(one.judgement.drop for one in search.candidates) == best.judgement.drop
    assert f"top1 drops by {best.judgement.drop:.3g} points, -1 is allowed" == search.lacks
    assert "everything it knows was tried" == search.stopped
    assert "the nearest to the goal of all tried" in best.reason
    assert search.culprits == ()


def test_float32_is_no_result():
    """Where nothing quantised meets the goal it is missed, and what float32 would keep is said."""
    problem = evolve(HARD, max_drop=0.0, steps=("float32",), steepness=5000.0, rest=(0.3,) * len(HARD.errors))
    search = searched(problem)
    best = search.candidates[search.best - 1]
    assert not search.met
    assert "float32" != best.scheme.precision
    assert "nothing that is quantised meets the goal" == search.stopped
    assert search.lacks.endswith("; float32 keeps it: `--precision float32`")
    gain = {one.step: one.reason.split(";")[0] for one in search.candidates}
    assert "meets the goal, and gains nothing over float32" == gain[f"float32 for {len(HARD.errors)} layers"]
    integer_only = searched(evolve(problem, steps=("int16x8",), rest=(0.3,) * len(HARD.errors)))
    assert not integer_only.met
    assert "all int16x8" == integer_only.candidates[-1].step
    assert integer_only.candidates[-1].value is not None  # however slow it is, there is nothing else


def test_what_cannot_be_built_is_told():
    """A repair or a precision that an engine refuses is a rejected candidate, and the search goes on."""
    problem = evolve(HARD, repairs={"equalization": (0.9,) * len(HARD.errors)}, steps=("int16x8", "float32"))
    search = searched(problem, FakeEngine(problem, refused=("equalization", "int16x8")))
    refused = {one.step: one.reason for one in search.candidates if one.value is None}
    assert "cannot be built: this has no such kernel" == refused["repair: equalization"]
    assert "cannot be built: this has no such kernel" == refused["all int16x8"]
    assert "float32" == search.candidates[-1].step


def test_nothing_can_be_built():
    """Where an engine refuses everything there is no result, and every refusal is named."""
    with pytest.raises(QuantizationError, match="plain int8: cannot be built: this has no such kernel"):
        searched(HARD, FakeEngine(HARD, refused=("int8", "int16x8", "float32")))


def test_a_metric_that_fails_on_a_candidate():
    """A metric that cannot judge one candidate (all its answers are alike, say) rejects that candidate."""

    class Failing(FakeBench):
        def evaluate(self, artifact):
            if self.evaluated == 0:
                self.evaluated += 1
                raise MetricError("no value: every answer is the same")
            return super().evaluate(artifact)

    search = searched(HARD, bench=Failing(HARD))
    assert "cannot be judged: no value: every answer is the same" == search.candidates[0].reason
    assert search.candidates[0].value is None
    assert search.met
    assert () == search.plain_errors


def test_a_proof_is_asked_for():
    """With `prove` the bound decides, not what was seen."""
    goal = Goal(max_drop=HARD.max_drop, prove=True)
    search = searched(HARD, goal=goal)
    assert search.met
    assert search.candidates[search.best - 1].judgement.upper <= HARD.max_drop
    seen = searched(evolve(HARD, max_drop=0.5), goal=Goal(max_drop=0.5, prove=True))
    assert not seen.met  # a bound of 1 is never within 0.5
    assert "which is within 0.5, but the bound of that at 95% is 1" in seen.lacks


def test_time_is_up():
    """The budget is looked at between candidates; what was best until then is the result."""
    times = iter(range(0, 10_000, 2))
    budget = Budget(seconds=7, clock=lambda: float(next(times)))
    search = searched(HARD, budget=budget)
    assert "the time budget of 7 s is spent" == search.stopped
    assert not search.met
    assert 1 <= len(search.candidates) <= 4
    assert search.candidates[search.best - 1].kept


def test_memory_is_full():
    """A search ends where another candidate would not fit any more."""
    held = iter([100, 100, *[900] * 1000])
    budget = Budget(memory=1000, candidate_bytes=200, resident=lambda: next(held) << 20)
    budget.memory, budget.candidate_bytes = 1000 << 20, 200 << 20
    search = searched(HARD, budget=budget)
    assert search.stopped.startswith(
        "the memory budget of 1000 MiB leaves no room for another candidate: 900 MiB"
    )
    assert not search.met


def test_one_scheme_alone():
    """A named scheme is built and judged, and nothing else."""
    search = searched(HARD, only=Scheme("int16x8"))
    assert ["int16x8, as asked"] == [one.step for one in search.candidates]
    assert "only this was asked for" == search.stopped


@pytest.mark.parametrize(("slower", "ends"), [(1.2, True), (1.4, False)])
def test_a_repair_that_costs(slower: float, ends: bool):
    """A repaired int8 model that takes a little longer ends the search, one much slower does not."""
    problem = evolve(
        HARD, repairs={"split_heads": (0.0,) * len(HARD.errors)}, ranges={"minmax": HARD.ranges["minmax"]}
    )
    problem = evolve(problem, together={}, edges=(0.0,) * len(HARD.edges))

    class Costly(FakeBench):
        def cost(self, artifact):
            return round(super().cost(artifact) * (slower if "split_heads" in artifact.data.decode() else 1))

    search = searched(problem, bench=Costly(problem))
    assert search.met
    assert ends == (len(search.candidates) == 2)
    if ends:
        assert "candidate 2 meets the goal in 1.20 times plain int8's latency" == search.stopped


def test_progress_can_be_read():
    """Every candidate is told in words as it comes out."""
    said = []
    searched(HARD, progress=lambda what, done, total: said.append(what))
    drop = HARD.drop(Scheme())
    latency = HARD.cost(Scheme()) / 1e6
    assert f"candidate 1: plain int8: top1 {80 - drop:.4g} (drop {drop:.3g}), {latency:.3g} ms" in said
    assert any(one.startswith("looking at single layers: conv") for one in said)


def test_a_search_goes_on(tmp_path: Path):
    """After Ctrl-C the same search takes from its journal what was measured, and comes to the same result."""

    class Interrupted(FakeBench):
        def evaluate(self, artifact):
            if self.evaluated == 4:
                raise KeyboardInterrupt
            return super().evaluate(artifact)

    path = tmp_path / "journal"
    with pytest.raises(KeyboardInterrupt), journals.opened(path, {"model": "a"}) as journal:
        searched(HARD, bench=Interrupted(HARD), journal=journal)
    whole_bench, bench = FakeBench(HARD), FakeBench(HARD)
    whole = searched(HARD, bench=whole_bench)
    with journals.opened(path, {"model": "a"}) as journal:
        resumed = searched(HARD, bench=bench, journal=journal)
    assert whole.candidates == resumed.candidates
    assert whole.culprits == resumed.culprits
    assert whole_bench.evaluated - 4 == bench.evaluated
    again = FakeBench(HARD)
    with journals.opened(path, {"model": "a"}) as journal:
        assert whole.candidates == searched(HARD, bench=again, journal=journal).candidates
    assert 0 == again.evaluated
    with (
        pytest.raises(InvalidRequest, match="of another search: another model"),
        journals.opened(path, {"model": "b"}),
    ):
        pass


def test_judgements_of_the_twin():
    """The null twin's judgement is a drop with a bound on both sides."""
    found = judgement(0.5, 0.5)
    assert (True, False) == (found.within, found.proven)
