"""The ladder's null twin: an engine whose errors and costs are drawn at random and known exactly.

    python -m tests.converters.quantize.search.ladder_problems --count 500

draws problems, searches each, finds each's optimum by trying everything, and climbs each as others do (all of
it int8, then the layers that lose most become float one by one, every time with a full validation).
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from attrs import evolve, field, frozen

from converters.artifact import Artifact
from converters.progress import silent
from converters.quantize.accuracy.metrics.base import Evaluation, Judgement
from converters.quantize.engine import Built, Effect, Layer, LayerError
from converters.quantize.scheme import Scheme
from converters.quantize.search import ladder
from converters.quantize.search.trials import TIE, Look, Measured
from converters.quantize.search.types import Goal, Search
from device_agent.errors import QuantizationError

SAMPLES = 200
FLOAT_VALUE = 80.0


@frozen
class Problem:
    """A network of layers whose output errors add up, and the drop that comes of them.

    `errors[i]` is layer i's share of the output error in int8; `rest[i]` what is left of it in int16x8, in
    float nothing is. `together` are pairs of layers whose errors grow by a factor when both are rounded. A
    repair or a method multiplies the errors of its layers. The drop in points is `steepness * error`, seen
    in whole samples. Costs are nanoseconds by precision and layer; `switch_ns` is for each change of
    precision between neighbours.
    """

    errors: tuple[float, ...]
    edges: tuple[float, ...]  # of the tensor between a layer and the next: only both sides win it back
    rest: tuple[float, ...]
    together: Mapping[tuple[int, int], float]
    ranges: Mapping[str, tuple[float, ...]]
    repairs: Mapping[str, tuple[float, ...]]
    steps: tuple[str, ...]
    only_float: frozenset[int]  # layers that have no int16x8 form
    costs: Mapping[str, tuple[float, ...]]
    switch_ns: float
    steepness: float
    max_drop: float

    def precisions(self, scheme: Scheme) -> list[str]:
        wanted = [scheme.precision_of(f"layer{i}") for i in range(len(self.errors))]
        return [
            "float32" if one == "int16x8" and i in self.only_float else one for i, one in enumerate(wanted)
        ]

    def error(self, scheme: Scheme) -> float:
        left = {"int8": 1.0, "float32": 0.0}
        found = []
        precisions = self.precisions(scheme)
        for i, precision in enumerate(precisions):
            factor = left.get(precision, self.rest[i])
            if precision == "int8":
                factor *= self.ranges[scheme.ranges][i]
                for repair in scheme.repairs:
                    factor *= self.repairs[repair][i]
            found.append(self.errors[i] * factor)
        for i, edge in enumerate(self.edges):
            sides = {precisions[i], precisions[i + 1]}
            found.append(edge * (1.0 if "int8" in sides else self.rest[i] if "int16x8" in sides else 0.0))
        more = sum((factor - 1) * (found[i] * found[j]) ** 0.5 for (i, j), factor in self.together.items())
        return sum(found) + more

    def drop(self, scheme: Scheme) -> float:
        step = 100 / SAMPLES
        return round(self.steepness * self.error(scheme) / step) * step

    def cost(self, scheme: Scheme) -> int:
        precisions = self.precisions(scheme)
        work = sum(self.costs[precision][i] for i, precision in enumerate(precisions))
        switches = sum(a != b for a, b in itertools.pairwise(precisions))
        return round(work + switches * self.switch_ns)


def draw(seed: int, *, layers: int | None = None) -> Problem:
    """A problem: a few layers lose most, as in real networks, and some schemes meet its goal."""
    rng = np.random.default_rng(seed)
    count = layers if layers is not None else int(rng.integers(3, 8))
    errors = np.exp(rng.normal(0, 1.5, count))
    errors *= rng.uniform(0.05, 0.5) / errors.sum()
    macs = np.exp(rng.normal(0, 1, count))
    costs = {
        "int8": macs * 1e6,
        "int16x8": macs * 1e6 * rng.uniform(1.2, 3) * rng.uniform(0.8, 1.25, count),
        "float32": macs * 1e6 * rng.uniform(1.3, 4) * rng.uniform(0.8, 1.25, count),
    }
    names = ("minmax", "percentile", "mse")[: rng.integers(1, 4)]
    methods = {
        name: np.ones(count) if i == 0 else rng.uniform(0.7, 1.5, count) for i, name in enumerate(names)
    }
    repairs = {}
    for name in ("equalization", "bias_correction", "weight_rounding")[: rng.integers(0, 4)]:
        touched = rng.random(count) < 0.4
        repairs[name] = np.where(touched, rng.uniform(0.3, 1.2, count), 1.0)
    pairs = [pair for pair in itertools.combinations(range(count), 2) if rng.random() < 0.15]
    steps = (("int16x8", "float32"), ("int16x8", "float32"), ("float32",), ("int16x8",))[rng.integers(4)]
    steepness = float(rng.uniform(5, 60))
    return Problem(
        errors=tuple(errors.tolist()),
        edges=tuple(
            (errors[1:] * np.where(rng.random(count - 1) < 0.2, rng.uniform(0.5, 2, count - 1), 0)).tolist()
        ),
        rest=tuple(rng.uniform(0.0, 0.4, count).tolist()),
        together={pair: float(rng.uniform(0.5, 2)) for pair in pairs},
        ranges={name: tuple(factors.tolist()) for name, factors in methods.items()},
        repairs={name: tuple(factors.tolist()) for name, factors in repairs.items()},
        steps=steps,
        only_float=frozenset(i for i in range(count) if "float32" in steps and rng.random() < 0.1),
        costs={name: tuple(values.tolist()) for name, values in costs.items()},
        switch_ns=float(costs["int8"].sum() * rng.uniform(0, 0.03)),
        steepness=steepness,
        max_drop=float(rng.choice([0.0, 0.5, 1.0, 2.0])),
    )


class FakeEngine:
    """An `Engine` for a problem; it counts what it builds, and refuses what it is told to."""

    def __init__(self, problem: Problem, refused: Sequence[str] = ()) -> None:
        self.problem = problem
        self.ranges = tuple(problem.ranges)
        self.repairs = tuple(problem.repairs)
        self.steps = problem.steps
        self.refused = refused
        self.built = 0

    def layers(self) -> tuple[Layer, ...]:
        found = []
        for i, macs in enumerate(self.problem.costs["int8"]):
            precisions = (
                ("int8", "float32") if i in self.problem.only_float else ("int8", "int16x8", "float32")
            )
            before = (f"layer{i - 1}",) if i else ()
            found.append(Layer(f"layer{i}", "CONV_2D", f"conv{i}", round(macs), precisions, before))
        return tuple(found)

    def build(self, scheme: Scheme) -> Built:
        self.built += 1
        if {scheme.ranges, *scheme.repairs, scheme.precision, *scheme.exceptions.values()} & {*self.refused}:
            raise QuantizationError("this has no such kernel")
        precisions = self.problem.precisions(scheme)
        artifact = Artifact(
            title="fake.json",
            data=scheme.key.encode(),
            runtime="null",
            runtime_version="1.0",
            precision=scheme.precision,
            inputs=(),
            outputs=(),
            operators=tuple(precisions),
            float_operators=tuple(one for one in precisions if one == "float32"),
            tolerance={},
            rewrites={},
        )
        return Built(artifact, tuple(Effect(name, 1, "did") for name in scheme.repairs), ())

    def errors(self, scheme: Scheme, samples: Iterable[Mapping[str, np.ndarray]]) -> tuple[LayerError, ...]:
        """What has added up to each layer, of a signal of 1."""
        sums = np.cumsum([1e-9 + error for error in self.problem.errors])
        return tuple(
            LayerError(
                layer.name, layer.type, layer.label, "int8", float(-10 * np.log10(noise)), 1, None, None
            )
            for layer, noise in zip(self.layers(), sums, strict=True)
        )


@frozen
class FakeWorst:
    problem: Problem
    factors: tuple[float, ...]
    samples: tuple[dict[str, np.ndarray], ...] = ()

    def look(self, artifact: Artifact) -> Look:
        scheme = scheme_of(artifact)
        noise = np.random.default_rng(len(scheme.key)).uniform(
            0.98, 1.02
        )  # as one clock differs from another
        error = self.problem.error(scheme) * float(np.mean(self.factors))
        return Look(error, round(self.problem.cost(scheme) * noise))


class FakeBench:
    """A `Bench` for a problem; it counts full validations."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.evaluated = 0
        factors = np.random.default_rng(0).uniform(0.5, 1.5, SAMPLES)
        self.factors = tuple((factors / factors.mean()).tolist())

    def evaluate(self, artifact: Artifact) -> Measured:
        self.evaluated += 1
        scheme = scheme_of(artifact)
        drop, error = self.problem.drop(scheme), self.problem.error(scheme)
        judged = judgement(drop, self.problem.max_drop)
        return Measured(FLOAT_VALUE - drop, judged, tuple(error * factor for factor in self.factors))

    def cost(self, artifact: Artifact) -> int:
        return self.problem.cost(scheme_of(artifact))

    def worst(self, indices: Sequence[int]) -> FakeWorst:
        return FakeWorst(self.problem, tuple(self.factors[index] for index in indices))


