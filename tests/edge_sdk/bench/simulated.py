"""Comparisons as machines disturb them, to see how often a choice claims what is not so.

    python -m tests.edge_sdk.bench.simulated [--trials 2000]

Each candidate's turn is its true latency times what disturbs it. `shared` disturbances last longer than a
turn and meet all candidates; `own` ones meet one of them, or one more than the other.
"""

from __future__ import annotations

import argparse
import math
import random
from collections.abc import Callable, Iterator, Sequence
from functools import reduce

from device_agent.protocol import Compared, MachineState, Measured
from edge_sdk.bench.choice import LOOKS, SLOWER, Decision, choose, pooled

STATE = MachineState(None, None, None, 0.0, 0)
ROUNDS = 12
Noise = Callable[[random.Random], Iterator[float]]


def steady(draw: random.Random) -> Iterator[float]:
    """Log latencies that are normal and independent."""
    while True:
        yield draw.gauss(0, 0.02)


def drifting(draw: random.Random) -> Iterator[float]:
    """A random walk: temperature, frequency."""
    level = 0.0
    while True:
        level += draw.gauss(0, 0.01)
        yield level


def warming(draw: random.Random) -> Iterator[float]:
    """Half a per cent slower each turn."""
    level = 0.0
    while True:
        level += 0.005
        yield level + draw.gauss(0, 0.003)


def heavy(draw: random.Random) -> Iterator[float]:
    """Student's t with 1.5 degrees of freedom: no variance; now and then a turn is twice as long."""
    while True:
        chi = draw.gammavariate(0.75, 2)
        yield min(3.0, max(-1.0, 0.02 * draw.gauss(0, 1) / math.sqrt(chi / 1.5)))


def skewed(draw: random.Random) -> Iterator[float]:
    """Never faster than the machine can be, and often slower: neighbours."""
    while True:
        yield draw.expovariate(20)


def bimodal(draw: random.Random) -> Iterator[float]:
    """A fifth of the turns is 15 % slower."""
    while True:
        yield 0.15 * (draw.random() < 0.2) + draw.gauss(0, 0.01)


def lasting(draw: random.Random) -> Iterator[float]:
    """Two modes, 10 % apart, each of which lasts for some rounds."""
    slow = draw.random() < 0.5
    while True:
        slow ^= draw.random() < 0.2
        yield 0.1 * slow + draw.gauss(0, 0.01)


def lingering(draw: random.Random) -> Iterator[float]:
    """Each turn is half like the candidate's one before it."""
    level = draw.gauss(0, 0.03)
    while True:
        yield level
        level = 0.5 * level + math.sqrt(0.75) * draw.gauss(0, 0.03)


OWN: dict[str, Noise] = {one.__name__: one for one in (steady, heavy, skewed, bimodal, lasting, lingering)}
SHARED: dict[str, Noise] = {one.__name__: one for one in (drifting, warming)}


def comparison(draw: random.Random, latencies: Sequence[float], kind: str) -> Iterator[Compared]:
    """Looks of ROUNDS rounds at candidates of these true latencies; the same disturbance goes on."""
    own = [OWN.get(kind, steady)(draw) for _ in latencies]
    shared = SHARED.get(kind, lambda _: iter(lambda: 0.0, None))(draw)
    while True:
        found: list[list[tuple[int, ...]]] = [[] for _ in latencies]
        for number in range(ROUNDS):
            order = range(len(latencies)) if number % 2 == 0 else reversed(range(len(latencies)))
            for index in order:
                level = next(own[index]) + next(shared)
                found[index].append((round(1e6 * latencies[index] * math.exp(level)),))
        measured = tuple(
            Measured(f"sha256:{index}", f"runtime{index}", latencies_ns=tuple(turns))
            for index, turns in enumerate(found)
        )
        yield Compared("model", 1, measured, STATE, STATE)


def decided(draw: random.Random, latencies: Sequence[float], kind: str) -> Decision:
    """The choice after as many looks as it takes, LOOKS at most."""
    looks: list[Compared] = []
    for compared in comparison(draw, latencies, kind):
        looks.append(compared)
        found = choose(reduce(pooled, looks), [str(index) for index in range(len(latencies))])
        if found.settled or len(looks) == LOOKS:
            break
    return found


def wrong(found: Decision, latencies: Sequence[float]) -> bool:
    """A candidate is said to be slower than the chosen one, and is not."""
    assert found.chosen is not None
    chosen = latencies[int(found.chosen)]
    return any(
        entry.verdict == SLOWER and latencies[index] <= chosen for index, entry in enumerate(found.contenders)
    )


def rate(kind: str, latencies: Sequence[float], trials: int, judged: Callable[[Decision], bool]) -> float:
    """The share of simulated choices that are judged so."""
    draw = random.Random(f"{kind} {latencies}")
    return sum(judged(decided(draw, latencies, kind)) for _ in range(trials)) / trials


def main() -> None:
    """Print how often choices are wrong, and how often a difference is found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=2000)
    trials = parser.parse_args().trials
    head = ("disturbance", "wrong of 2", "wrong of 4", "5 % found", "10 % found", "30 % found")
    print(f"{head[0]:<12}" + "".join(f"{name:>12}" for name in head[1:]))
    for kind in (*OWN, *SHARED):
        shares = [
            rate(kind, equal, trials, lambda found, equal=equal: wrong(found, equal))
            for equal in ((1.0, 1.0), (1.0, 1.0, 1.0, 1.0))
        ]
        shares += [
            rate(kind, (more, 1.0), trials, lambda found: found.chosen == "1") for more in (1.05, 1.1, 1.3)
        ]
        print(f"{kind:<12}" + "".join(f"{100 * share:>10.1f} %" for share in shares), flush=True)


if __name__ == "__main__":
    main()
