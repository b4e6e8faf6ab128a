"""This side of the child: started on demand, asked one thing at a time, ended with this process.

One child serves the whole process, because starting TensorFlow is the slow part. It ends by itself when
it was not asked for a while; the next question starts another.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib.util
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from attrs import define, field

import converters
from device_agent import errors, frames
from device_agent.errors import EdgeError, InvalidModel, MissingDependency, ProtocolError
from device_agent.frames import Frame

INSTALL = "pip install 'edge-deployment-sdk[keras]'"
ANSWER_S = 900.0  # for one answer: large models take minutes to convert
IDLE_S = 60.0  # after which the child ends by itself, and gives its memory back
_TAIL_BYTES = 1 << 16  # of what it wrote to its standard error, for the reason of a crash


@define
class _Running:
    process: subprocess.Popen[bytes]
    chatter: IO[bytes]
    home: tempfile.TemporaryDirectory[str]
    overdue: bool = False

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)  # a session of its own: what it started as well


@define
class TensorFlow:
    """A TensorFlow child process, started when it is first asked.

    Args:
        answer_s: how long one answer may take before the child is ended as hung.
        idle_s: how long the child waits for the next question before it ends by itself.
    """

    answer_s: float = ANSWER_S
    idle_s: float = IDLE_S
    _running: _Running | None = field(default=None, init=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)

    @property
    def pid(self) -> int | None:
        """The child's process id, None where none runs."""
        return self._running.process.pid if self._running is not None else None

    def ask(self, head: dict[str, Any], payload: bytes, *, about: str) -> Frame:
        """Ask the child one thing.

        Args:
            head: `kind` and what belongs to it, as `child` takes it.
            payload: a safetensors blob, or nothing.
            about: the model's file, for errors.

        Returns:
            Its answer, which is not an error.

        Raises:
            MissingDependency: TensorFlow is not installed, or cannot be imported.
            InvalidModel: the child crashed or hung over the model.
            EdgeError: what the child itself raises.
        """
        message = Frame(head, payload).encode()
        with self._lock:
            answer = self._exchange(message, about)
        if answer.kind == "error":
            raise errors.from_json(answer.head["error"])
        return answer

    def stop(self) -> None:
        """End the child, if one runs."""
        running, self._running = self._running, None
        if running is None:
            return
        running.kill()
        running.process.wait()
        for stream in (running.process.stdin, running.process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):  # what was not sent any more
                    stream.close()
        running.chatter.close()
        running.home.cleanup()

    def _exchange(self, message: bytes, about: str) -> Frame:
        for _ in range(2):  # the first child may be ending just now because it was idle
            try:
                running, answer = self._once(message)
            except BaseException:  # Ctrl-C among them: the child may be anywhere in its work
                self.stop()
                raise
            if answer is not None and not running.overdue:
                return answer
            code = running.process.wait()
            chatter = _tail(running.chatter)
            self.stop()
            if code != 0 or running.overdue:
                break
        raise _lost(code, chatter, about, self.answer_s if running.overdue else None)

    def _once(self, message: bytes) -> tuple[_Running, Frame | None]:
        running = self._running = self._running or _start(self.idle_s)
        timer = threading.Timer(self.answer_s, _end_hung, [running])
        timer.daemon = True
        try:
            timer.start()
            return running, _spoken(running, message)
        finally:
            timer.cancel()


def _spoken(running: _Running, message: bytes) -> Frame | None:
    """Send and receive; None where the child is gone."""
    into, out = running.process.stdin, running.process.stdout
    if into is None or out is None:
        raise ProtocolError("the TensorFlow process was started without pipes")
    try:
        into.write(message)
        into.flush()
    except BrokenPipeError:
        return None
    return frames.read_blocking(out)  # type: ignore[arg-type]  # IO[bytes] of Popen is a BinaryIO


def _end_hung(running: _Running) -> None:
    running.overdue = True
    running.kill()


def _start(idle_s: float) -> _Running:
    if importlib.util.find_spec("tensorflow") is None:
        raise MissingDependency("tensorflow is missing", next_step=INSTALL)
    home = tempfile.TemporaryDirectory(prefix="edge-")
    chatter = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `stop`
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "converters.tensorflow.child", str(idle_s)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=chatter,
        env=_environment(os.environ, home.name),
        start_new_session=True,  # Ctrl-C is for this process, which ends the child
    )
    return _Running(process, chatter, home)


def _environment(own: Mapping[str, str], home: str) -> dict[str, str]:
    """Of the child: no GPU, Keras on TensorFlow whatever the user's settings, and files kept in `home`."""
    root = str(Path(converters.__file__).parents[1])
    path = [root, *own.get("PYTHONPATH", "").split(os.pathsep)]
    return {
        **{
            name: value
            for name, value in own.items()
            if name not in ("TF_USE_LEGACY_KERAS", "PYTHONWARNINGS")
        },
        "PYTHONPATH": os.pathsep.join(entry for entry in path if entry),
        "KERAS_BACKEND": "tensorflow",
        "KERAS_HOME": home,  # Keras writes its settings there on import
        "TMPDIR": home,
        "CUDA_VISIBLE_DEVICES": "-1",
        "TF_CPP_MIN_LOG_LEVEL": "2",  # errors, which say why it crashed
    }


def _tail(chatter: IO[bytes]) -> str:
    size = chatter.seek(0, os.SEEK_END)
    chatter.seek(max(0, size - _TAIL_BYTES))
    return chatter.read().decode(errors="replace")


def _lost(code: int, chatter: str, about: str, overdue_s: float | None) -> EdgeError:
    """The error for a child that is gone: what it died of, and the last that it said."""
    logging.getLogger(__name__).debug(chatter)
    if overdue_s is not None:
        what, got = "TensorFlow did not answer", f"nothing within {overdue_s:g} s"
    else:
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        what, got = "TensorFlow crashed over the model", "; ".join([how, *last_words(chatter)])
    return InvalidModel(
        what, where=about, got=got, next_step="Save the model anew; please report this with it if it is good."
    )


def last_words(chatter: str) -> list[str]:
    """The line of a log that says why a process died: a failed check, an exception, else the last one."""
    lines = [" ".join(line.split()) for line in chatter.splitlines() if line.strip()]
    telling = [
        line for line in lines if line.startswith("F0000") or "Check failed" in line or "Error:" in line
    ]
    return [line[:300] for line in (telling or lines)[-1:]]


tensorflow = TensorFlow()
atexit.register(tensorflow.stop)
