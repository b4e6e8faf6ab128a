"""The measured loop. It runs in the worker, around `Session.invoke` and nothing else."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

from attrs import frozen

from device_agent import system
from device_agent.errors import InvalidRequest
from device_agent.protocol import BenchmarkRequest, MachineState
from device_agent.runtimes.base import Session

MAX_ITERATIONS = 50_000  # raw latencies are kept and sent: this bounds them
MAX_SECONDS = 3600.0
MAX_THREADS = 256
PROGRESS_NS = 200_000_000


@frozen
class Measurement:
    """What the worker measured; see `BenchmarkResult`."""

    warmup_latencies_ns: tuple[int, ...]
    latencies_ns: tuple[int, ...]
    peak_rss_bytes: int
    before: MachineState
    after: MachineState


def check(request: BenchmarkRequest) -> BenchmarkRequest:
    """`request` itself, if it can be done; InvalidRequest names the field that cannot."""
    bounds: dict[str, tuple[float, float, float]] = {
        "warmup_iterations": (request.warmup_iterations, 0, MAX_ITERATIONS),
        "min_iterations": (request.min_iterations, 1, MAX_ITERATIONS),
        "min_seconds": (request.min_seconds, 0, MAX_SECONDS),
        "max_seconds": (request.max_seconds, request.min_seconds, MAX_SECONDS),
        "threads": (request.threads, 1, MAX_THREADS),
    }
    for name, (value, least, most) in bounds.items():
        if not least <= value <= most:  # written so that NaN is refused as well
            raise InvalidRequest(
                "a benchmark option is out of range",
                where=name,
                got=str(value),
                expected=f"{least} to {most}",
            )
    return request


def measure(session: Session, request: BenchmarkRequest, progress: Callable[[int, int], None]) -> Measurement:
    """Time `session.invoke()`, its inputs being in place.

    It ends after `min_iterations` and `min_seconds`, and in any case after `max_seconds` (warm-up
    included) or MAX_ITERATIONS. At least one latency is measured.

    Args:
        session: with inputs in place.
        request: already checked.
        progress: called as `progress(iterations done, iterations expected)` a few times a second,
            outside the timed region.
    """
    before = system.machine_state()
    collecting = gc.isenabled()
    gc.disable()  # a collection in mid-run would be measured
    try:
        deadline = time.perf_counter_ns() + round(request.max_seconds * 1e9)
        warmup: list[int] = []
        while len(warmup) < request.warmup_iterations and time.perf_counter_ns() < deadline:
            warmup.append(_one(session))
        latencies = _loop(session, request, deadline, progress)
    finally:
        if collecting:
            gc.enable()
    return Measurement(
        tuple(warmup), tuple(latencies), system.peak_rss_bytes(), before, system.machine_state()
    )


def _loop(
    session: Session, request: BenchmarkRequest, deadline: int, progress: Callable[[int, int], None]
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
        latencies.append(_one(session))
        now = time.perf_counter_ns()
        if now - reported > PROGRESS_NS:
            reported = now
            progress(len(latencies), _expected(request, len(latencies), now - started))
    progress(len(latencies), len(latencies))
    return latencies


def _one(session: Session) -> int:
    begin = time.perf_counter_ns()
    session.invoke()
    return time.perf_counter_ns() - begin


def _expected(request: BenchmarkRequest, done: int, elapsed_ns: int) -> int:
    """How many iterations there will be at the pace so far."""
    by_time = round(done * request.min_seconds * 1e9 / elapsed_ns)
    by_deadline = max(done, round(done * request.max_seconds * 1e9 / elapsed_ns))
    return min(max(request.min_iterations, by_time, done), by_deadline, MAX_ITERATIONS)
