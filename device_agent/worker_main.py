"""The worker process: one model, frames in and out on a socket, ends when that ends.

    (at its start)                              -> hello {pid, gaps}
    load       {runtime, title, threads}        -> loaded {load_ns, version}
    infer      payload: inputs                  -> outputs, payload: outputs
    benchmark  {request}, payload: inputs       -> progress {done, total} ..., measured, payload: JSON
    profile    {request}, payload: inputs       -> progress {done, total} ..., profiled, payload: JSON
    anything that fails                         -> error {error}

Made by `keeper`, never by hand. What a runtime prints goes to stderr, never among the frames.
"""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import BinaryIO

from device_agent import bench, codec, frames, runtimes, tensors
from device_agent.errors import EdgeError, InvalidRequest, WorkerFailed
from device_agent.frames import Frame
from device_agent.protocol import BenchmarkRequest
from device_agent.runtimes.base import Options, Session


def run(sock: socket.socket, model: int, pid: int, gaps: tuple[str, ...]) -> None:
    """Answer frames until there are no more.

    Args:
        sock: where they come from and go to.
        model: the model's file, open.
        pid: by which the agent knows this process.
        gaps: what of the containment this machine does not enforce.
    """
    loop = WorkerLoop(sock.makefile("rb"), sock.makefile("wb"), Path(f"/proc/self/fd/{model}"))
    loop.send(Frame({"kind": "hello", "pid": pid, "gaps": gaps}))
    loop.run()


class WorkerLoop:
    """Answers frames until there are no more."""

    def __init__(self, requests: BinaryIO, answers: BinaryIO, model: Path) -> None:
        self._requests = requests
        self._answers = answers
        self._model = model
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
        begin = time.perf_counter_ns()
        try:
            self._session = runtime.load(self._model, Options(threads=head["threads"]))
        except EdgeError as e:
            if e.where == self._model.name:  # a descriptor's number tells nobody anything
                e.where = str(head["title"])
            raise
        load_ns = time.perf_counter_ns() - begin
        self._runtime = runtime.name
        return Frame({"kind": "loaded", "load_ns": load_ns, "version": runtime.version()})

    def _progress(self, done: int, total: int) -> None:
        self.send(Frame({"kind": "progress", "done": done, "total": total}))