@frozen
class FakeMetric:
    name: str = "top1"
    unit: str = "points"
    greater_is_better: bool = True
    labelled: bool = True
    binary: bool = True
    default_drop: float = 0.5


def judgement(drop: float, max_drop: float) -> Judgement:
    """As paired bounds are: about two points wide for 200 samples."""
    return Judgement(
        drop, drop - 1, drop + 1, 0.95, SAMPLES, "fake", drop <= max_drop, drop + 1 <= max_drop, None
    )


def scheme_of(artifact: Artifact) -> Scheme:
    from device_agent import codec

    return codec.from_json(json.loads(artifact.data), Scheme, where="fake")


def searched(
    problem: Problem, engine: FakeEngine | None = None, bench: FakeBench | None = None, **more
) -> Search:
    """What the ladder finds."""
    search, _ = ladder.run(
        engine or FakeEngine(problem),
        more.pop("goal", Goal(max_drop=problem.max_drop)),
        bench or FakeBench(problem),
        metric=FakeMetric(),
        reference=Evaluation(FLOAT_VALUE, (1,) * SAMPLES),
        source="drawn",
        io="integer",
        journal=more.pop("journal", None),
        progress=more.pop("progress", silent),
        **more,
    )
    return search


def optimum(problem: Problem) -> tuple[int | None, int]:
    """The least latency of an int8 scheme with or without exceptions that meets the goal, and how many do.

    One that is no faster than float32 is no gain.
    """
    best, meeting = None, 0
    worth = problem.cost(Scheme("float32", "float")) / TIE if "float32" in problem.steps else math.inf
    names = [f"layer{i}" for i in range(len(problem.errors))]
    subsets = [
        combination
        for size in range(len(problem.repairs) + 1)
        for combination in itertools.combinations(problem.repairs, size)
    ]
    for ranges, repairs in itertools.product(problem.ranges, subsets):
        for given in itertools.product(("int8", *problem.steps), repeat=len(names)):
            exceptions = {name: one for name, one in zip(names, given, strict=True) if one != "int8"}
            scheme = Scheme("int8", exceptions=exceptions, ranges=ranges, repairs=repairs)
            cost = problem.cost(scheme)
            if cost < worth and problem.drop(scheme) <= problem.max_drop:
                meeting += 1
                best = cost if best is None or cost < best else best
    return best, meeting


