"""`OpenVINOEngine`: builds one model for OpenVINO in any scheme, with NNCF, and looks inside it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import evolve, frozen

from converters.openvino import spooled, verdicts
from converters.openvino.compiled import artifact_of
from converters.openvino.integers import Node, float_operators
from converters.openvino.layer_errors import Totals
from converters.openvino.opened import Files, OpenOperator, files_in, open_model, operators_in
from converters.openvino.schemes import PRECISIONS, RANGES, REPAIRS, SUBSET
from converters.quantize.engine import Built, Effect, Fallback, Layer, LayerError
from converters.quantize.scheme import MIXED, Scheme
from converters.quantize.sources import WAYS
from converters.readers import child
from device_agent.errors import CalibrationError, InvalidModel, InvalidRequest, QuantizationError
from device_agent.frames import Frame

if TYPE_CHECKING:
    from converters.model import Model
    from converters.openvino.opened import OpenModel
    from converters.progress import Progress
    from converters.quantize.calibration import Calibration
    from device_agent.bundle import Execution

QUANTIZE_SECONDS = 3600.0
COMPARE_SECONDS = 300.0
FLOAT = "float32"
MOST_KEPT_BYTES = 256 << 20  # of models that were built, so that a search asks NNCF once for each
_WORDS = {
    "smooth_quant": ("smooth_quant", "factors of channels moved from activations into weights"),
    "asymmetric": ("asymmetric", "activations given a range that is not symmetric"),
    "bias_correction": ("biases", "biases corrected"),
    "fast_bias_correction": ("biases", "biases corrected"),
}


class OpenVINOEngine:
    """See `Engine`. Inputs and outputs of what it builds are float, whatever `Scheme.io` says.

    Args:
        model: the source.
        opened: it, in the process that quantises it too. Where that died, or was ended for taking too long,
            another is started.
        calibration: samples for the ranges of activations, which int8 needs.
        execution: how what is built is to be run.
        progress: told of calibration.
    """

    name = "openvino"
    ranges = RANGES
    repairs = REPAIRS
    steps = (FLOAT,)

    def __init__(
        self,
        model: Model,
        opened: OpenModel,
        calibration: Calibration | None,
        *,
        execution: Execution,
        progress: Progress,
    ) -> None:
        self._model, self._opened, self._calibration = model, opened, calibration
        self._execution, self._progress = execution, progress
        self._seconds: float | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="edge-")
        self._operators: tuple[OpenOperator, ...] | None = None  # of the model that is quantised
        self._process: object = None  # which has prepared it
        self._samples: Path | None = None
        self._made: dict[str, _Made] = {}

    def allow(self, seconds: float | None) -> None:
        """See `Interruptible`."""
        self._seconds = seconds

    def layers(self) -> tuple[Layer, ...]:
        """The operators that touch floats, in execution order."""
        operators = self._prepared()
        labels = self._labels()
        known = {operator.name for operator in operators}
        return tuple(
            Layer(
                name=operator.name,
                type=operator.type,
                label=labels.get(operator.name, operator.name),
                macs=operator.macs,
                precisions=("int8", FLOAT),
                inputs=tuple(name for name in operator.inputs if name in known),
            )
            for operator in operators
            if operator.floats
        )

    def build(self, scheme: Scheme) -> Built:
        """The model in that scheme; see `Engine`."""
        if scheme.precision not in PRECISIONS:
            raise QuantizationError(
                f"{scheme.precision} does not exist on OpenVINO",
                where=self._model.path.name,
                got=scheme.precision,
                expected=" or ".join(PRECISIONS),
            )
        if scheme.precision in (FLOAT, "float16"):
            return Built(self._float(scheme.precision), (), ())
        made = self._built(scheme)
        floating = float_operators(made.nodes)
        artifact = artifact_of(
            made.files,
            self._model,
            precision=MIXED if scheme.exceptions else scheme.precision,
            execution=self._execution,
            operators=[node.type for node in made.nodes],
            float_operators=[node.type for node in made.nodes if node.name in floating],
            tolerance=self._tolerance(made.differences),
        )
        fallbacks = self._fallbacks(scheme, made, floating) if scheme.precision == "int8" else ()
        return Built(artifact, _effects(scheme.repairs, made.changed), fallbacks)

    def errors(self, scheme: Scheme, samples: Iterable[Mapping[str, np.ndarray]]) -> tuple[LayerError, ...]:
        """The error of each layer's output; see `Engine`. What ranges hold and clip is not known."""
        if scheme.precision in (FLOAT, "float16"):
            return ()
        made = self._built(scheme)
        floating = float_operators(made.nodes)
        present = {node.name for node in made.nodes}
        layers = [layer for layer in self.layers() if layer.name in present]
        totals = Totals(len(layers))
        with tempfile.TemporaryDirectory(prefix="edge-") as folder:
            path = _write(made.files, Path(folder))
            head = {"kind": "compare", "path": str(path), "layers": [layer.name for layer in layers]}
            for sample in samples:
                answer = self._ask(head, child.pack(sample), COMPARE_SECONDS)
                totals.add(child.unpack(answer.payload)["sums"])
        return totals.results(layers, [FLOAT if one.name in floating else "int8" for one in layers])

    def _float(self, precision: str) -> Any:
        """The model as it was opened; with `float16` its weights in half precision."""
        self._prepared()  # where the process died, another is started
        operators = self._opened.operators
        return artifact_of(
            self._opened.save(fp16=precision == "float16"),
            self._model,
            precision=precision,
            execution=self._execution,
            operators=[operator.type for operator in operators],
            float_operators=[operator.type for operator in operators if operator.floats],
        )

    def _built(self, scheme: Scheme) -> _Made:
        """What NNCF makes of the model, asked once for what comes to the same."""
        head = self._request(scheme)
        key = json.dumps(head)
        if key not in self._made:
            with tempfile.TemporaryDirectory(prefix="edge-") as folder:
                answer = self._ask(head | {"folder": folder}, b"", QUANTIZE_SECONDS)
                nodes = tuple(Node(*entry[:2], tuple(entry[2]), *entry[3:]) for entry in json.loads(answer.payload))
                made = _Made(files_in(Path(folder)), nodes, answer.head["changed"], answer.head["differences"])
            if scheme.precision != "int8" and not made.changed["weights"]:
                raise QuantizationError(
                    f"NNCF found no weights to make {scheme.precision} of",
                    where=self._model.path.name,
                    next_step="Use `--precision float16`, or int8 with calibration samples.",
                )
            self._made[key] = made
        found = self._made.pop(key)
        self._made[key] = found  # the last that was asked for is the last to go
        while len(self._made) > 1 and sum(one.size_bytes for one in self._made.values()) > MOST_KEPT_BYTES:
            del self._made[next(iter(self._made))]
        return found

    def _request(self, scheme: Scheme) -> dict[str, Any]:
        """What the child is asked for a scheme: the same where two come to the same."""
        operators = self._prepared()
        if scheme.precision != "int8":
            samples = self._spooled() if self._calibration is not None else None
            bits = 8 if scheme.precision == "weight-int8" else 4
            return {"kind": "compress", "bits": bits, "samples": samples}
        for what, names, known in (("ranges", (scheme.ranges,), RANGES), ("repair", scheme.repairs, REPAIRS)):
            unknown = [name for name in names if name not in known]
            if unknown:
                raise InvalidRequest(f"unknown {what}", got=repr(unknown[0]), expected=" or ".join(known))
        repairs = [name for name in REPAIRS if name in scheme.repairs]
        if "bias_correction" in repairs and "fast_bias_correction" in repairs:
            repairs.remove("fast_bias_correction")
        ignored = [one.name for one in operators if scheme.exceptions.get(one.name) == FLOAT]
        return {
            "kind": "quantize",
            "samples": self._spooled(),
            "ranges": scheme.ranges,
            "repairs": repairs,
            "ignored": ignored,
        }

    def _prepared(self) -> tuple[OpenOperator, ...]:
        """The operators of the model as it is quantised, which the child keeps."""
        if not self._opened.process.running:
            self._opened = open_model(self._model, self._progress)
        if self._process is not self._opened.process or self._operators is None:
            answer = self._opened.process.ask(
                {"kind": "prepare"}, where=self._opened.where, seconds=COMPARE_SECONDS
            )
            self._operators = operators_in(answer.payload)
            self._process = self._opened.process
        return self._operators

    def _ask(self, head: Mapping[str, Any], payload: bytes, seconds: float) -> Frame:
        """The child's answer; where it died or took too long, only this candidate is lost."""
        self._prepared()
        process = self._opened.process
        limit = seconds if self._seconds is None else min(seconds, self._seconds)
        try:
            return process.ask(head, payload, where=self._opened.where, seconds=max(limit, 0.1))
        except InvalidModel as e:
            if process.running:
                raise
            raise QuantizationError(e.what, where=e.where, got=e.got) from e

    def _spooled(self) -> str:
        """The folder with the calibration samples: the child reads them there as often as NNCF asks."""
        if self._calibration is None:
            raise CalibrationError("int8 needs calibration data, and none was given", next_step=WAYS)
        if self._samples is None:
            folder = Path(self._folder.name) / "samples"
            spooled.write(self._calibration, folder, SUBSET)
            self._samples = folder
        return str(self._samples)

    def _labels(self) -> dict[str, str]:
        """Operator -> the names of the source's operators that it came from."""
        made = {tensor: one.name for one in self._opened.operators for tensor in (one.name, *one.tensors)}
        found: dict[str, dict[str, None]] = {}
        sources = zip(self._model.operators, verdicts.tensors_of(self._model), strict=True)
        for operator, tensors in sources:
            for tensor in tensors:
                if tensor in made and operator.name:
                    found.setdefault(made[tensor], {})[operator.name] = None
        return {name: ", ".join(labels) for name, labels in found.items()}

    def _fallbacks(self, scheme: Scheme, made: _Made, floating: frozenset[str]) -> tuple[Fallback, ...]:
        """The operators that multiply and accumulate, and that NNCF left in float unasked."""
        return tuple(
            Fallback(one.name, one.type, FLOAT, "NNCF quantises not all that it reads")
            for one in self._prepared()
            if one.macs and one.name in floating and scheme.precision_of(one.name) != FLOAT
        )

    def _tolerance(self, differences: Mapping[str, float]) -> dict[str, float] | None:
        """How far a device may be from the host: as far as quantising took the outputs, over some samples.

        Kernels of another processor round intermediate values otherwise, to the step below or above: each
        such error is as large as those of rounding at all, and no larger.
        """
        if not differences:
            return None
        return {name: max(TOLERANCE_LEAST, difference) for name, difference in differences.items()}


@frozen
class _Made:
    """What NNCF made of a model."""

    files: Files
    nodes: tuple[Node, ...]
    changed: Mapping[str, int]
    differences: Mapping[str, float]

    @property
    def size_bytes(self) -> int:
        return len(self.files.xml) + len(self.files.weights)
