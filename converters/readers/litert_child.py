"""LiteRT in a process of its own, for `LitertProcess`: the model loaded last. Tensors go by their index.

load    {path, shapes, plain}  -> loaded
run     payload: inputs        -> outputs, payload: outputs
shapes                         -> shapes {shapes}
"""

from __future__ import annotations

from typing import Any

import numpy as np

from converters.readers import child
from device_agent.errors import EdgeError, InvalidModel
from device_agent.frames import Frame


class _Loaded:
    """The model that was loaded last."""

    def __init__(self) -> None:
        self._interpreter: Any = None

    def load(self, request: Frame) -> Frame:
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

    def run(self, request: Frame) -> Frame:
        """Run the inputs in the payload; the outputs."""
        for name, array in child.unpack(request.payload).items():
            self._interpreter.set_tensor(int(name), array)
        self._interpreter.invoke()
        rows = self._interpreter.get_output_details()
        outputs = {str(row["index"]): self._interpreter.get_tensor(row["index"]) for row in rows}
        return Frame({"kind": "outputs"}, child.pack(outputs))

    def shapes(self, request: Frame) -> Frame:  # noqa: ARG002 - as every handler
        """The shapes of all tensors, after a run with zeros that settles those it decides."""
        for row in self._interpreter.get_input_details():
            self._interpreter.set_tensor(row["index"], np.zeros(row["shape"], row["dtype"]))
        self._interpreter.invoke()
        rows = self._interpreter.get_tensor_details()
        return Frame({"kind": "shapes", "shapes": {row["index"]: row["shape"].tolist() for row in rows}})


def _failed(_request: Frame, cause: Exception) -> EdgeError:
    return InvalidModel("LiteRT refuses the model", got=str(cause).strip()[:500] or type(cause).__name__)


if __name__ == "__main__":
    loaded = _Loaded()
    child.serve({"load": loaded.load, "run": loaded.run, "shapes": loaded.shapes}, _failed)
