"""An older runtime in a Python of its own, with an older NumPy: run as a script it serves models there.

`EDGE_TFLITE_PYTHON` names an interpreter that has it: `python3.11 -m venv FOLDER`, then
`FOLDER/bin/pip install tflite-runtime==2.14.0 'numpy<2'` (or `ai-edge-litert==1.0.1`).
"""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np

PYTHON = os.environ.get("EDGE_TFLITE_PYTHON", "")
_LENGTH = struct.Struct("<q")


class OlderRuntime:
    """Models on the interpreter that `EDGE_TFLITE_PYTHON` names; a crash of it is an answer, too."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, model: bytes, feed: dict[str, np.ndarray]) -> dict[str, np.ndarray] | str:
        """The outputs by name, or what the runtime says."""
        if self._process is None:
            environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
            self._process = subprocess.Popen(
                [PYTHON, str(Path(__file__).resolve())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment,
            )
        if self._process.stdin is None or self._process.stdout is None:
            raise OSError("no pipes")
        try:
            for part in (model, _packed(feed)):
                self._process.stdin.write(_LENGTH.pack(len(part)) + part)
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # the answer is missing, too
        answer = _read(self._process.stdout)
        if answer is None:
            code = self._process.wait()
            self.close()
            return f"the runtime ended with {code}"
        return answer.decode()[1:] if answer.startswith(b"!") else _unpacked(answer)

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    pipe.close()
            self._process.wait()
            self._process = None


def _packed(arrays: dict[str, np.ndarray]) -> bytes:
    file = io.BytesIO()
    np.savez(file, **{f"a_{name}": array for name, array in arrays.items()})  # type: ignore[arg-type]
    return file.getvalue()


def _unpacked(data: bytes) -> dict[str, np.ndarray]:
    with np.load(io.BytesIO(data), allow_pickle=False) as held:
        return {name[2:]: held[name] for name in held.files}


def _read(stream: io.BufferedIOBase) -> bytes | None:
    head = stream.read(_LENGTH.size)
    return stream.read(_LENGTH.unpack(head)[0]) if len(head) == _LENGTH.size else None


def _serve() -> None:
    """Answer models and inputs until the pipe ends; what the runtime prints goes to the errors."""
    try:
        from tflite_runtime.interpreter import Interpreter
    except ImportError:
        from ai_edge_litert.interpreter import Interpreter

    asked, answers = os.fdopen(0, "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    while True:
        model, feed = _read(asked), _read(asked)
        if model is None or feed is None:
            return
        try:
            interpreter = Interpreter(model_content=model, num_threads=1)
            interpreter.allocate_tensors()
            answer = _packed(interpreter.get_signature_runner()(**_unpacked(feed)))
        except (ValueError, RuntimeError) as e:
            answer = b"!" + str(e).encode()
        answers.write(_LENGTH.pack(len(answer)) + answer)
        answers.flush()


if __name__ == "__main__":
    sys.exit(_serve())
