"""LiteRT in a process of its own: `python -m converters.readers.litert_child`.

Answers the frames (see `device_agent.frames`) of `LitertProcess` on its standard streams. Tensors go by
their index in the file.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import numpy as np

from device_agent.frames import Frame, read_blocking
from device_agent.tensors import Tensor, pack, unpack


class _Child:
    """The model that was loaded last."""

    def __init__(self) -> None:
        self._interpreter: Any = None

    def answer(self, request: Frame) -> Frame:
        """What is answered to a frame; an error of LiteRT's is a frame of its own."""
        try:
            return getattr(self, f"_{request.kind}")(request)  # type: ignore[no-any-return]
        except (ValueError, RuntimeError, TypeError, MemoryError) as e:  # what LiteRT's refusals come out as
            return Frame({"kind": "refused", "got": str(e).strip()[:500] or type(e).__name__})

    def _load(self, request: Frame) -> Frame:
        """Load the file at `path`, its inputs resized to `shapes` (by index)."""
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        # of delegates some tensors are hidden, and shapes are wanted of all
        plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        options = {"experimental_op_resolver_type": plain} if request.head["plain"] else {}
        self._interpreter = Interpreter(model_path=request.head["path"], num_threads=1, **options)
        for index, shape in request.head["shapes"].items():
            self._interpreter.resize_tensor_input(int(index), shape)
        self._interpreter.allocate_tensors()
        return Frame({"kind": "loaded"})

    def _run(self, request: Frame) -> Frame:
        """Run the inputs in the payload; the outputs."""
        for name, tensor in unpack(request.payload).items():
            array = np.frombuffer(tensor.data, tensor.dtype).reshape(tensor.shape)
            self._interpreter.set_tensor(int(name), array)
        self._interpreter.invoke()
        outputs = {}
        for row in self._interpreter.get_output_details():
            array = self._interpreter.get_tensor(row["index"])
            outputs[str(row["index"])] = Tensor(array.dtype.name, tuple(array.shape), array.tobytes())
        return Frame({"kind": "outputs"}, pack(outputs))

    def _shapes(self, request: Frame) -> Frame:  # noqa: ARG002 - as every answer
        """The shapes of all tensors, after a run with zeros that settles those it decides."""
        for row in self._interpreter.get_input_details():
            self._interpreter.set_tensor(row["index"], np.zeros(row["shape"], row["dtype"]))
        self._interpreter.invoke()
        rows = self._interpreter.get_tensor_details()
        return Frame({"kind": "shapes", "shapes": {row["index"]: row["shape"].tolist() for row in rows}})


def main() -> None:
    """Answer until the other end closes; what LiteRT prints goes to standard error."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    child = _Child()
    while (request := read_blocking(sys.stdin.buffer)) is not None:
        answers.write(child.answer(request).encode())
        answers.flush()


if __name__ == "__main__":
    main()
