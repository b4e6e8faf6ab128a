"""LiteRT in a process of its own, because a model file is untrusted input to a C++ loader.

A file of a few bytes can crash it (https://github.com/tensorflow/tensorflow/issues/115308): here that is an
InvalidModel that names the file.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from device_agent import frames
from device_agent.errors import EdgeError, InvalidModel, ProtocolError
from device_agent.frames import Frame
from device_agent.tensors import Tensor, pack, unpack

if TYPE_CHECKING:
    import numpy as np

DEADLINE_S = 300.0  # of one request: after it the process hangs
_LAST_WORDS = 500  # characters


class LitertProcess:
    """A process that runs the models it is given, one at a time. It ends with this object.

    Every request raises InvalidModel where LiteRT refuses the model, crashes or hangs on it; `where` names
    the file in it.
    """

    def __init__(self, where: str) -> None:
        self._where = where
        self._folder = tempfile.TemporaryDirectory(prefix="edge-")
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `_end`
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "converters.readers.litert_child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
        )
        weakref.finalize(self, _end, self._process, self._said, self._folder)

    def load(self, data: bytes, shapes: Mapping[int, tuple[int, ...]], *, plain: bool = False) -> None:
        """Load a TFLite file.

        Args:
            data: the file.
            shapes: of inputs by their tensor's index, where they are not those of the file.
            plain: without delegates, as `shapes` needs it.
        """
        file = Path(self._folder.name) / "model.tflite"
        file.write_bytes(data)
        given = {str(index): list(shape) for index, shape in shapes.items()}
        self._ask(Frame({"kind": "load", "path": str(file), "shapes": given, "plain": plain}))

    def run(self, inputs: Mapping[int, Tensor]) -> dict[int, Tensor]:
        """Run the model; inputs and outputs by their tensors' indices."""
        packed = pack({str(index): tensor for index, tensor in inputs.items()})
        answer = self._ask(Frame({"kind": "run"}, packed))
        return {int(name): tensor for name, tensor in unpack(answer.payload).items()}

    def shapes(self) -> dict[int, tuple[int, ...]]:
        """The shapes of all tensors, as they are when the model runs."""
        answer = self._ask(Frame({"kind": "shapes"}))
        return {int(index): tuple(shape) for index, shape in answer.head["shapes"].items()}

    def _ask(self, request: Frame) -> Frame:
        overdue = threading.Timer(DEADLINE_S, self._process.kill)
        overdue.daemon = True
        overdue.start()
        try:
            answer = self._exchange(request)
        except (BrokenPipeError, ProtocolError):
            answer = None
        finally:
            overdue.cancel()
        if answer is None:
            raise self._crashed()
        if answer.kind == "refused":
            raise InvalidModel("LiteRT refuses the model", where=self._where, got=str(answer.head["got"]))
        return answer

    def _exchange(self, request: Frame) -> Frame | None:
        stdin: Any = self._process.stdin
        stdout: Any = self._process.stdout
        stdin.write(request.encode())
        stdin.flush()
        return frames.read_blocking(stdout)

    def _crashed(self) -> EdgeError:
        self._process.kill()  # where it answered nonsense
        status = self._process.wait()
        self._said.seek(0)
        said = self._said.read().decode(errors="replace").strip()[-_LAST_WORDS:]
        how = f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
        return InvalidModel(
            "LiteRT crashes on the model",
            where=self._where,
            got=f"{how}: {said}" if said else how,
            next_step="Make the file anew: no device could run this one.",
        )


def _end(process: Any, said: Any, folder: tempfile.TemporaryDirectory[str]) -> None:
    """End a process that may be dead already."""
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout, said):
        with suppress(BrokenPipeError):  # what it was never told
            stream.close()
    folder.cleanup()


def of_array(array: np.ndarray) -> Tensor:
    """An array as a tensor."""
    import numpy as np

    return Tensor(array.dtype.name, tuple(array.shape), np.ascontiguousarray(array).tobytes())


def as_array(tensor: Tensor) -> np.ndarray:
    """A tensor as an array."""
    import numpy as np

    return np.frombuffer(tensor.data, tensor.dtype).reshape(tensor.shape)
