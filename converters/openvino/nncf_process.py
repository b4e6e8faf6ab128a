"""The process that quantises, as the engine asks it: what it made is kept, and it may be lost."""

from __future__ import annotations

import json
import shutil
import tempfile
import weakref
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import frozen

from converters.openvino import spooled
from converters.openvino.integers import Node
from converters.openvino.opened import Files, OpenOperator, files_in, open_model, operators_in
from converters.openvino.schemes import SUBSET
from converters.quantize.samples.sources import WAYS
from converters.quantize.search.budget import held_by
from converters.readers import child
from device_agent.errors import CalibrationError, InvalidModel, QuantizationError
from device_agent.frames import Frame

if TYPE_CHECKING:
    from converters.model import Model
    from converters.openvino.opened import OpenModel
    from converters.progress import Progress
    from converters.quantize.samples.calibration import Calibration

QUANTIZE_SECONDS = 3600.0
COMPARE_SECONDS = 300.0  # a sample
LEAST_SECONDS = 0.1
MOST_KEPT_BYTES = 256 << 20  # of models that were made, so that NNCF is asked once for each


@frozen
class Made:
    """What NNCF made of a model: `changed` and `differences` are as in `nncf_child`, `weights` too."""

    files: Files
    nodes: tuple[Node, ...]
    changed: Mapping[str, int]
    differences: Mapping[str, float]
    weights: Mapping[str, str]

    @property
    def size_bytes(self) -> int:
        """Of its files."""
        return len(self.files.xml) + len(self.files.weights)


class NncfProcess:
    """A model in a child process where NNCF works on it.

    Args:
        model: the source.
        opened: it, in the child. Where that died, or was ended for taking too long, another is started.
        calibration: samples; None where none will be needed.
        progress: told where the model is opened anew.
    """

    def __init__(
        self, model: Model, opened: OpenModel, calibration: Calibration | None, progress: Progress
    ) -> None:
        self._model, self._opened, self._calibration = model, opened, calibration
        self._progress = progress
        self._seconds: float | None = None
        self._folder = Path(tempfile.mkdtemp(prefix="edge-"))
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self._samples: str | None = None
        self._operators: tuple[OpenOperator, ...] = ()
        self._prepared: object = None  # the process that was asked to
        self._made: dict[str, Made] = {}

    def allow(self, seconds: float | None) -> None:
        """See `Apart`."""
        self._seconds = seconds

    def held_bytes(self) -> int:
        """See `Apart`."""
        process = self._opened.process
        return (held_by(process.pid) or 0) if process.running else 0

    def opened(self) -> OpenModel:
        """The model as it was opened, in a process that runs."""
        if not self._opened.process.running:
            self._opened = open_model(self._model, self._progress)
        return self._opened

    def operators(self) -> tuple[OpenOperator, ...]:
        """The operators of the model as NNCF is given it, in execution order."""
        if not self._operators:
            self._prepare()
        return self._operators

    def samples(self) -> str:
        """The folder with the calibration samples; CalibrationError where there are none."""
        if self._calibration is None:
            raise CalibrationError("int8 needs calibration data, and none was given", next_step=WAYS)
        if self._samples is None:
            folder = self._folder / "samples"
            spooled.write(self._calibration, folder, SUBSET)
            self._samples = str(folder)
        return self._samples

    def made(self, request: Mapping[str, Any]) -> Made:
        """What a request of `nncf_child` makes, without its `folder`; the same request is sent once.

        Raises:
            QuantizationError: NNCF refuses, died, or took longer than it may.
        """
        key = json.dumps(request)
        if key not in self._made:
            with tempfile.TemporaryDirectory(prefix="edge-") as folder:
                answer = self._ask({**request, "folder": folder}, b"", QUANTIZE_SECONDS)
                head = answer.head
                self._made[key] = Made(
                    files=files_in(Path(folder)),
                    nodes=tuple(_node(entry) for entry in json.loads(answer.payload)),
                    changed=head["changed"],
                    differences=head["differences"],
                    weights=head["weights"],
                )
        found = self._made.pop(key)
        self._made[key] = found  # the last that was asked for is the last to go
        while len(self._made) > 1 and sum(one.size_bytes for one in self._made.values()) > MOST_KEPT_BYTES:
            del self._made[next(iter(self._made))]
        return found

    def compare(
        self, made: Made, layers: Sequence[str], samples: Iterable[Mapping[str, np.ndarray]]
    ) -> np.ndarray:
        """Sums over samples for each layer, as `nncf_child` has them of one: float64[layers, 4]."""
        total = np.zeros((len(layers), 4))
        with tempfile.TemporaryDirectory(prefix="edge-") as folder:
            (Path(folder) / "model.bin").write_bytes(made.files.weights)
            path = Path(folder) / "model.xml"
            path.write_bytes(made.files.xml)
            head = {"kind": "compare", "path": str(path), "layers": list(layers)}
            for sample in samples:
                answer = self._ask(head, child.pack(sample), COMPARE_SECONDS)
                total += child.unpack(answer.payload)["sums"]
        return total

    def _prepare(self) -> None:
        opened = self.opened()
        if self._prepared is not opened.process:
            answer = opened.process.ask({"kind": "prepare"}, where=opened.where, seconds=COMPARE_SECONDS)
            self._operators = operators_in(json.loads(answer.payload))
            self._prepared = opened.process

    def _ask(self, head: Mapping[str, Any], payload: bytes, seconds: float) -> Frame:
        """The child's answer; where it died or took too long, only what it worked on is lost."""
        self._prepare()
        process, where = self._opened.process, self._opened.where
        limit = seconds if self._seconds is None else min(seconds, max(LEAST_SECONDS, self._seconds))
        try:
            return process.ask(head, payload, where=where, seconds=limit)
        except InvalidModel as e:
            if process.running:
                raise
            raise QuantizationError(e.what, where=e.where, got=e.got) from e
        except QuantizationError as e:
            e.where = e.where or where
            raise


def _node(entry: Sequence[Any]) -> Node:
    name, kind, reads, constants, floats = entry
    return Node(name, kind, tuple(reads), constants, floats)
