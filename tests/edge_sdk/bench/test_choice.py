"""The choice among measured candidates: what is claimed, how certain that is, and what is left out."""

import math
import random

import pytest
from attrs import evolve

from device_agent.errors import WorkerFailed
from device_agent.protocol import Compared, Measured, Parity, TensorParity
from edge_sdk.bench.choice import (
    CHOSEN,
    EXCLUDED,
    LOOKS,
    SLOWER,
    TIED,
    Decision,
    Ratio,
    choose,
    only,
    pooled,
    ratio_of,
)
from tests.edge_sdk.bench import simulated
from tests.edge_sdk.bench.simulated import STATE

LABELS = ("litert int8", "litert float32", "openvino int8", "openvino float32")


def compared(*latencies: float, rounds: int = 12, noise: float = 0.005) -> Compared:
    """Candidates of these latencies in microseconds, measured with a little noise."""
    draw = random.Random(0)
    return Compared(
        "kws",
        1,
        tuple(
            Measured(
                f"sha256:{index}",
                LABELS[index].split()[0],
                latencies_ns=tuple(
                    (round(1e3 * latency * math.exp(draw.gauss(0, noise))),) for _ in range(rounds)
                ),
            )
            for index, latency in enumerate(latencies)
        ),
        STATE,
        STATE,
    )


def chosen(asked: Compared, looks: int = LOOKS) -> Decision:
    """The choice, by the usual names."""
    return choose(asked, LABELS[: len(asked.candidates)], looks=looks)


def verdicts(found: Decision) -> list[str]:
    """Of each candidate, in order."""
    return [entry.verdict for entry in found.contenders]


@pytest.mark.parametrize(("rounds", "rank"), [(6, 1), (8, 4), (10, 9), (12, 14), (20, 53)])
def test_intervals_are_those_of_published_tables(rounds: int, rank: int) -> None:
    """At 5 % the interval leaves out as many Walsh averages as tables of the signed-rank test say."""
    differences = [math.log(1 + index * index / 1000) for index in range(rounds)]
    random.Random(2).shuffle(differences)  # so that no round is like the one before it
    averages = sorted((a + b) / 2 for i, a in enumerate(differences) for b in differences[i:])
    found = ratio_of(differences, 0.05)
    assert found.low is not None
    assert found.low <= math.exp(averages[rank - 1]) * (1 + 1e-12)
    assert ratio_of(differences, 2.0**-rounds).low is None


def test_the_faster_is_chosen_over_the_preferred() -> None:
    """A candidate that is certainly faster wins wherever it stands, and the sentence says by how much."""
    found = chosen(compared(1.5, 3.5, 1.0, 2.0))
    assert ("openvino int8", True) == (found.chosen, found.settled)
    assert [SLOWER, SLOWER, CHOSEN, SLOWER] == verdicts(found)
    first = found.contenders[0].ratio
    assert first is not None
    assert None not in (first.low, first.high)
    assert (first.low or 0) < 1.5 < (first.high or 0)
    assert f"openvino int8 is faster: litert int8 takes {first} times as long, at 95 % confidence" == (
        found.sentence
    )


def test_equals_leave_the_preferred() -> None:
    """Where no difference is found the first is kept, and said to be no faster."""
    found = chosen(compared(1.0, 1.0))
    assert ("litert int8", [CHOSEN, TIED]) == (found.chosen, verdicts(found))
    assert found.sentence.startswith("no difference was found: litert float32 takes 1.00 (")


def test_a_gain_that_does_not_matter_is_left() -> None:
    """One that is certainly faster, but by less than 2 %, does not displace the preferred."""
    found = chosen(compared(1.01, 1.0, noise=0.0005))
    assert ("litert int8", [CHOSEN, TIED], True) == (found.chosen, verdicts(found), found.settled)
    assert "a gain below 2 %" in found.sentence


def test_a_gain_that_is_certain_and_small_is_told() -> None:
    """The preferred one that is faster by less than 2 % is said to be so, not that nothing was found."""
    found = chosen(compared(1.0, 1.01, noise=0.0005))
    assert ([CHOSEN, TIED], True) == (verdicts(found), found.settled)
    assert found.sentence.startswith("litert int8 is faster, but hardly: litert float32 takes 1.01 (1.01 to")


def test_what_is_uncertain_asks_for_more_rounds() -> None:
    """A difference that the noise hides is no claim and not settled; more rounds find it."""
    noisy = compared(1.0, 1.1, noise=0.2, rounds=12)
    first = chosen(noisy)
    assert (False, [CHOSEN, TIED]) == (first.settled, verdicts(first))
    more = compared(1.0, 1.1, noise=0.2, rounds=90)
    assert [CHOSEN, SLOWER] == verdicts(chosen(more))


