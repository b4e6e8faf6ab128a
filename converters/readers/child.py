"""A process of its own for a framework whose import, logs and crashes must not touch the user's process.

`Child` starts a module of ours and asks it; that module calls `serve` with a function per kind of request.
Both speak `device_agent.frames` over the child's standard input and output. What the framework prints goes
to a file of which a crash quotes the end.
"""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from converters.readers.files import reading
from device_agent import errors, frames, tensors
from device_agent.errors import EdgeError, InvalidModel, MissingDependency, ProtocolError
from device_agent.frames import Frame
from device_agent.tensors import Tensor

if TYPE_CHECKING:
    import numpy as np

TAIL_BYTES = 400  # of what a child printed, where it died
STOP_SECONDS = 1.0
Handler = Callable[[Frame], Frame]


class Child:
    """A process that answers one request at a time, ended by `close` or with the last reference to it.

    Args:
        module: what it runs, as `python -m` would; it must call `serve`.
        name: what it is called in errors: `PyTorch`.
    """

    def __init__(self, module: str, name: str) -> None:
        self.name = name
        chatter = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process, by `_end`
        self._process = subprocess.Popen(
            # `-P`: a torch.py in the working folder is not PyTorch
            [sys.executable, "-P", "-W", "ignore", "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=chatter,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(str(Path(p).absolute()) for p in sys.path)},
            start_new_session=True,  # Ctrl-C in the terminal is ours; we end the child
        )
        self._chatter = chatter
        self._end = weakref.finalize(self, _end, self._process, chatter)

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def running(self) -> bool:
        """Whether it can be asked: it was not closed, and has not died."""
        return self._end.alive and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    def close(self) -> None:
        """End the process; nothing happens if it has ended."""
        self._end()

    def ask(self, head: Mapping[str, Any], payload: bytes = b"", *, where: str, seconds: float) -> Frame:
        """The answer to a request.

        Args:
            head: the request; `kind` names the handler.
            payload: arrays, see `pack`.
            where: the model, for errors.
            seconds: the process is killed when it has not answered after so long.

        Raises:
            InvalidModel: the process died, or was killed because it did not answer.
            EdgeError: whatever the handler raised.
        """
        overdue = threading.Event()
        process = self._process  # the timer's thread shall not keep `self` alive

        def expire() -> None:
            overdue.set()
            process.kill()

        timer = threading.Timer(seconds, expire)
        timer.daemon = True
        timer.start()
        try:
            answer = self._exchange(Frame(dict(head), payload).encode())
        except BaseException:  # Ctrl-C too: nobody will read this answer
            self.close()
            raise
        finally:
            timer.cancel()
        if answer is None:
            raise self._lost(str(head["kind"]), where, seconds if overdue.is_set() else None)
        if answer.kind == "error":
            raise errors.from_json(answer.head["error"])
        return answer

    def _exchange(self, frame: bytes) -> Frame | None:
        """One frame there, one back; None if the process is gone."""
        there, back = self._process.stdin, self._process.stdout
        if there is None or back is None or there.closed:
            return None
        try:
            there.write(frame)
            there.flush()
            return frames.read_blocking(back)  # type: ignore[arg-type]  # a buffered reader, typed as IO
        except (BrokenPipeError, ConnectionResetError, ProtocolError):
            return None

    def _lost(self, kind: str, where: str, seconds: float | None) -> InvalidModel:
        if self._process.stdin is not None and not self._process.stdin.closed:
            self._process.kill()
            self._process.wait()
        said = _tail(self._chatter)
        self.close()
        if seconds is not None:
            return InvalidModel(
                f"{self.name} did not finish within {seconds:g} s and was stopped",
                where=where,
                got=f"no answer to {kind!r}",
                next_step="Try a smaller model, or export it to ONNX yourself.",
            )
        code = self._process.returncode
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return InvalidModel(
            f"{self.name} died while it worked on the model",
            where=where,
            got=f"{how}; {said}" if said else how,
            next_step="Export the model anew; if it dies again, the fault is in that package.",
        )


def _end(process: subprocess.Popen[bytes], chatter: IO[bytes]) -> None:
    process.kill()
    process.wait(STOP_SECONDS * 10)
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            try:
                stream.close()
            except BrokenPipeError:
                continue  # what was not sent is not wanted any more
    chatter.seek(0)
    if text := chatter.read().decode(errors="replace").strip():
        logging.getLogger(__name__).debug(text)
    chatter.close()


def _tail(chatter: IO[bytes]) -> str:
    if chatter.closed:
        return ""
    size = chatter.seek(0, os.SEEK_END)
    chatter.seek(max(0, size - TAIL_BYTES))
    return " ".join(chatter.read().decode(errors="replace").split())


def serve(handlers: Mapping[str, Handler], failed: Callable[[Frame, Exception], EdgeError]) -> None:
    """Answer requests until there are no more; the process ends when the other end goes away.

    Args:
        handlers: by the request's kind. They may raise EdgeError, which is an answer too.
        failed: what to answer where a handler raised anything else.
    """
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # prints go where the logs go, not among the answers
    requests: queue.Queue[Frame] = queue.Queue()

    def listen() -> None:
        # a thread, so that a process that computes ends with the one that asked it
        with os.fdopen(0, "rb", closefd=False) as stream:
            while (frame := frames.read_blocking(stream)) is not None:
                requests.put(frame)
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    while True:
        frame = requests.get()
        try:
            answer = handlers[frame.kind](frame).encode()
        except EdgeError as e:
            answer = Frame({"kind": "error", "error": e.to_json()}).encode()
        except Exception as e:  # noqa: BLE001 - a framework may raise anything; the other end must hear of it
            answer = Frame({"kind": "error", "error": failed(frame, e).to_json()}).encode()
        answers.write(answer)
        answers.flush()


def pack(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Arrays by name as a payload; their dtypes are those of `device_agent.tensors`."""
    return tensors.pack({name: of_array(array) for name, array in arrays.items()})


def unpack(payload: bytes) -> dict[str, np.ndarray]:
    """The arrays of a payload; they are read-only."""
    return {name: as_array(tensor) for name, tensor in tensors.unpack(payload).items()}


def of_array(array: np.ndarray) -> Tensor:
    """An array as a tensor."""
    import numpy as np

    return Tensor(array.dtype.name, array.shape, np.ascontiguousarray(array).tobytes())


def as_array(tensor: Tensor) -> np.ndarray:
    """A tensor as an array, read-only."""
    import numpy as np

    return np.frombuffer(tensor.data, tensor.dtype).reshape(tensor.shape)


@contextmanager
def at(path: Path, made: Path | None = None) -> Iterator[None]:
    """Within, errors name the user's file: where they name no place, or the file `made` of it."""
    try:
        yield
    except EdgeError as e:
        e.where = str(path) if e.where is None else e.where.replace(str(made or path), str(path))
        raise


def digest(*paths: Path) -> tuple[str, int]:
    """The SHA-256 (hex digits) of files, one after the other, and their bytes together.

    Raises:
        FileMissing: one is not there.
        InvalidModel: one cannot be read.
    """
    total = hashlib.sha256()
    size_bytes = 0
    for path in paths:
        with reading(path), path.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                total.update(chunk)
                size_bytes += len(chunk)
    return total.hexdigest(), size_bytes


def require(*packages: str, extra: str) -> None:
    """Nothing, if the packages are installed; they are not imported. Raises MissingDependency."""
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise MissingDependency(
                f"{package} is missing", next_step=f"pip install 'edge-deployment-sdk[{extra}]'"
            )
