"""The ladder's decisions: generators that yield what to try next and are sent what came of it.

They run nothing and know no clock, so the same outcomes lead to the same decisions. Each ends where the goal
is met as well as it can meet it, or where it has nothing left to try. `history` is a live view of everything
that was tried so far.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence

from attrs import evolve, frozen

from converters.quantize.scheme import Scheme
from converters.quantize.search.choices import Choice, Refinement
from converters.quantize.search.culprits import Option, ordered
from converters.quantize.search.trials import NEAR_ENOUGH, NEAR_PLAIN, TIE, Tried, Try, better, fastest, meets
from converters.quantize.search.types import Goal

Rung = Generator[Try, Tried, None]

MOST_GROWTH = 16  # sets of culprits that are tried until one meets the goal
MOST_BACK = 14  # smaller or cheaper sets that are tried after it
MOST_SLOW = 3  # single layers in a row that make the model too slow: those after them are worth even less


@frozen
class Space:
    """What a search chooses from: an engine's abilities, the goal, and float32's latency if that is known."""

    ranges: tuple[str, ...]
    repairs: tuple[str, ...]
    steps: tuple[str, ...]
    io: str
    goal: Goal
    float_ns: int | None


def plain(space: Space) -> Scheme:
    """Where every search begins."""
    return Scheme("int8", space.io, ranges=space.ranges[0])


def no_gain(space: Space, history: Sequence[Tried]) -> tuple[str, ...]:
    """A note where plain int8 is not faster than float32 on this machine."""
    first = history[0]
    if space.float_ns is None or first.latency_ns is None or space.float_ns > NEAR_PLAIN * first.latency_ns:
        return ()
    said = (
        f"plain int8 takes {first.latency_ns / 1e6:.3g} ms on this machine and float32 "
        f"{space.float_ns / 1e6:.3g} ms: int8 is not faster here, and may be on the device"
    )
    return (said,)


def done(space: Space, history: Sequence[Tried]) -> bool:
    """Whether the goal is met by a candidate that is about as fast as plain int8."""
    best = fastest(history, space.goal)
    if best is None:
        return False
    near = NEAR_PLAIN if best.scheme.exceptions or best.scheme.precision != "int8" else NEAR_ENOUGH
    return best.latency <= near * history[0].latency


def base(history: Sequence[Tried]) -> Tried | None:
    """The most accurate int8 candidate without exceptions: the first unless a later one is better."""
    found: Tried | None = None
    for tried in history:
        if tried.scheme.precision == "int8" and not tried.scheme.exceptions and tried.judgement is not None:
            found = tried if found is None or better(tried, found) else found
    return found


def ceiling(space: Space, history: Sequence[Tried]) -> tuple[int | None, str]:
    """The latency from which on a candidate is not worth evaluating, and what is as fast and better.

    float32 bounds it only where it is clearly slower than plain int8: where it is not, this machine does
    not tell the precisions apart as the quantised model's own device does.
    """
    bounds: list[tuple[int, str]] = []
    best = fastest(history, space.goal)
    if best is not None and best.latency_ns is not None:
        said = f"candidate {best.number} meets the goal in {best.latency_ns / 1e6:.3g} ms"
        bounds.append((best.latency_ns, said))
    slower = space.float_ns is not None and space.float_ns > NEAR_PLAIN * history[0].latency
    if "float32" in space.steps and space.float_ns is not None and slower:
        bounds.append((round(space.float_ns * TIE), f"float32 takes {space.float_ns / 1e6:.3g} ms"))
    return min(bounds, default=(None, ""))


def without_exceptions(space: Space, history: Sequence[Tried]) -> Rung:
    """Plain int8, then all repairs at once, other ranges, single repairs, and those with other ranges.

    Repairs help each other: of a network of the usual kind equalisation alone gains little, with biases
    corrected after it a good deal. So all come first, and what one of them spoils shows where it is left out.
    """
    first = yield Try("plain int8", plain(space))
    if done(space, history) or first.judgement is None:
        return
    if len(space.repairs) > 1:
        yield _repaired(first.scheme, space.repairs)
        if done(space, history):
            return
    start = base(history) or first
    for method in space.ranges[1:]:
        yield Try(f"ranges: {method}", evolve(start.scheme, ranges=method))
        if done(space, history):
            return
    start = base(history) or first
    if start.scheme.repairs:
        for repair in space.repairs:
            yield _repaired(start.scheme, [one for one in space.repairs if one != repair])
            if done(space, history):
                return
    else:
        yield from _one_by_one(space, history, start)
    yield from _crossed(space, history, first)


def _crossed(space: Space, history: Sequence[Tried], first: Tried) -> Rung:
    """Each way to choose ranges with each repair alone, where some candidate is not sure to miss the goal.

    On few samples a handful of them decides, which any of these may get right without an operator in float.
    """
    for method in space.ranges:
        for repair in space.repairs:
            near = (
                t for t in history if t.judgement is not None and t.judgement.lower <= space.goal.max_drop
            )
            if done(space, history) or next(near, None) is None:
                return
            scheme = evolve(first.scheme, ranges=method, repairs=(repair,))
            if all(tried.scheme.key != scheme.key for tried in history):
                yield Try(f"ranges: {method}, repair: {repair}", scheme)


def _one_by_one(space: Space, history: Sequence[Tried], start: Tried) -> Rung:
    """Each repair alone, then those that helped together, the most helpful first."""
    helped: list[tuple[float, str]] = []
    most = start
    for repair in space.repairs:
        tried = yield _repaired(start.scheme, (repair,))
        if done(space, history):
            return
        if better(tried, start):
            helped.append((tried.error, repair))
            most = tried if better(tried, most) else most
    for _, repair in sorted(helped):
        if repair in most.scheme.repairs:
            continue
        tried = yield _repaired(
            start.scheme, [one for one in space.repairs if one in (*most.scheme.repairs, repair)]
        )
        if done(space, history):
            return
        most = tried if better(tried, most) else most


def _repaired(scheme: Scheme, repairs: Sequence[str]) -> Try:
    said = f"repair{'s' * (len(repairs) != 1)}: {' + '.join(repairs)}"
    return Try(said, evolve(scheme, repairs=tuple(repairs)))


def with_exceptions(space: Space, history: Sequence[Tried], start: Tried, options: Sequence[Option]) -> Rung:
    """More precision for the culprits: sets grow until one meets the goal, then cheaper ones are tried.

    Sets double while they help. One that makes the model worse, or too slow, is taken back and tried by
    half. From the first that meets the goal its last part is halved; then members are taken away or
    exchanged for cheaper ones, the most promising first.
    """
    order = ordered(options)
    chosen: list[Option] = []
    current, at, size, slow = start, 0, 1, 0
    batch: list[Option] = []
    met = False
    for _ in range(MOST_GROWTH):
        batch = list(order[at : at + size])
        if not batch or slow == MOST_SLOW:
            return
        tried = yield _try(space, history, start, Choice.of([*chosen, *batch]))
        met = meets(tried, space.goal)
        if met:
            break
        if tried.judgement is not None and not better(current, tried):
            chosen += batch
            current, at, size, slow = tried, at + len(batch), 2 * size, 0
        elif len(batch) > 1:
            size = len(batch) // 2
        else:
            at += 1
            slow += tried.slow is not None
    if not met:
        return
    fails, holds = 0, len(batch)
    while holds - fails > 1:
        middle = (holds + fails) // 2
        tried = yield _try(space, history, start, Choice.of([*chosen, *batch[:middle]]))
        fails, holds = (fails, middle) if meets(tried, space.goal) else (middle, holds)
    known = Refinement(Choice.of([*chosen, *batch[:holds]]), tuple(options))
    known.learn(Choice.of([*chosen, *batch[:fails]]), met=False)
    yield from _refine(space, history, start, known)


def _refine(space: Space, history: Sequence[Tried], start: Tried, known: Refinement) -> Rung:
    """Cheaper sets as long as there are promising ones; then one precision for all."""
    for _ in range(MOST_BACK):
        choice = known.following()
        if choice is None or done(space, history):
            break
        tried = yield _try(space, history, start, choice)
        known.learn(choice, met=meets(tried, space.goal), slow=tried.slow is not None)
    for step in space.steps:
        same = [
            evolve(option, precision=step) for option in known.kept.options if option.group.exceptions(step)
        ]
        if same and any(option.precision != step for option in known.kept.options):
            yield _try(space, history, start, Choice.of(same))


def at_the_end(space: Space, history: Sequence[Tried]) -> Rung:
    """All of it in int16x8; then float32, if nothing that is quantised meets the goal."""
    start = base(history)
    if "int16x8" in space.steps and not done(space, history):
        limit, said = ceiling(space, history)
        wide = Scheme("int16x8", space.io, ranges=space.ranges[0])
        if start is not None:
            wide = evolve(start.scheme, precision="int16x8")
        yield Try("all int16x8", wide, limit, said)
    if "float32" in space.steps and fastest(history, space.goal) is None:
        yield Try("float32", Scheme("float32", "float"))


def _try(space: Space, history: Sequence[Tried], start: Tried, choice: Choice) -> Try:
    exceptions = choice.exceptions
    counts = {step: sum(step == one for one in exceptions.values()) for step in space.steps}
    said = ", ".join(f"{step} for {n} layer{'s' * (n != 1)}" for step, n in counts.items() if n)
    limit, why = ceiling(space, history)
    return Try(said, evolve(start.scheme, exceptions=exceptions), limit, why)
