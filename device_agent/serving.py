"""The models that answer: which generation is live, and warm workers to run them.

A worker is started by the first request for its generation, kept, and stopped when there are too many
(least recently used first) or its generation has been replaced. One that died is replaced at the next
request.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

from attrs import define, field, frozen

from device_agent import log, parity
from device_agent.bench import Measurement
from device_agent.bench import check as check_benchmark
from device_agent.errors import ActivationFailed, EdgeError, UnknownModel
from device_agent.parity import Sample, golden_samples
from device_agent.protocol import BenchmarkRequest, BenchmarkResult, Parity
from device_agent.store import Generation
from device_agent.tensors import Tensor
from device_agent.worker import Loaded, Worker

MAX_WARM_WORKERS = 4


@frozen
class _Key:
    name: str
    number: int


@define
class _Warm:
    """A worker that is kept, or the place for one. `users` are requests that have or await it."""

    worker: Worker | None = None
    users: int = 0
    lock: asyncio.Lock = field(factory=asyncio.Lock)


class Serving:
    """The live generations and their workers. Used from the event loop's thread only."""

    def __init__(self, *, max_warm_workers: int = MAX_WARM_WORKERS) -> None:
        self._max_warm_workers = max_warm_workers
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

    async def infer(self, generation: Generation, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Run a generation once in its warm worker."""
        async with self._worker(generation) as worker:
            return await worker.infer(inputs)

    async def preflight(self, generation: Generation) -> Parity:
        """Load a generation in a worker of its own and replay its golden samples.

        Raises:
            ActivationFailed: it cannot be loaded or run, or computes something else than the host did.
        """
        samples = await asyncio.to_thread(golden_samples, generation)
        try:
            async with self._fresh(generation) as (worker, _):
                return await _replay(generation, samples, worker.infer)
        except EdgeError as e:
            raise _refused("preflight", generation, e) from e

    async def probe(self, name: str) -> Parity:
        """Replay the golden samples of what is live under a name, the way that requests go.

        Raises:
            ActivationFailed: as for `preflight`.
        """
        generation = self.live(name)
        samples = await asyncio.to_thread(golden_samples, generation)

        async def through_the_live_path(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return await self.infer(self.live(name), inputs)

        try:
            return await _replay(generation, samples, through_the_live_path)
        except EdgeError as e:
            raise _refused("probe", generation, e) from e

    async def benchmark(
        self, name: str, request: BenchmarkRequest, progress: Callable[[int, int], None]
    ) -> BenchmarkResult:
        """Measure what is live under a name in a worker of its own, on its first golden sample."""
        generation = self.live(name)
        check_benchmark(request)
        sample = (await asyncio.to_thread(golden_samples, generation))[0]
        async with self._fresh(generation, request.threads) as (worker, loaded):
            measured = await worker.benchmark(request, sample.inputs, progress)
        return _result(generation, request, loaded, measured)

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
    async def _worker(self, generation: Generation) -> AsyncIterator[Worker]:
        """The warm worker of a generation, for this request alone."""
        key = _Key(generation.name, generation.number)
        warm = self._warm.pop(key) if key in self._warm else _Warm()
        self._warm[key] = warm  # now the last one, the most recently used
        warm.users += 1
        try:
            async with warm.lock:
                if warm.worker is not None and not warm.worker.alive:
                    await warm.worker.stop()
                    warm.worker = None
                if warm.worker is None:
                    warm.worker, _ = await _started(generation)
                yield warm.worker
        finally:
            warm.users -= 1
        idle = [key for key, other in self._warm.items() if other.users == 0]
        await self._stop(idle[: max(0, len(self._warm) - self._max_warm_workers)])

    async def _stop(self, keys: list[_Key]) -> None:
        for key in keys:
            warm = self._warm.get(key)
            if warm is not None and warm.users == 0:
                del self._warm[key]
                if warm.worker is not None:
                    log.event("worker stopped", model=key.name, generation=key.number)
                    await warm.worker.stop()

    @asynccontextmanager
    async def _fresh(self, generation: Generation, threads: int = 1) -> AsyncIterator[tuple[Worker, Loaded]]:
        worker, loaded = await _started(generation, threads)
        try:
            yield worker, loaded
        finally:
            await worker.stop()


async def _started(generation: Generation, threads: int = 1) -> tuple[Worker, Loaded]:
    worker = await Worker.start(f"{generation.name} generation {generation.number}")
    try:
        loaded = await worker.load(generation.config, generation.folder, threads=threads)
    except BaseException:
        await worker.stop()
        raise
    log.event("worker started", model=generation.name, generation=generation.number, pid=worker.pid)
    return worker, loaded


async def _replay(
    generation: Generation,
    samples: list[Sample],
    infer: Callable[[Mapping[str, Tensor]], Awaitable[dict[str, Tensor]]],
) -> Parity:
    pairs = [(sample.outputs, await infer(sample.inputs)) for sample in samples]
    found = await asyncio.to_thread(parity.compare, pairs, generation.config.tolerance)
    if not found.passed:
        raise ActivationFailed(
            "the device does not compute what the host computed", got=parity.figures(found)
        )
    return found


def _refused(stage: str, generation: Generation, error: EdgeError) -> ActivationFailed:
    reason = error.what if error.got is None else f"{error.what}: {error.got}"
    return ActivationFailed(
        f"the {stage} failed: {reason}", where=f"{generation.name} generation {generation.number}"
    )


def _result(
    generation: Generation, request: BenchmarkRequest, loaded: Loaded, measured: Measurement
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
    )
