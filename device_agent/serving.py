"""The models that answer: which generation is live, and warm workers to run them.

A worker is started by the first request for its generation, kept, and stopped when there are too many or
idle ones hold too much memory (least recently used first), or its generation has been replaced. One that
died is replaced at the next request. Requests of one model wait for each other, and only so many.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

from attrs import define, field, frozen

from device_agent import compiled, isolation, log
from device_agent.bench import Measurement
from device_agent.bench import check as check_benchmark
from device_agent.candidate import Candidate
from device_agent.errors import ActivationFailed, EdgeError, Overloaded, UnknownModel
from device_agent.isolation import Isolation
from device_agent.live import Checked
from device_agent.metrics import resident_bytes
from device_agent.parity import golden_samples, replay, require
from device_agent.patience import Ticket
from device_agent.protocol import BenchmarkRequest, BenchmarkResult, Placement, Profile
from device_agent.store import Generation
from device_agent.tensors import Tensor
from device_agent.worker import Loaded, Worker

_PLAIN = BenchmarkRequest()  # how a model is loaded that is not measured


class Source(Protocol):
    """What a worker is started with."""

    @property
    def label(self) -> str:
        """What to call it in errors and logs."""
        ...

    @property
    def model(self) -> Path:
        """The model's file."""
        ...

    def parts(self) -> dict[str, Path]:
        """The model's other files by title."""
        ...


@frozen
class _Key:
    name: str
    number: int


@define
class _Warm:
    """A worker that is kept, or the place for one. `users` are requests that have or await it."""

    worker: Worker | None = None
    loaded: Loaded | None = None
    users: int = 0
    lock: asyncio.Lock = field(factory=asyncio.Lock)


@define
class WorkerCounts:
    """What has happened to workers since the agent began."""

    started: int = 0
    failed: int = 0  # died, hung or could not load
    replaced: int = 0  # started anew for a request because the one before had died
    evicted: int = 0  # ended because there were too many, or they held too much memory


