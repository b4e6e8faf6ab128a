"""A worker process as the agent sees it: start, load, infer, benchmark, stop, each with a deadline."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from attrs import frozen

import device_agent
from device_agent import codec, errors, frames, tensors
from device_agent.bench import Measurement
from device_agent.bundle import BundleConfig
from device_agent.errors import EdgeError, InvalidRequest, ProtocolError, WorkerFailed
from device_agent.frames import Frame
from device_agent.protocol import BenchmarkRequest
from device_agent.tensors import Tensor

LOAD_DEADLINE_S = 120.0
ANSWER_DEADLINE_S = 60.0  # for one inference; while benchmarking, from one sign of life to the next
STOP_DEADLINE_S = 1.0
STDERR_TAIL_BYTES = 2000
_STREAM_LIMIT_BYTES = 1 << 20


@frozen
class Loaded:
    """What a worker says once its model is loaded. `load_ns` includes importing the runtime."""

    load_ns: int
    version: str


class Worker:
    """One worker process and its one model. Made by `start`; not for two requests at once.

    Every request raises WorkerFailed when the process dies, hangs past its deadline or answers nonsense;
    the process is dead afterwards (`alive` is False) and nothing else is harmed.
    """

    def __init__(self, process: asyncio.subprocess.Process, label: str) -> None:
        self._process = process
        self._label = label
        self._stderr = bytearray()
        self._draining = asyncio.create_task(self._drain_stderr())

    @classmethod
    async def start(cls, label: str) -> Worker:
        """Start a worker process without a model.

        Args:
            label: names the model in errors.

        Raises:
            WorkerFailed: the operating system refused.
        """
        # where this very package is (a folder, or the agent's archive) goes before all else
        search = [str(Path(device_agent.__file__).parent.parent), os.environ.get("PYTHONPATH", "")]
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "device_agent.worker_main"),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                limit=_STREAM_LIMIT_BYTES,
                # `-m` puts the working folder first on Python's path: never one that holds a model's files
                cwd="/",
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, search))},
                start_new_session=True,
            )
        except OSError as e:
            raise WorkerFailed("cannot start a worker process", where=label, got=str(e)) from e
        return cls(process, label)

    @property
    def alive(self) -> bool:
        """Whether the process can still answer."""
        return self._process.returncode is None

    @property
    def pid(self) -> int:
        """Of the worker process."""
        return self._process.pid

    async def load(
        self, config: BundleConfig, folder: Path, *, threads: int = 1, deadline_s: float = LOAD_DEADLINE_S
    ) -> Loaded:
        """Load the model that a bundle's config names, from the folder that holds it."""
        head = {
            "kind": "load",
            "runtime": config.runtime,
            "path": str(folder / config.model),
            "threads": threads,
        }
        answer = await self._exchange(Frame(head), "loaded", deadline_s)
        load_ns, version = answer.head.get("load_ns"), answer.head.get("version")
        if not isinstance(load_ns, int) or not isinstance(version, str):
            raise await self._nonsense(repr(answer.head)[:200])
        return Loaded(load_ns, version)

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
        try:
            return codec.from_json(answer.payload, Measurement, where="the worker's measurement")
        except InvalidRequest as e:
            raise await self._nonsense(str(e)) from e

    async def stop(self) -> None:
        """End the process: by closing its stdin, by force if that is not enough."""
        stdin = self._process.stdin
        if stdin is not None:
            stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), STOP_DEADLINE_S)
        except asyncio.TimeoutError:
            await self._kill()
        await self._reap()

    async def _exchange(
        self,
        request: Frame,
        expected: str,
        deadline_s: float,
        progress: Callable[[int, int], None] | None = None,
    ) -> Frame:
        """Send a frame and wait for its answer; the process does not survive anything but an answer."""
        if not self.alive:
            raise await self._died()
        deadline = _Deadline(self._process, deadline_s)
        try:
            await self._send(request)
            while True:
                answer = await self._receive()
                if answer.kind != "progress" or progress is None:
                    break
                deadline.renew()
                progress(int(answer.head["done"]), int(answer.head["total"]))
        except (EOFError, ConnectionError):
            if deadline.passed:
                await self._kill()
                raise WorkerFailed(
                    f"the worker did not answer to {request.kind!r} within {deadline_s:g} s and was ended",
                    where=self._label,
                ) from None
            raise await self._died() from None
        except (ProtocolError, KeyError, TypeError, ValueError) as e:
            raise await self._nonsense(str(e)) from e
        except asyncio.CancelledError:  # its answer would be taken for the next request's
            self._end()
            raise
        finally:
            deadline.clear()
        if answer.kind == "error":
            raise self._refusal(answer)
        if answer.kind != expected:
            raise await self._nonsense(answer.kind)
        return answer

    async def _send(self, frame: Frame) -> None:
        stdin = self._process.stdin
        if stdin is None:
            raise EOFError
        stdin.write(frame.encode())
        await stdin.drain()

    async def _receive(self) -> Frame:
        stdout = self._process.stdout
        if stdout is None:
            raise EOFError
        return await frames.read(stdout)

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
        await self._kill()
        return WorkerFailed("the worker answered nonsense and was ended", where=self._label, got=got)

    async def _died(self) -> WorkerFailed:
        await self._kill()
        code = self._process.returncode or 0
        how = f"was killed by {_signal_name(-code)}" if code < 0 else f"ended with status {code}"
        said = bytes(self._stderr).decode(errors="replace").strip()
        return WorkerFailed(f"the model's worker process {how}", where=self._label, got=said or None)

    async def _kill(self) -> None:
        # the end of its stdout may be seen before its death: give the true cause a moment to arrive
        with suppress(asyncio.TimeoutError):
            stdout = self._process.stdout
            if stdout is not None and stdout.at_eof():
                await asyncio.wait_for(self._process.wait(), STOP_DEADLINE_S)
        self._end()
        await self._process.wait()
        await self._reap()

    def _end(self) -> None:
        with suppress(ProcessLookupError):
            self._process.kill()

    async def _reap(self) -> None:
        with suppress(asyncio.TimeoutError):  # a process that it started may hold its stderr open
            await asyncio.wait_for(self._draining, STOP_DEADLINE_S)
        stdin = self._process.stdin
        if stdin is not None:
            stdin.close()
            with suppress(ConnectionError):
                await stdin.wait_closed()

    async def _drain_stderr(self) -> None:
        stderr = self._process.stderr
        while stderr is not None and (chunk := await stderr.read(1 << 16)):
            self._stderr += chunk
            del self._stderr[:-STDERR_TAIL_BYTES]


class _Deadline:
    """Kills a process when its time is up, so that whoever reads from it sees the end.

    Not `asyncio.wait_for`: before Python 3.12 that may swallow a cancellation that comes just as the
    awaited thing is done.
    """

    def __init__(self, process: asyncio.subprocess.Process, seconds: float) -> None:
        self.passed = False
        self._process = process
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
        with suppress(ProcessLookupError):
            self._process.kill()


def _signal_name(number: int) -> str:
    try:
        name = signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
    return f"{name} (out of memory, or ended from outside)" if number == signal.SIGKILL else name