def test_too_few_rounds_claim_nothing() -> None:
    """With two rounds there is no interval, however far apart the candidates are."""
    found = chosen(compared(5.0, 1.0, rounds=2))
    assert ("litert int8", False) == (found.chosen, found.settled)
    assert "too few rounds" in found.contenders[1].reason


def test_failures_exclude() -> None:
    """A candidate that failed, computes something else or was not measured is out, with its reason."""
    asked = compared(3.0, 1.0, 1.0, 1.0)
    first, second, third, fourth = asked.candidates
    bad = Parity(4, (TensorParity("y", "float32", 0.5, 0.001, False),))
    candidates = (
        first,
        evolve(second, error=WorkerFailed("the worker crashed").to_json()),
        evolve(third, parity=bad),
        evolve(fourth, latencies_ns=()),
    )
    found = chosen(evolve(asked, candidates=candidates))
    assert ("litert int8", [CHOSEN, *[EXCLUDED] * 3]) == (found.chosen, verdicts(found))
    reasons = [entry.reason for entry in found.contenders[1:]]
    assert [
        "the worker crashed.",
        "the device does not compute what the host computed: y is off by 0.5 (0.001 allowed)",
        "it was not measured",
    ] == reasons
    assert "litert int8 is the only candidate left: litert float32: the worker crashed;" in found.sentence


def test_nothing_left_is_a_value() -> None:
    """Where every candidate failed none is chosen, and the sentence holds every reason."""
    asked = compared(1.0, 1.0)
    failed = tuple(
        evolve(one, error=WorkerFailed(f"crash {index}").to_json())
        for index, one in enumerate(asked.candidates)
    )
    found = chosen(evolve(asked, candidates=failed))
    assert (None, [EXCLUDED] * 2) == (found.chosen, verdicts(found))
    assert "litert int8: crash 0; litert float32: crash 1" in found.sentence


def test_one_candidate_needs_no_measuring() -> None:
    """A single candidate is chosen as it is."""
    found = only("litert int8", "litert")
    assert ("litert int8", [CHOSEN], 0) == (found.chosen, verdicts(found), found.rounds)


def test_rounds_like_the_ones_before_widen() -> None:
    """The same differences in runs of likes, as drift leaves them, are worth less than in any order."""
    draw = random.Random(1)
    differences = [draw.gauss(0, 0.05) for _ in range(24)]
    mixed, in_order = ratio_of(differences, 0.05), ratio_of(sorted(differences), 0.05)
    assert width(in_order) > 2 * width(mixed)


def width(ratio: Ratio) -> float:
    """Of an interval, in logarithms."""
    return math.log((ratio.high or 1) / (ratio.low or 1))


def test_comparisons_are_pooled() -> None:
    """The rounds of two comparisons follow one another; a failure in either stays."""
    first, second = compared(1.0, 2.0), compared(1.0, 2.0)
    both = pooled(first, second)
    assert [24, 24] == [len(one.latencies_ns) for one in both.candidates]
    failing = evolve(
        second,
        candidates=(
            second.candidates[0],
            evolve(second.candidates[1], latencies_ns=(), error=WorkerFailed("late").to_json()),
        ),
    )
    for order in ((first, failing), (failing, first)):
        assert [CHOSEN, EXCLUDED] == verdicts(chosen(pooled(*order)))


@pytest.mark.parametrize("kind", ["heavy", "bimodal", "lasting", "drifting"])
def test_claims_are_seldom_wrong(kind: str) -> None:
    """Of equal candidates hardly ever one is called slower, whatever disturbs them; of unequal ones one is.

    `python -m tests.edge_sdk.bench.simulated` has the figures of thousands; here 120 with a fixed seed.
    """
    equal = (1.0, 1.0, 1.0)
    assert simulated.rate(kind, equal, 60, lambda found: simulated.wrong(found, equal)) <= 0.1
    assert simulated.rate(kind, (1.3, 1.0), 60, lambda found: found.chosen == "1") >= 0.9


def test_every_look_has_its_share_of_the_error() -> None:
    """A choice that may be looked at again claims less from the same rounds than one that may not."""
    asked = compared(1.0, 1.06, noise=0.05, rounds=12)
    once, often = (chosen(asked, looks).contenders[1].ratio for looks in (1, LOOKS))
    assert once is not None
    assert often is not None
    assert (often.low or 0) < (once.low or 0)
