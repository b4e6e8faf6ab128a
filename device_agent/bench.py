"""The measured loops. They run in the worker, around `Session.invoke` and nothing else."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from attrs import frozen

from device_agent import system
from device_agent.errors import InvalidRequest
from device_agent.protocol import BenchmarkRequest, MachineState, Profile
from device_agent.runtimes.base import Clocked, Profiling, Session, Streaming

MAX_ITERATIONS = 50_000  # raw latencies are kept and sent: this bounds them
MAX_SECONDS = 3600.0
MAX_THREADS = 256
THROUGHPUT = "throughput"
HINTS = ("latency", THROUGHPUT)
PROGRESS_NS = 200_000_000


@frozen
class Measurement:
    """What the worker measured; see `BenchmarkResult`."""

    warmup_latencies_ns: tuple[int, ...]
    latencies_ns: tuple[int, ...]
    peak_rss_bytes: int
    before: MachineState
    after: MachineState
    runs_per_second: float | None = None


def check(request: BenchmarkRequest) -> BenchmarkRequest:
    """`request` itself, if it can be done; InvalidRequest names the field that cannot."""
    bounds: dict[str, tuple[float, float, float]] = {
        "warmup_iterations": (request.warmup_iterations, 0, MAX_ITERATIONS),
        "min_iterations": (request.min_iterations, 1, MAX_ITERATIONS),
        "min_seconds": (request.min_seconds, 0, MAX_SECONDS),
        "max_seconds": (request.max_seconds, request.min_seconds, MAX_SECONDS),
        "threads": (request.threads, 1, MAX_THREADS),
        "streams": (1 if request.streams is None else request.streams, 1, MAX_THREADS),
    }
    for name, (value, least, most) in bounds.items():
        if not least <= value <= most:  # written so that NaN is refused as well
            raise InvalidRequest(
                "a benchmark option is out of range",
                where=name,
                got=str(value),
                expected=f"{least} to {most}",
            )
    if request.hint not in (None, *HINTS):
        raise InvalidRequest(
            "unknown performance hint", where="hint", got=repr(request.hint[:40]), expected=" or ".join(HINTS)
        )
    return request


def check_session(session: Session, request: BenchmarkRequest, runtime: str) -> None:
    """Refuse what the session's runtime cannot do: InvalidRequest says what can.

    Args:
        session: the model as it was loaded.
        request: already checked.
        runtime: its name.
    """
    if request.profile and not isinstance(session, Profiling):
        raise InvalidRequest(
            "the runtime does not count the time of operators",
            where=runtime,
            next_step="Deploy the model with `--runtime openvino` to profile it.",
        )
    if (request.hint, request.streams) != (None, None) and not isinstance(session, Streaming):
        raise InvalidRequest(
            "the runtime takes neither a hint nor streams",
            where=runtime,
            next_step="Measure without them, or deploy the model with `--runtime openvino`.",
        )


def measure(session: Session, request: BenchmarkRequest, progress: Callable[[int, int], None]) -> Measurement:
    """Time the runs of `session`, its inputs being in place.

    It ends after `min_iterations` and `min_seconds`, and in any case after `max_seconds` (warm-up
    included) or MAX_ITERATIONS. At least one latency is measured. A session that was loaded for throughput
    is then run side by side for `min_seconds` more.

    Args:
        session: with inputs in place.
        request: already checked.
        progress: called as `progress(iterations done, iterations expected)` a few times a second,
            outside the timed region.
    """
    before = system.machine_state()
    run = _timed(session)
    with _no_collection():
        deadline = time.perf_counter_ns() + round(request.max_seconds * 1e9)
        warmup: list[int] = []
        while len(warmup) < request.warmup_iterations and time.perf_counter_ns() < deadline:
            warmup.append(run())
        latencies = _loop(run, request, deadline, progress)
        rate = None
        if isinstance(session, Streaming) and session.hint == THROUGHPUT:
            rate = session.stream(request.min_seconds)
    peak = system.peak_rss_bytes()
    return Measurement(tuple(warmup), tuple(latencies), peak, before, system.machine_state(), rate)


def profile(session: Session, request: BenchmarkRequest, progress: Callable[[int, int], None]) -> Profile:
    """Time the runs of `session` and its operators; see `measure` for how long and the arguments.

    Args:
        session: loaded with counters on; `check_session` holds.
        request: see `measure`.
        progress: see `measure`.
    """
    if not isinstance(session, Profiling):
        raise InvalidRequest("the runtime does not count the time of operators")
    run = _timed(session)
    with _no_collection():
        deadline = time.perf_counter_ns() + round(request.max_seconds * 1e9)
        for _ in range(request.warmup_iterations):
            if time.perf_counter_ns() < deadline:
                run()
        session.reset_timings()
        latencies = _loop(run, request, deadline, progress)
        operators = session.timings()
    latency_ns = round(sum(latencies) / len(latencies))
    unattributed_ns = latency_ns - sum(operator.ns for operator in operators)
    return Profile(len(latencies), latency_ns, operators, unattributed_ns, session.resolution_ns)


@contextmanager
def _no_collection() -> Iterator[None]:
    """No garbage collection: one in mid-run would be measured."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def _loop(
    run: Callable[[], int], request: BenchmarkRequest, deadline: int, progress: Callable[[int, int], None]
) -> list[int]:
    latencies: list[int] = []
    started = now = time.perf_counter_ns()
    enough = started + round(request.min_seconds * 1e9)
    reported = 0
    while not latencies or (
        now < deadline
        and len(latencies) < MAX_ITERATIONS
        and (len(latencies) < request.min_iterations or now < enough)
    ):
        latencies.append(run())
        now = time.perf_counter_ns()
        if now - reported > PROGRESS_NS:
            reported = now
            progress(len(latencies), _expected(request, len(latencies), now - started))
    progress(len(latencies), len(latencies))
    return latencies


def _timed(session: Session) -> Callable[[], int]:
    """Runs `session` once and tells the nanoseconds that it took, by the runtime's clock if it has one."""
    invoke = session.invoke
    if isinstance(session, Clocked):
        latency_ns = session.latency_ns

        def by_its_own() -> int:
            invoke()
            return latency_ns()

        return by_its_own

    def by_ours() -> int:
        begin = time.perf_counter_ns()
        invoke()
        return time.perf_counter_ns() - begin

    return by_ours


def _expected(request: BenchmarkRequest, done: int, elapsed_ns: int) -> int:
    """How many iterations there will be at the pace so far."""
    by_time = round(done * request.min_seconds * 1e9 / elapsed_ns)
    by_deadline = max(done, round(done * request.max_seconds * 1e9 / elapsed_ns))
    return min(max(request.min_iterations, by_time, done), by_deadline, MAX_ITERATIONS)
