"""The worker process: one model, frames in and out on a socket, ends when that ends.

    (at its start)                              -> hello {pid, gaps}
    load       {runtime, title, threads,
                execution, profile}             -> loaded {load_ns, version, from_cache, first_load_ns},
                                                   payload: placement or nothing
    query      {runtime, title, execution,
                devices}                        -> queried, payload: JSON
    devices    {runtime}                        -> devices, payload: JSON
    infer      payload: inputs                  -> outputs, payload: outputs
    benchmark  {request}, payload: inputs       -> progress {done, total} ..., measured, payload: JSON
    profile    {request}, payload: inputs       -> progress {done, total} ..., profiled, payload: JSON
    anything that fails                         -> error {error}

Made by `keeper`, never by hand. What a runtime prints goes to stderr, never among the frames.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from attrs import frozen

from device_agent import bench, codec, frames, runtimes, tensors
from device_agent.bundle import Execution
from device_agent.errors import EdgeError, InvalidRequest, WorkerFailed
from device_agent.frames import Frame
from device_agent.protocol import BenchmarkRequest
from device_agent.runtimes.base import Keeping, Options, Placing, Querying, Session


@frozen
class Material:
    """The files that a worker has: its model, what belongs to that by title, and what it may write to."""

    model: Path
    files: Mapping[str, Path]
    cache: Path | None


def run(sock: socket.socket, material: Material, pid: int, gaps: tuple[str, ...]) -> None:
    """Answer frames until there are no more.

    Args:
        sock: where they come from and go to.
        material: the model's files.
        pid: by which the agent knows this process.
        gaps: what of the containment this machine does not enforce.
    """
    loop = WorkerLoop(sock.makefile("rb"), sock.makefile("wb"), material)
    loop.send(Frame({"kind": "hello", "pid": pid, "gaps": gaps}))
    loop.run()


class WorkerLoop:
    """Answers frames until there are no more."""

    def __init__(self, requests: BinaryIO, answers: BinaryIO, material: Material) -> None:
        self._requests = requests
        self._answers = answers
        self._material = material
        self._session: Session | None = None
        self._runtime = ""  # of the session

    def run(self) -> None:
        """Answer every request; a failure is an answer too."""
        while (frame := frames.read_blocking(self._requests)) is not None:
            try:
                answer = self._answer(frame)
            except EdgeError as e:
                answer = Frame({"kind": "error", "error": e.to_json()})
            except Exception as e:  # noqa: BLE001 - a runtime may raise anything; the agent must hear of it
                error = WorkerFailed(f"the runtime failed in {frame.kind!r}", got=repr(e)[:500])
                answer = Frame({"kind": "error", "error": error.to_json()})
            self.send(answer)

    def send(self, frame: Frame) -> None:
        """Send one frame."""
        self._answers.write(frame.encode())
        self._answers.flush()

    def _answer(self, frame: Frame) -> Frame:
        if frame.kind == "load":
            return self._load(frame)
        if frame.kind == "query":
            return self._query(frame)
        if frame.kind == "devices":
            found = _querying(frame).devices()
            return Frame({"kind": "devices"}, codec.dumps(found).encode())
        if self._session is None:
            raise InvalidRequest("the worker has no model yet", got=frame.kind)
        session = self._session
        if frame.kind == "infer":
            session.set_inputs(tensors.unpack(frame.payload))
            session.invoke()
            return Frame({"kind": "outputs"}, tensors.pack(session.get_outputs()))
        if frame.kind in ("benchmark", "profile"):
            return self._measure(session, frame)
        raise InvalidRequest("the worker knows no such request", got=frame.kind)

    def _measure(self, session: Session, frame: Frame) -> Frame:
        request = bench.check(codec.from_json(frame.head.get("request"), BenchmarkRequest, where="benchmark"))
        bench.check_session(session, request, self._runtime)
        session.set_inputs(tensors.unpack(frame.payload))
        if frame.kind == "profile":
            profiled = bench.profile(session, request, self._progress)
            return Frame({"kind": "profiled"}, codec.dumps(profiled).encode())
        measured = bench.measure(session, request, self._progress)
        return Frame({"kind": "measured"}, codec.dumps(measured).encode())

    def _load(self, frame: Frame) -> Frame:
        head = frame.head
        runtime = runtimes.get(head["runtime"])
        options = self._options(head)
        begin = time.perf_counter_ns()
        with self._named(head):
            session = self._session = runtime.load(self._material.model, options)
        load_ns = time.perf_counter_ns() - begin
        self._runtime = runtime.name
        answer: dict[str, Any] = {"kind": "loaded", "load_ns": load_ns, "version": runtime.version()}
        if isinstance(session, Keeping):
            answer |= {"from_cache": session.from_cache, "first_load_ns": session.first_load_ns}
        placement = session.placement() if isinstance(session, Placing) else None
        return Frame(answer, b"" if placement is None else codec.dumps(placement).encode())

    def _query(self, frame: Frame) -> Frame:
        devices = frame.head["devices"]
        with self._named(frame.head):
            found = _querying(frame).query(self._material.model, self._options(frame.head), tuple(devices))
        return Frame({"kind": "queried"}, codec.dumps(found).encode())

    def _options(self, head: Mapping[str, Any]) -> Options:
        execution = head.get("execution")
        return Options(
            threads=head.get("threads", 1),
            files=self._material.files,
            execution=None if execution is None else codec.from_json(execution, Execution, where="execution"),
            cache=self._material.cache,
            profile=head.get("profile", False),
        )

    @contextmanager
    def _named(self, head: Mapping[str, Any]) -> Iterator[None]:
        """Errors name files by their titles: a descriptor's number tells nobody anything."""
        titles = {self._material.model.name: str(head["title"])}
        titles |= {file.name: title for title, file in self._material.files.items()}
        try:
            yield
        except EdgeError as e:
            e.where = titles.get(e.where or "", e.where)
            raise

    def _progress(self, done: int, total: int) -> None:
        self.send(Frame({"kind": "progress", "done": done, "total": total}))


def _querying(frame: Frame) -> Querying:
    runtime = runtimes.get(frame.head["runtime"])
    if not isinstance(runtime, Querying):
        raise InvalidRequest("the runtime has no processors to tell of", where=runtime.name)
    return runtime
