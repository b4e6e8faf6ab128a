"""One comparison: candidates in workers of their own, checked, then measured in turns.

All workers stay while together they hold no more memory than idle workers may (EDGE_AGENT_WARM_BYTES); else
each candidate gets a new one for each of its turns. A candidate that cannot be loaded, computes something
else or loses its worker is left out; the others go on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from attrs import define, evolve, field

from device_agent import log, system
from device_agent.bench import check as check_benchmark
from device_agent.bundle import check_digest
from device_agent.candidate import Candidate
from device_agent.errors import EdgeError, InvalidRequest
from device_agent.metrics import resident_bytes
from device_agent.parity import golden_samples, replay, require
from device_agent.protocol import Compared, CompareRequest, Event, Measured, Parity
from device_agent.serving import Serving
from device_agent.tensors import Tensor
from device_agent.worker import Loaded, Worker

MAX_CANDIDATES = 8
MAX_ROUNDS = 100
MAX_SECONDS = 3600.0  # for all turns together; after so long, loading included, no further round begins
SETTLING = 3  # warm-up runs of a turn that is not the first: others have used the caches meanwhile
MAX_LATENCIES = 400_000  # of all turns together: they are kept and sent
Emit = Callable[[Event], None]


def check(asked: CompareRequest) -> CompareRequest:
    """`asked` itself, if it can be done; InvalidRequest names what cannot."""
    request = check_benchmark(asked.request)
    digests = [check_digest(candidate.manifest_digest) for candidate in asked.candidates]
    turns = len(digests) * asked.rounds
    bounds: dict[str, tuple[float, float, float]] = {
        "candidates": (len(digests), 2, MAX_CANDIDATES),
        "different candidates": (len(set(digests)), len(digests), len(digests)),
        "rounds": (asked.rounds, 1, MAX_ROUNDS),
        "seconds of all turns together (max_seconds)": (request.max_seconds * turns, 0, MAX_SECONDS),
        "iterations of all turns together (min_iterations)": (
            request.min_iterations * turns,
            1,
            MAX_LATENCIES,
        ),
    }
    for what, (value, least, most) in bounds.items():
        if not least <= value <= most:
            raise InvalidRequest(
                "a comparison is out of range",
                where=what,
                got=f"{value:g}",
                expected=f"{least:g} to {most:g}",
            )
    if (request.profile, request.hint, request.streams) != (False, None, None):
        raise InvalidRequest(
            "a comparison runs bundles as they would be deployed",
            where="request",
            expected="neither profile nor hint nor streams",
        )
    return asked


def turns(count: int, rounds: int) -> Iterator[tuple[int, int]]:
    """Whose turn it is, as (round, candidate): forwards, then backwards, so that a device that warms up
    or is slowed down on the way favours none."""
    for number in range(rounds):
        order = range(count) if number % 2 == 0 else range(count - 1, -1, -1)
        yield from ((number, index) for index in order)


@define
class _Entry:
    """A candidate on its way through a comparison."""

    candidate: Candidate
    inputs: dict[str, Tensor] = field(factory=dict)
    worker: Worker | None = None
    loaded: Loaded | None = None
    parity: Parity | None = None
    latencies_ns: list[tuple[int, ...]] = field(factory=list)
    peak_rss_bytes: int = 0
    error: EdgeError | None = None


class Contest:
    """A comparison of candidates. `run` it once.

    Args:
        candidates: whose files stay where they are meanwhile.
        asked: already checked.
        serving: starts workers, and holds some of its own.
        emit: called at least as often as `BenchmarkRequest.max_seconds` or a deadline of a worker passes.
    """

    def __init__(
        self, candidates: Sequence[Candidate], asked: CompareRequest, serving: Serving, emit: Emit
    ) -> None:
        self._entries = [_Entry(candidate) for candidate in candidates]
        self._asked = asked
        self._serving = serving
        self._emit = emit
        self._deadline_s = serving.isolation.limits.answer_deadline_s
        self._together = True
        self._kept = MAX_LATENCIES // (len(candidates) * asked.rounds)

    async def run(self, name: str) -> Compared:
        """Check and measure them all; every worker has ended when it returns or raises."""
        began = time.monotonic()
        order = list(turns(len(self._entries), self._asked.rounds))
        try:
            for number, entry in enumerate(self._entries):
                self._emit(Event("progress", "loading", done=number, total=len(self._entries)))
                await self._prepare(entry)
            before = system.machine_state()
            for done, (_, index) in enumerate(order):
                if done and done % len(self._entries) == 0 and time.monotonic() - began > MAX_SECONDS:
                    break  # a round is measured of all or of none
                if self._entries[index].error is None:
                    await self._measure(self._entries[index], done, len(order))
        finally:
            await self._end(self._entries)
        rows = tuple(map(_measured, self._entries))
        return Compared(name, self._asked.request.threads, rows, before, system.machine_state())

    async def _prepare(self, entry: _Entry) -> None:
        """See whether a candidate can be loaded and computes what the host computed."""
        config = entry.candidate.config
        with self._left_out(entry):
            samples = await asyncio.to_thread(golden_samples, entry.candidate)
            worker = await self._start(entry)
            entry.parity = await replay(config, samples, partial(worker.infer, deadline_s=self._deadline_s))
            entry.inputs = samples[0].inputs
            require(entry.parity)
        if entry.error is not None or not self._together:
            await self._end([entry])
        elif self._resident_bytes() > self._serving.isolation.limits.warm_bytes:
            log.event("candidates get turns of their own", model=config.name, reason="memory")
            self._together = False
            await self._end(self._entries)

    async def _measure(self, entry: _Entry, done: int, total: int) -> None:
        """One turn of one candidate, `done` turns of `total` after the first."""
        request = self._asked.request
        if entry.worker is not None and entry.latencies_ns:  # it is warm
            request = evolve(request, warmup_iterations=min(request.warmup_iterations, SETTLING))

        def progress(_done: int, _total: int) -> None:
            self._emit(Event("progress", "measuring", done=done, total=total))

        progress(0, 0)
        with self._left_out(entry):
            worker = entry.worker or await self._start(entry)
            found = await worker.benchmark(request, entry.inputs, progress, deadline_s=self._deadline_s)
            entry.latencies_ns.append(found.latencies_ns[: self._kept])
            entry.peak_rss_bytes = max(entry.peak_rss_bytes, found.peak_rss_bytes)
        if entry.error is not None or not self._together:
            await self._end([entry])

    async def _start(self, entry: _Entry) -> Worker:
        candidate, request = entry.candidate, self._asked.request
        entry.worker, loaded = await self._serving.try_out(candidate, request)
        entry.loaded = entry.loaded or loaded
        return entry.worker

    @contextmanager
    def _left_out(self, entry: _Entry) -> Iterator[None]:
        """A candidate that fails in this context is left out from now on."""
        try:
            yield
        except EdgeError as e:
            log.event("candidate left out", model=entry.candidate.label, reason=str(e)[:300])
            entry.error = e

    async def _end(self, entries: Sequence[_Entry]) -> None:
        workers = [entry.worker for entry in entries if entry.worker is not None]
        for entry in entries:
            entry.worker = None
        await asyncio.gather(*map(self._serving.end, workers))

    def _resident_bytes(self) -> int:
        pids = [entry.worker.pid for entry in self._entries if entry.worker is not None]
        return sum(map(resident_bytes, pids)) + self._serving.resident_bytes()


def _measured(entry: _Entry) -> Measured:
    config, loaded = entry.candidate.config, entry.loaded
    failed = entry.error is not None
    return Measured(
        manifest_digest=entry.candidate.manifest_digest,
        runtime=config.runtime,
        runtime_version="" if loaded is None else loaded.version,
        load_ns=0 if loaded is None else loaded.load_ns,
        latencies_ns=() if failed else tuple(entry.latencies_ns),
        peak_rss_bytes=entry.peak_rss_bytes,
        parity=entry.parity,
        placement=None if loaded is None else loaded.placement,
        error=None if entry.error is None else entry.error.to_json(),
    )
