"""LiteRT in a process of its own, because a model file is untrusted input to a C++ loader.

A file of a few bytes can crash it (https://github.com/tensorflow/tensorflow/issues/115308): here that is an
InvalidModel that names the file.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from converters.readers import child
from device_agent.errors import InvalidModel

if TYPE_CHECKING:
    import numpy as np

    from device_agent.frames import Frame

DEADLINE_S = 300.0  # of one request: after it the process hangs


class LitertProcess:
    """A process that runs the models it is given, one at a time. It ends with this object.

    Every request raises InvalidModel where LiteRT refuses the model, crashes or hangs on it; `where` names
    the file in it.
    """

    def __init__(self, where: str) -> None:
        self._where = where
        self.child = child.Child("converters.readers.litert_child", "LiteRT")

    def load(self, data: bytes, shapes: Mapping[int, tuple[int, ...]], *, plain: bool = False) -> None:
        """Load a TFLite file.

        Args:
            data: the file.
            shapes: of inputs by their tensor's index, where they are not those of the file.
            plain: without delegates, as `shapes` needs it.
        """
        given = {str(index): list(shape) for index, shape in shapes.items()}
        with tempfile.TemporaryDirectory(prefix="edge-") as folder:
            file = Path(folder) / "model.tflite"
            file.write_bytes(data)
            self._ask({"kind": "load", "path": str(file), "shapes": given, "plain": plain})

    def run(self, inputs: Mapping[int, np.ndarray]) -> dict[int, np.ndarray]:
        """Run the model; inputs and outputs by their tensors' indices."""
        packed = child.pack({str(index): array for index, array in inputs.items()})
        found = child.unpack(self._ask({"kind": "run"}, packed).payload)
        return {int(name): array for name, array in found.items()}

    def shapes(self) -> dict[int, tuple[int, ...]]:
        """The shapes of all tensors, as they are when the model runs."""
        found = self._ask({"kind": "shapes"}).head["shapes"]
        return {int(index): tuple(shape) for index, shape in found.items()}

    def _ask(self, request: Mapping[str, Any], payload: bytes = b"") -> Frame:
        try:
            return self.child.ask(request, payload, where=self._where, seconds=DEADLINE_S)
        except InvalidModel as e:
            e.where = self._where
            raise
