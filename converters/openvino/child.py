"""Runs in a process of its own: reads a model as OpenVINO's, keeps it, and writes it as IR.

    open  {path, inputs, outputs, images}, payload: bound inputs
          -> opened {unsupported, version}, payload: {operators, translated} as JSON; or refused {message}
    save  {folder, fp16}  -> saved; model.xml and model.bin are there
    fold  see `raw_pixels`, and `nncf_child` for what NNCF does

`inputs` are [name, name in the file, dtype, shape as the file lays it], `outputs` likewise, with -1 for an
open size. A request after `open` works on the model that it left. openvino's telemetry, a thread that may
reach for the network, is kept off.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # an import of it fails, which is allowed for

import openvino  # noqa: E402 - after the line above

from converters.openvino import ends, listing, raw_pixels, reading  # noqa: E402
from converters.openvino.nncf_child import Quantising  # noqa: E402
from converters.readers import child  # noqa: E402
from device_agent.errors import EdgeError, InvalidModel  # noqa: E402
from device_agent.frames import Frame  # noqa: E402


class Models:
    """The model that was opened, and the answers to requests. `model` must not be changed by them."""

    def __init__(self) -> None:
        self.core = openvino.Core()
        self.model: Any = None

    def open(self, frame: Frame) -> Frame:
        """Read a model and shape, name and lay out its ends as asked."""
        head = frame.head
        try:
            model = self.core.read_model(head["path"])
            made = listing.translated(model)
            reading.fix(model, head, child.unpack(frame.payload))
            model = ends.arrange(model, head)
        except (RuntimeError, ValueError, TypeError, reading.Unfit) as e:
            return Frame({"kind": "refused", "message": str(e)})
        self.model = model
        entries = listing.entries(model, made)
        left = listing.left(model, made)
        head = {
            "kind": "opened",
            "unsupported": self._unsupported([entry[0] for entry in entries]),
            "version": openvino.__version__.partition("-")[0],
        }
        return Frame(head, json.dumps({"operators": entries, "translated": left}).encode())

    def _unsupported(self, names: list[str]) -> list[str]:
        """The operators that the CPU cannot run.

        Of operators that OpenVINO fuses or splits the query may not know the names: it counts where the model
        cannot be compiled.
        """
        supported = self.core.query_model(self.model, "CPU")
        unknown = [name for name in names if name not in supported]
        if unknown:
            try:
                self.core.compile_model(self.model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
            except RuntimeError:
                return unknown
        return []

    def save(self, frame: Frame) -> Frame:
        """Write the model as IR."""
        write(self.model, frame.head["folder"], fp16=frame.head["fp16"])
        return Frame({"kind": "saved"})


def write(model: Any, folder: str, *, fp16: bool) -> None:
    """A model as `model.xml` and `model.bin` in a folder, the same bytes for the same model."""
    listing.name_stably(model)
    openvino.save_model(model, os.path.join(folder, "model.xml"), compress_to_fp16=fp16)  # noqa: PTH118 - a string is what it takes


def _failed(frame: Frame, cause: Exception) -> EdgeError:
    from converters.openvino.verdicts import condensed

    return InvalidModel(
        f"OpenVINO failed over the model ({frame.kind})",
        got=condensed(str(cause)) or type(cause).__name__,
        next_step="`edge plan` shows each operator.",
    )


if __name__ == "__main__":
    models = Models()
    quantising = Quantising(lambda: models.model, lambda model, folder: write(model, folder, fp16=False))
    child.serve(
        {
            "open": models.open,
            "save": models.save,
            "fold": lambda frame: raw_pixels.fold(
                frame, lambda model, folder: write(model, folder, fp16=False)
            ),
            **quantising.handlers(),
        },
        _failed,
    )
