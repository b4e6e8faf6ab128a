"""The worker process: one model, frames in on stdin, frames out on stdout, ends when stdin ends.

    load       {runtime, path, threads}             -> loaded {inputs, outputs, load_ns, version}
    infer      payload: inputs                      -> outputs, payload: outputs
    benchmark  {request}, payload: inputs           -> progress {done, total} ..., measured, payload: JSON
    anything that fails                             -> error {error}

Started by `worker.Worker`, never by hand.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import time
from pathlib import Path
from typing import BinaryIO

from device_agent import bench, codec, frames, runtimes, tensors
from device_agent.errors import EdgeError, InvalidRequest, WorkerFailed
from device_agent.frames import Frame
from device_agent.protocol import BenchmarkRequest
from device_agent.runtimes.base import Session

MAX_OPEN_FILES = 256
_PR_SET_PDEATHSIG = 1  # prctl(2)
_PR_SET_NO_NEW_PRIVS = 38
_PR_SET_THP_DISABLE = 41


def contain() -> None:
    """Give up what a model's loader has no use for, before it sees a byte of the model.

    No limit on address space: C++ runtimes reserve far more than they use.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = MAX_OPEN_FILES if most == resource.RLIM_INFINITY else min(MAX_OPEN_FILES, most)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    libc = ctypes.CDLL(None, use_errno=True)
    # both are second fences (stdin's end and the agent's own rights are the first): where a kernel
    # refuses them, the worker runs without
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    libc.prctl(_PR_SET_THP_DISABLE, 0, 0, 0, 0)  # the agent does without huge pages, a model need not


def claim_streams() -> tuple[BinaryIO, BinaryIO]:
    """Take stdin and stdout for frames; whatever a runtime prints goes to stderr from here on."""
    requests = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return requests, answers


class WorkerLoop:
    """Answers frames until there are no more."""

    def __init__(self, requests: BinaryIO, answers: BinaryIO) -> None:
        self._requests = requests
        self._answers = answers
        self._session: Session | None = None

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
            self._send(answer)

    def _send(self, frame: Frame) -> None:
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
        if frame.kind == "benchmark":
            request = codec.from_json(frame.head.get("request"), BenchmarkRequest, where="benchmark")
            session.set_inputs(tensors.unpack(frame.payload))
            measured = bench.measure(session, bench.check(request), self._progress)
            return Frame({"kind": "measured"}, codec.dumps(measured).encode())
        raise InvalidRequest("the worker knows no such request", got=frame.kind)

    def _load(self, frame: Frame) -> Frame:
        head = frame.head
        runtime = runtimes.get(head["runtime"])
        begin = time.perf_counter_ns()
        self._session = runtime.load(Path(head["path"]), threads=head["threads"])
        load_ns = time.perf_counter_ns() - begin
        return Frame({"kind": "loaded", "load_ns": load_ns, "version": runtime.version()})

    def _progress(self, done: int, total: int) -> None:
        self._send(Frame({"kind": "progress", "done": done, "total": total}))


def main() -> None:
    """Contain this process, then answer until the agent closes stdin."""
    contain()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C at a terminal is the agent's to handle
    WorkerLoop(*claim_streams()).run()


if __name__ == "__main__":
    main()