def greedy(problem: Problem) -> tuple[int | None, int]:
    """Latency and full validations of the usual way: float islands one by one, by their own effect."""
    validations, left = 1, list(range(len(problem.errors)))
    scheme = Scheme("int8")
    step = "float32" if "float32" in problem.steps else problem.steps[-1]
    while problem.drop(scheme) > problem.max_drop and left:
        alone = {
            i: problem.error(evolve(scheme, exceptions={**scheme.exceptions, f"layer{i}": step}))
            for i in left
        }
        most = min(left, key=alone.__getitem__)
        left.remove(most)
        scheme = evolve(scheme, exceptions={**scheme.exceptions, f"layer{most}": step})
        validations += 1
    met = problem.drop(scheme) <= problem.max_drop
    return (problem.cost(scheme) if met else None), validations


@frozen
class Campaign:
    """Of many problems: latencies over the optimum, full validations, and what was missed."""

    over: list[float] = field(factory=list)  # the ladder's latency over the optimum's
    greedy_over: list[float] = field(factory=list)
    validations: list[int] = field(factory=list)
    greedy_validations: list[int] = field(factory=list)
    missed: list[int] = field(factory=list)  # seeds of problems that had a solution that was not found
    greedy_missed: list[int] = field(factory=list)


def campaign(seeds: Iterable[int]) -> Campaign:
    """Search problems that plain int8 does not solve."""
    found = Campaign()
    for seed in seeds:
        problem = draw(seed)
        if problem.drop(Scheme("int8")) <= problem.max_drop:
            continue
        best, _ = optimum(problem)
        if best is None:
            continue
        bench = FakeBench(problem)
        search = searched(problem, bench=bench)
        found.validations.append(bench.evaluated)
        latency, validations = greedy(problem)
        found.greedy_validations.append(validations)
        if search.met:
            found.over.append(search.candidates[search.best - 1].latency_ns / best)
        else:
            found.missed.append(seed)
        if latency is None:
            found.greedy_missed.append(seed)
        else:
            found.greedy_over.append(latency / best)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Search random problems whose optimum is known.")
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--first", type=int, default=0)
    given = parser.parse_args()
    found = campaign(range(given.first, given.first + given.count))

    def told(name: str, over: list[float], validations: list[int], missed: list[int]) -> None:
        ratios, counts = np.array(over), np.array(validations)
        print(
            f"{name}: {len(counts)} problems, {len(missed)} missed {missed[:8]}; latency over the optimum: "
            f"mean {ratios.mean():.3f}, median {np.median(ratios):.3f}, 90 % {np.quantile(ratios, 0.9):.3f}, "
            f"95 % {np.quantile(ratios, 0.95):.3f}, most {ratios.max():.3f}; "
            f"within 5 %: {np.mean(ratios <= 1.05):.2f}; "
            f"full validations: mean {counts.mean():.1f}, most {counts.max()}"
        )

    told("ladder", found.over, found.validations, found.missed)
    told("one by one", found.greedy_over, found.greedy_validations, found.greedy_missed)


if __name__ == "__main__":
    main()
