"""`OpenVINOEngine`: builds one model for OpenVINO in any scheme, with NNCF, and looks inside it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from converters.backends.compiled import TOLERANCE_FLOAT
from converters.openvino import verdicts
from converters.openvino.compiled import artifact_of
from converters.openvino.integers import float_operators
from converters.openvino.layer_errors import layer_errors
from converters.openvino.nncf_process import Made, NncfProcess
from converters.openvino.schemes import PRECISIONS, RANGES, REPAIRS
from converters.quantize.engine import Built, Effect, Fallback, Layer, LayerError
from converters.quantize.scheme import MIXED, Scheme
from device_agent.errors import InvalidRequest, QuantizationError

if TYPE_CHECKING:
    import numpy as np

    from converters.artifact import Artifact
    from converters.model import Model
    from converters.openvino.opened import OpenModel
    from converters.progress import Progress
    from converters.quantize.samples.calibration import Calibration
    from device_agent.bundle import Execution

FLOAT = "float32"
_BITS = {"weight-int8": 8, "weight-int4": 4}
_HELD = {"i8": "weight-int8", "u8": "weight-int8", "i4": "weight-int4", "u4": "weight-int4"}
_DONE = {  # repair -> what `nncf_calls.changed` calls it, and what it counts
    "smooth_quant": ("smooth_quant", "activations smoothed"),
    "bias_correction": ("biases", "biases corrected"),
    "fast_bias_correction": ("biases", "biases corrected"),
}


class OpenVINOEngine:
    """See `Engine` and `Apart`. Inputs and outputs of what it builds are float, whatever `Scheme.io` says.

    Args:
        model: the source.
        opened: it, in the process that quantises it too.
        calibration: samples for the ranges of activations, which int8 needs.
        execution: how what is built is to be run.
        progress: told where the model is opened anew.
    """

    name = "openvino"
    ranges: tuple[str, ...] = RANGES
    repairs: tuple[str, ...] = REPAIRS
    steps: tuple[str, ...] = (FLOAT,)

    def __init__(
        self,
        model: Model,
        opened: OpenModel,
        calibration: Calibration | None,
        *,
        execution: Execution,
        progress: Progress,
    ) -> None:
        self._model, self._calibration, self._execution = model, calibration, execution
        self._process = NncfProcess(model, opened, calibration, progress)

    def layers(self) -> tuple[Layer, ...]:
        """The operators that touch floats, in execution order."""
        operators = self._process.operators()
        labels = self._labels()
        return tuple(
            Layer(
                name=operator.name,
                type=operator.type,
                label=labels.get(operator.name, operator.name),
                macs=operator.macs,
                precisions=("int8", FLOAT),
                inputs=operator.inputs,
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
                expected=" or ".join(PRECISIONS),
            )
        if scheme.precision in (FLOAT, "float16"):
            return Built(self._float(scheme.precision), (), ())
        made = self._process.made(self._request(scheme))
        static = scheme.precision == "int8"
        if not static and not made.changed[scheme.precision]:
            raise self._unchanged(scheme.precision, made)
        floating = float_operators(made.nodes)
        artifact = artifact_of(
            made.files,
            self._model,
            precision=MIXED if scheme.exceptions else scheme.precision,
            execution=self._execution,
            operators=[node.type for node in made.nodes],
            float_operators=[node.type for node in made.nodes if node.name in floating],
            tolerance=_tolerance(made),
        )
        fallbacks = self._in_float(scheme, floating) if static else self._wider(scheme.precision, made)
        return Built(artifact, _effects(scheme.repairs, made.changed), fallbacks)

    def errors(self, scheme: Scheme, samples: Iterable[Mapping[str, np.ndarray]]) -> tuple[LayerError, ...]:
        """The error of each layer's output; see `Engine`. What ranges hold and clip is not known."""
        if scheme.precision in (FLOAT, "float16"):
            return ()
        made = self._process.made(self._request(scheme))
        floating = float_operators(made.nodes)
        present = {node.name for node in made.nodes}
        layers = [layer for layer in self.layers() if layer.name in present]
        sums = self._process.compare(made, [layer.name for layer in layers], samples)
        return layer_errors(layers, [FLOAT if one.name in floating else "int8" for one in layers], sums)

    def allow(self, seconds: float | None) -> None:
        """See `Apart`."""
        self._process.allow(seconds)

    def held_bytes(self) -> int:
        """See `Apart`."""
        return self._process.held_bytes()

    def _float(self, precision: str) -> Artifact:
        """The model as it was opened; with `float16` its weights in half precision."""
        opened = self._process.opened()
        return artifact_of(
            opened.save(fp16=precision == "float16"),
            self._model,
            precision=precision,
            execution=self._execution,
            operators=[operator.type for operator in opened.operators],
            float_operators=[operator.type for operator in opened.operators if operator.floats],
        )

    def _request(self, scheme: Scheme) -> dict[str, Any]:
        """What the child is asked for a scheme: the same for schemes that come to the same."""
        if scheme.precision in _BITS:
            samples = self._process.samples() if self._calibration is not None else None
            return {"kind": "compress", "bits": _BITS[scheme.precision], "samples": samples}
        asked = (("ranges", (scheme.ranges,), RANGES), ("repair", scheme.repairs, REPAIRS))
        for what, names, known in asked:
            unknown = [name for name in names if name not in known]
            if unknown:
                raise InvalidRequest(f"unknown {what}", got=repr(unknown[0]), expected=" or ".join(known))
        repairs = set(scheme.repairs)
        if "bias_correction" in repairs:
            repairs.discard("fast_bias_correction")
        return {
            "kind": "quantize",
            "samples": self._process.samples(),
            "ranges": scheme.ranges,
            "repairs": [name for name in REPAIRS if name in repairs],
            "ignored": [
                operator.name
                for operator in self._process.operators()
                if scheme.precision_of(operator.name) == FLOAT
            ],
        }

    def _labels(self) -> dict[str, str]:
        """Operator -> the names of the source's operators that it came from."""
        opened = self._process.opened().operators
        made = {tensor: one.name for one in opened for tensor in (one.name, *one.tensors)}
        found: dict[str, dict[str, None]] = {}
        sources = zip(self._model.operators, verdicts.tensors_of(self._model), strict=True)
        for operator, tensors in sources:
            for tensor in tensors:
                if tensor in made and operator.name:
                    found.setdefault(made[tensor], {})[operator.name] = None
        return {name: ", ".join(labels) for name, labels in found.items()}

    def _in_float(self, scheme: Scheme, floating: frozenset[str]) -> tuple[Fallback, ...]:
        """The operators that multiply and accumulate, and that NNCF left in float unasked."""
        return tuple(
            Fallback(one.name, one.type, FLOAT, "NNCF does not quantise all that it reads")
            for one in self._process.operators()
            if one.macs and one.name in floating and scheme.precision_of(one.name) != FLOAT
        )

    def _wider(self, precision: str, made: Made) -> tuple[Fallback, ...]:
        """The operators whose weights are stored in more than was asked for."""
        kinds = {node.name: node.type for node in made.nodes}
        held = {name: _HELD.get(kind, FLOAT) for name, kind in made.weights.items()}
        return tuple(
            Fallback(name, kinds[name], found, "NNCF does not store such weights, or the last ones, in less")
            for name, found in held.items()
            if found != precision and name in kinds
        )

    def _unchanged(self, precision: str, made: Made) -> QuantizationError:
        kinds = sorted({_HELD.get(kind, FLOAT) for kind in made.weights.values()})
        return QuantizationError(
            f"NNCF stores no weights of this model in {precision}",
            where=self._model.path.name,
            got=f"weights in {' and '.join(kinds)}" if kinds else "no weights",
            expected="matrices other than the last, for int4; convolutions stay in int8"
            if precision == "weight-int4"
            else "operators with constant weights",
            next_step="Use `--precision weight-int8` or float16.",
        )


def _tolerance(made: Made) -> dict[str, float] | None:
    """How far a device may be from the host: as far as quantising took the outputs, over some samples.

    Kernels of another processor round intermediate values otherwise, to the step below or above. Each such
    error is no larger than that of rounding at all, so together they are no larger either.
    """
    if not made.differences:
        return None
    return {name: max(TOLERANCE_FLOAT, difference) for name, difference in made.differences.items()}


def _effects(repairs: Sequence[str], changed: Mapping[str, int]) -> tuple[Effect, ...]:
    """What each repair of a scheme did."""
    found = []
    for repair in repairs:
        counted, words = _DONE[repair]
        if repair == "fast_bias_correction" and "bias_correction" in repairs:
            found.append(Effect(repair, 0, "left to bias_correction, which does the same with more care"))
        else:
            found.append(Effect(repair, changed[counted], f"{changed[counted]} {words}"))
    return tuple(found)