class Serving:
    """The live generations and their workers. Used from the event loop's thread only."""

    def __init__(self, contained: Isolation) -> None:
        self.counts = WorkerCounts()
        self.isolation = contained
        self.gaps = isolation.expected_gaps(contained.kind)  # what is not enforced; what the last worker said
        self._limits = contained.limits
        self._live: dict[str, Generation] = {}
        self._warm: dict[_Key, _Warm] = {}  # least recently used first

    def switch(self, name: str, generation: Generation | None) -> None:
        """Let this generation answer from now on, or nothing."""
        if generation is None:
            self._live.pop(name, None)
        else:
            self._live[name] = generation

    def live(self, name: str, version: str | None = None) -> Generation:
        """The generation that answers under a name.

        Raises:
            UnknownModel: none does, or it is not that version.
        """
        generation = self._live.get(name)
        if generation is None:
            raise UnknownModel(
                "no such model is deployed",
                got=repr(name[:80]),
                expected=", ".join(sorted(self._live)) or "none is deployed",
            )
        if version is not None and version != str(generation.number):
            raise UnknownModel(
                "that version is not active", where=name, got=version[:80], expected=str(generation.number)
            )
        return generation

    async def infer(
        self, generation: Generation, inputs: Mapping[str, Tensor], ticket: Ticket | None = None
    ) -> dict[str, Tensor]:
        """Run a generation once in its warm worker.

        Raises:
            Overloaded: too many requests of this model wait already.
            WorkerFailed: the model's process crashed, hung or could not be started.
            InvalidRequest: an input does not fit.
        """
        async with self._worker(generation, ticket or Ticket()) as worker:
            return await worker.infer(inputs, deadline_s=self._limits.answer_deadline_s)

    def depths(self) -> dict[str, int]:
        """How many requests run or wait, by model."""
        found = dict.fromkeys(sorted(self._live), 0)
        for key, warm in self._warm.items():
            found[key.name] = found.get(key.name, 0) + warm.users
        return found

    def workers(self) -> dict[str, list[int]]:
        """The pids of the warm workers, by model."""
        found: dict[str, list[int]] = {}
        for key, warm in self._warm.items():
            if warm.worker is not None and warm.worker.alive:
                found.setdefault(key.name, []).append(warm.worker.pid)
        return found

    async def preflight(self, generation: Generation) -> Checked:
        """Load a generation in a worker of its own and replay its golden samples.

        Raises:
            ActivationFailed: it cannot be loaded or run, or computes something else than the host did.
        """
        samples = await asyncio.to_thread(golden_samples, generation)
        try:
            async with self._fresh(generation, _PLAIN) as (worker, loaded):
                parity = require(await replay(generation.config, samples, worker.infer))
                return Checked(parity, loaded.placement)
        except EdgeError as e:
            raise _refused("preflight", generation, e) from e

    async def probe(self, name: str) -> Checked:
        """Replay the golden samples of what is live under a name, the way that requests go.

        Raises:
            ActivationFailed: as for `preflight`.
        """
        generation = self.live(name)
        samples = await asyncio.to_thread(golden_samples, generation)

        async def through_the_live_path(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return await self.infer(self.live(name), inputs)

        try:
            parity = require(await replay(generation.config, samples, through_the_live_path))
            return Checked(parity, self._placement(generation))
        except EdgeError as e:
            raise _refused("probe", generation, e) from e

    async def benchmark(
        self, name: str, request: BenchmarkRequest, progress: Callable[[int, int], None]
    ) -> BenchmarkResult:
        """Measure what is live under a name in a worker of its own, on its first golden sample.

        Where the time goes is measured in another worker after that: counting costs time.

        Raises:
            InvalidRequest: it asks for what cannot be done, or its runtime cannot do.
        """
        generation = self.live(name)
        check_benchmark(request)
        sample = (await asyncio.to_thread(golden_samples, generation))[0]
        async with self._fresh(generation, request) as (worker, loaded):
            measured = await worker.benchmark(request, sample.inputs, progress)
        profile = None
        if request.profile:
            async with self._fresh(generation, request, profile=True) as (worker, _):
                profile = await worker.profile(request, sample.inputs, progress)
        return _result(generation, request, loaded, measured, profile)

    async def try_out(self, candidate: Candidate, request: BenchmarkRequest) -> tuple[Worker, Loaded]:
        """A worker of its own that has loaded a bundle which is not live; the caller ends it with `end`."""
        return await self._started(candidate, request)

    async def end(self, worker: Worker) -> None:
        """End a worker that serves nobody any more."""
        self.counts.failed += not worker.alive
        await worker.stop()

    @asynccontextmanager
    async def worker_of(self, source: Source) -> AsyncIterator[Worker]:
        """A worker of its own that has loaded nothing."""
        worker = await self._begun(source)
        try:
            yield worker
        finally:
            await self.end(worker)

    def resident_bytes(self) -> int:
        """What the warm workers hold of the memory."""
        return sum(resident_bytes(pid) for pids in self.workers().values() for pid in pids)

    async def retire(self, name: str) -> None:
        """Stop the idle workers of a model's generations that are not live."""
        live = self._live.get(name)
        number = live.number if live is not None else None
        await self._stop([key for key in self._warm if key.name == name and key.number != number])

    async def close(self) -> None:
        """Stop every worker."""
        workers = [warm.worker for warm in self._warm.values() if warm.worker is not None]
        self._warm.clear()
        await asyncio.gather(*(worker.stop() for worker in workers))

    @asynccontextmanager
    async def _worker(self, generation: Generation, ticket: Ticket) -> AsyncIterator[Worker]:
        """The warm worker of a generation, for this request alone."""
        key = _Key(generation.name, generation.number)
        warm = self._warm.get(key) or _Warm()
        if warm.users >= self._limits.queue:
            raise Overloaded(
                "too many requests wait for this model", where=key.name, expected=f"<= {self._limits.queue}"
            )
        self._warm.pop(key, None)
        self._warm[key] = warm  # now the last one, the most recently used
        warm.users += 1
        try:
            async with warm.lock:
                ticket.begun = True
                if warm.worker is not None and not warm.worker.alive:
                    self.counts.replaced += 1
                    await warm.worker.stop()
                    warm.worker = None
                if warm.worker is None:
                    await self._trim(1)
                    warm.worker, warm.loaded = await self._started(generation, _PLAIN)
                try:
                    yield warm.worker
                finally:
                    self.counts.failed += not warm.worker.alive
        finally:
            warm.users -= 1
        await self._trim(0)

    async def _trim(self, coming: int) -> None:
        """End idle workers, least recently used first, as far as the limits ask for `coming` more."""
        held = {
            key: 0 if warm.worker is None else resident_bytes(warm.worker.pid)
            for key, warm in self._warm.items()
        }
        idle = [key for key, warm in self._warm.items() if warm.users == 0]
        count, total = len(held) - coming, sum(held.values())
        gone = []
        while idle and (count + coming > self._limits.warm_workers or total > self._limits.warm_bytes):
            gone.append(idle.pop(0))
            count, total = count - 1, total - held[gone[-1]]
        self.counts.evicted += len(gone)
        await self._stop(gone)

    async def _stop(self, keys: list[_Key]) -> None:
        for key in keys:
            warm = self._warm.get(key)
            if warm is not None and warm.users == 0:
                del self._warm[key]
                if warm.worker is not None:
                    log.event("worker stopped", model=key.name, generation=key.number)
                    await warm.worker.stop()

    @asynccontextmanager
    async def _fresh(
        self, generation: Generation, request: BenchmarkRequest, *, profile: bool = False
    ) -> AsyncIterator[tuple[Worker, Loaded]]:
        """A worker of its own, loaded as `request` says."""
        worker, loaded = await self._started(generation, request, profile=profile)
        try:
            yield worker, loaded
        finally:
            await self.end(worker)

    async def _started(
        self, source: Generation | Candidate, request: BenchmarkRequest, *, profile: bool = False
    ) -> tuple[Worker, Loaded]:
        worker = await self._begun(source, _cache(source, request))
        try:
            loaded = await worker.load(
                source.config,
                threads=request.threads,
                deadline_s=self._limits.load_deadline_s,
                profile=profile,
                hint=request.hint,
                streams=request.streams,
            )
        except BaseException as e:
            self.counts.failed += isinstance(e, EdgeError)
            await worker.stop()
            raise
        log.event("worker started", model=source.config.name, runs=source.label, pid=worker.pid)
        return worker, loaded

    async def _begun(self, source: Source, cache: Path | None = None) -> Worker:
        """A worker that has loaded nothing yet."""
        try:
            worker = await Worker.start(
                source.label, source.model, self.isolation, files=source.parts(), cache=cache
            )
        except EdgeError:
            self.counts.failed += 1
            raise
        self.counts.started += 1
        self.gaps = worker.gaps or self._unit_gaps()
        return worker

    def _placement(self, generation: Generation) -> Placement | None:
        """Where the operators of what is live run, as its warm worker has told."""
        warm = self._warm.get(_Key(generation.name, generation.number))
        return None if warm is None or warm.loaded is None else warm.loaded.placement

    def _unit_gaps(self) -> tuple[str, ...]:
        return isolation.expected_gaps(self.isolation.kind) if self.isolation.kind == isolation.UNIT else ()


def _refused(stage: str, generation: Generation, error: EdgeError) -> ActivationFailed:
    reason = error.what if error.got is None else f"{error.what}: {error.got}"
    return ActivationFailed(
        f"the {stage} failed: {reason}",
        where=generation.label,
        expected=error.expected,
        next_step=error.next_step,
    )


def _cache(source: Generation | Candidate, request: BenchmarkRequest) -> Path | None:
    """Where what is compiled is kept: of a generation, and as it is served: other options make other code."""
    as_served = request.hint is None and request.streams is None
    if not isinstance(source, Generation) or not as_served or not compiled.keeps(source.config):
        return None
    return source.folder / compiled.COMPILED_FILE


def _result(
    generation: Generation,
    request: BenchmarkRequest,
    loaded: Loaded,
    measured: Measurement,
    profile: Profile | None,
) -> BenchmarkResult:
    return BenchmarkResult(
        name=generation.name,
        generation=generation.number,
        runtime=generation.config.runtime,
        runtime_version=loaded.version,
        threads=request.threads,
        load_ns=loaded.load_ns,
        warmup_latencies_ns=measured.warmup_latencies_ns,
        latencies_ns=measured.latencies_ns,
        peak_rss_bytes=measured.peak_rss_bytes,
        before=measured.before,
        after=measured.after,
        from_cache=loaded.from_cache,
        first_load_ns=loaded.first_load_ns,
        profile=profile,
        placement=loaded.placement,
        runs_per_second=measured.runs_per_second,
    )
