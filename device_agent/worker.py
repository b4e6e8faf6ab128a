"""A worker as the agent sees it: start, load, infer, benchmark, stop, each with a deadline."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from attrs import evolve, frozen

from device_agent import codec, errors, frames, keeper, log, tensors
from device_agent.bench import Measurement
from device_agent.bundle import BundleConfig, Execution
from device_agent.errors import EdgeError, InvalidRequest, ProtocolError, WorkerFailed
from device_agent.frames import Frame
from device_agent.isolation import Isolation
from device_agent.link import Link
from device_agent.protocol import BenchmarkRequest, Placement, Profile, Queried, RuntimeDevice
from device_agent.tensors import Tensor

START_DEADLINE_S = 30.0
LOAD_DEADLINE_S = 120.0
ANSWER_DEADLINE_S = 60.0  # for one inference; while benchmarking, from one sign of life to the next
STOP_DEADLINE_S = 1.0
# what answers may be long: a worker that its model took over shall not fill the agent's memory
_PAYLOAD_BYTES = {
    "outputs": 64 << 20,
    "measured": 32 << 20,
    "profiled": 32 << 20,
    "loaded": 16 << 20,
    "queried": 16 << 20,
    "devices": 1 << 20,
}
T = TypeVar("T")
_LIMITS = {keeper.OUT_OF_MEMORY: "more memory than its limit", keeper.TOO_MANY_TASKS: "too many tasks"}


@frozen
class Loaded:
    """What a worker says once its model is loaded. `load_ns` includes importing the runtime.

    `from_cache`: what was compiled before was loaded. `first_load_ns` is of the load that compiled that, this
    one or an earlier; None where nothing is kept.
    """

    load_ns: int
    version: str
    from_cache: bool = False
    first_load_ns: int | None = None
    placement: Placement | None = None  # None: a runtime that does not tell


class Worker:
    """One worker process and its one model. Made by `start`; not for two requests at once.

    Every request raises WorkerFailed when the process dies, hangs past its deadline or answers nonsense;
    the process and all that it started are dead afterwards (`alive` is False) and nothing else is harmed.
    """

    def __init__(self, link: Link, label: str) -> None:
        self.pid = 0  # of the worker process
        self.gaps: tuple[str, ...] = ()  # what of the containment is not enforced
        self._link = link
        self._label = label

    @classmethod
    async def start(
        cls,
        label: str,
        model: Path,
        isolation: Isolation,
        *,
        files: Mapping[str, Path] = MappingProxyType({}),
        cache: Path | None = None,
    ) -> Worker:
        """Start a worker that has not loaded its model yet.

        Args:
            label: names the model in errors.
            model: its file, which is opened here; the worker needs no right to find it.
            isolation: what it is started in.
            files: the model's other files by title, opened here too.
            cache: a file that keeps what is compiled, which the worker may write to; made if it is missing,
                done without if there is no room.

        Raises:
            WorkerFailed: it cannot be started, or does not come up.
        """
        worker = cls(await Link.make(label, model, isolation, files, cache), label)
        try:
            hello = await worker._exchange(None, "hello", START_DEADLINE_S)
            worker.pid = int(hello.head["pid"])
            worker.gaps = tuple(str(gap)[:80] for gap in hello.head["gaps"])[:8]
        except (KeyError, TypeError, ValueError) as e:
            raise await worker._nonsense(str(e)) from e
        except BaseException:
            await worker.stop()
            raise
        return worker

    @property
    def alive(self) -> bool:
        """Whether the process can still answer."""
        return not self._link.hung_up

    async def load(
        self,
        config: BundleConfig,
        *,
        threads: int = 1,
        deadline_s: float = LOAD_DEADLINE_S,
        profile: bool = False,
        hint: str | None = None,
        streams: int | None = None,
    ) -> Loaded:
        """Load the model in the files that the worker was started with.

        Args:
            config: of its bundle.
            threads: that the runtime may use.
            deadline_s: for it to answer.
            profile: count the time of each operator from now on.
            hint: instead of what the bundle's execution says.
            streams: as `hint`.
        """
        head = {
            **self._head("load", config, hint=hint, streams=streams),
            "threads": threads,
            "profile": profile,
        }
        answer = await self._exchange(Frame(head), "loaded", deadline_s)
        try:
            loaded = codec.from_json(answer.head, Loaded, where="what the worker loaded")
        except InvalidRequest as e:
            raise await self._nonsense(str(e)) from e
        placement = await self._parsed(answer, Placement) if answer.payload else None
        return evolve(loaded, placement=placement)

    async def query(
        self, config: BundleConfig, devices: tuple[str, ...], *, deadline_s: float = LOAD_DEADLINE_S
    ) -> Queried:
        """Which operators of the model each of these devices of its runtime can run; nothing is loaded."""
        head = {**self._head("query", config), "devices": devices}
        return await self._parsed(await self._exchange(Frame(head), "queried", deadline_s), Queried)

    async def devices(
        self, runtime: str, *, deadline_s: float = LOAD_DEADLINE_S
    ) -> tuple[RuntimeDevice, ...]:
        """The processors that a runtime has here; the worker's model does not matter."""
        answer = await self._exchange(Frame({"kind": "devices", "runtime": runtime}), "devices", deadline_s)
        return await self._parsed(answer, tuple[RuntimeDevice, ...])

    async def infer(
        self, inputs: Mapping[str, Tensor], *, deadline_s: float = ANSWER_DEADLINE_S
    ) -> dict[str, Tensor]:
        """Run the model once; InvalidRequest if an input does not fit it."""
        answer = await self._exchange(Frame({"kind": "infer"}, tensors.pack(inputs)), "outputs", deadline_s)
        try:
            return tensors.unpack(answer.payload)
        except InvalidRequest as e:
            raise await self._nonsense(str(e)) from e

    async def benchmark(
        self,
        request: BenchmarkRequest,
        inputs: Mapping[str, Tensor],
        progress: Callable[[int, int], None],
        *,
        deadline_s: float = ANSWER_DEADLINE_S,
    ) -> Measurement:
        """Measure the model on `inputs`; `progress(done, total)` is called a few times a second."""
        # the warm-up is silent, so it counts towards the first sign of life
        head = {"kind": "benchmark", "request": codec.to_json(request)}
        answer = await self._exchange(
            Frame(head, tensors.pack(inputs)), "measured", deadline_s + request.max_seconds, progress
        )
        return await self._parsed(answer, Measurement)

    async def profile(
        self,
        request: BenchmarkRequest,
        inputs: Mapping[str, Tensor],
        progress: Callable[[int, int], None],
        *,
        deadline_s: float = ANSWER_DEADLINE_S,
    ) -> Profile:
        """Measure where the time of a run goes, as `benchmark`; the model was loaded with `profile`."""
        head = {"kind": "profile", "request": codec.to_json(request)}
        answer = await self._exchange(
            Frame(head, tensors.pack(inputs)), "profiled", deadline_s + request.max_seconds, progress
        )
        return await self._parsed(answer, Profile)

    async def stop(self) -> None:
        """End the worker: by closing its socket, by force if that is not enough."""
        if not self._link.over:
            self._link.writer.close()
        ending = asyncio.ensure_future(self._link.ended())
        await asyncio.wait({ending}, timeout=STOP_DEADLINE_S)
        if not ending.done():
            self._link.let_go()
        await ending

    def _head(
        self, kind: str, config: BundleConfig, *, hint: str | None = None, streams: int | None = None
    ) -> dict[str, object]:
        execution = config.execution
        if hint is not None:
            execution = evolve(execution or Execution(), hint=hint)
        if streams is not None:
            execution = evolve(execution or Execution(), streams=streams)
        return {
            "kind": kind,
            "runtime": config.runtime,
            "title": config.model,
            "execution": None if execution is None else codec.to_json(execution),
        }

    async def _parsed(self, answer: Frame, kind: type[T]) -> T:
        """What an answer's payload says; the process does not survive nonsense."""
        try:
            return codec.from_json(answer.payload, kind, where=f"the worker's {answer.kind!r}")
        except InvalidRequest as e:
            raise await self._nonsense(str(e)) from e

    async def _exchange(
        self,
        request: Frame | None,
        expected: str,
        deadline_s: float,
        progress: Callable[[int, int], None] | None = None,
    ) -> Frame:
        """Send a frame and wait for its answer; the process does not survive anything but an answer."""
        if not self.alive:
            raise await self._died()
        deadline = _Deadline(self._link, deadline_s)
        try:
            if request is not None:
                self._link.writer.write(request.encode())
                await self._link.writer.drain()
            while True:
                answer = await frames.read(self._link.reader, _PAYLOAD_BYTES.get(expected, 0))
                if answer.kind != "progress" or progress is None:
                    break
                deadline.renew()
                progress(int(answer.head["done"]), int(answer.head["total"]))
        except (EOFError, ConnectionError):
            if deadline.passed:
                await self._gone()
                did = "did not come up" if request is None else f"did not answer to {request.kind!r}"
                raise WorkerFailed(
                    f"the worker {did} within {deadline_s:g} s and was ended", where=self._label
                ) from None
            raise await self._died() from None
        except (ProtocolError, KeyError, TypeError, ValueError) as e:
            raise await self._nonsense(str(e)) from e
        except asyncio.CancelledError:  # its answer would be taken for the next request's
            self._link.let_go()
            raise
        finally:
            deadline.clear()
        if answer.kind == "error":
            raise self._refusal(answer)
        if answer.kind != expected:
            raise await self._nonsense(answer.kind)
        return answer

    def _refusal(self, answer: Frame) -> EdgeError:
        """The error a worker answered with. It may be of a lying worker: only these kinds are passed on."""
        try:
            error = errors.from_json(answer.head["error"])
        except (KeyError, EdgeError):
            return WorkerFailed("the worker answered with something that is no error", where=self._label)
        if isinstance(error, (WorkerFailed, InvalidRequest, errors.RuntimeMissing)):
            return error
        return WorkerFailed(error.what, where=error.where or self._label, got=error.got)

    async def _nonsense(self, got: str) -> WorkerFailed:
        self._link.let_go()
        await self._gone()
        return WorkerFailed("the worker answered nonsense and was ended", where=self._label, got=got[:500])

    async def _died(self) -> WorkerFailed:
        how = _how(await self._gone())
        said = self._link.said()
        return WorkerFailed(f"the model's worker process {how}", where=self._label, got=said[-1000:] or None)

    async def _gone(self) -> keeper.Ending | None:
        """Wait for the end of all of it, and log it with its last words."""
        ending = await self._link.ended()
        log.warning("worker ended", model=self._label, how=_how(ending), stderr=self._link.said())
        return ending


class _Deadline:
    """Ends a worker when its time is up, so that whoever reads from it sees the end.

    Not `asyncio.wait_for`: before Python 3.12 that may swallow a cancellation that comes just as the
    awaited thing is done.
    """

    def __init__(self, link: Link, seconds: float) -> None:
        self.passed = False
        self._link = link
        self._seconds = seconds
        self._timer: asyncio.TimerHandle | None = None
        self.renew()

    def renew(self) -> None:
        """Let the time begin again."""
        self.clear()
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self._pass)

    def clear(self) -> None:
        """There is an answer."""
        if self._timer is not None:
            self._timer.cancel()

    def _pass(self) -> None:
        self.passed = True
        self._link.let_go()


def _how(ending: keeper.Ending | None) -> str:
    if ending is None:
        return "is gone, and nobody saw how"
    if ending.limit is not None:
        return f"was ended for {_LIMITS.get(ending.limit, ending.limit)}"
    if ending.status < 0:
        return f"was killed by {_signal_name(-ending.status)}"
    return f"ended with status {ending.status}"


def _signal_name(number: int) -> str:
    try:
        name = signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
    return f"{name} (out of memory, or ended from outside)" if number == signal.SIGKILL else name
