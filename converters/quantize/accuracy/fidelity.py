"""How close a compiled model comes to its source model, measured by running both on the same samples."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING

from attrs import define, evolve, frozen

from converters.artifact import opened
from device_agent.errors import FidelityError
from device_agent.tensors import Tensor

if TYPE_CHECKING:
    import numpy as np

    from converters.artifact import Artifact
    from converters.model import Model
    from converters.quantize.samples.calibration import Calibration
    from device_agent.bundle import TensorSpec

    Arrays = Mapping[str, np.ndarray]

REPORT = "This is a fault of the converter: please report it with the model."

# How far a conversion may be from its source, as a share of an output's range, by what the source's own
# operators compute in (docs/fidelity.md). float32: kernels sum in another order, which stays below 1e-5 on
# most networks; the worst one tried, whose values within are far greater than its outputs, comes to 1.4e-4,
# and both runtimes are about as far from the network in double precision. float16: the conversion computes in
# float32, and what the source loses by rounding every value to 11 bits is the difference. int8: each runtime
# rounds a requantised value in its own way, and over a network the steps, of 1/255 of a range, add up: 4 of
# them, as between two versions of LiteRT.
TOLERANCES = {"float32": 5e-4, "float16": 1e-2, "int8": 4 / 255}
# OpenVINO computes a model that was quantised for another runtime with its own integer kernels: it
# requantises in other places, and over a network that comes to many steps. What a conversion must not do is
# to compute something else: a wrong weight, axis or zero point leaves no more signal than noise, while the
# models tried (docs/openvino.md) come out at 16 dB and more on inputs of noise, most of them exactly.
LEAST_SNR_DB = 10.0
_OTHER_KERNELS = ("openvino",)  # runtimes whose integer kernels are not those of the source's


@frozen
class OutputFidelity:
    """One output over all samples, compiled against source.

    `top1_agreement` is the share of rows (0..1) with the same greatest class, None where the output does
    not look like class scores. `snr_db` is None where both agree exactly. `max_abs_diff` and
    `reference_range` (from the least to the greatest value of the source, zero included) are in the
    output's own unit, after dequantisation.
    """

    name: str
    top1_agreement: float | None
    snr_db: float | None
    max_abs_diff: float
    reference_range: float


@frozen
class Fidelity:
    """A compiled model against its source: `reference` names the source's runtime, `data` the samples."""

    reference: str
    data: str
    samples: int
    outputs: tuple[OutputFidelity, ...]


def tensor_of(array: np.ndarray, spec: TensorSpec) -> Tensor:
    """A float or integer array as the tensor `spec` asks for, quantised where it is quantised."""
    import numpy as np

    if spec.quantization is not None and array.dtype.kind == "f":
        limits = np.iinfo(spec.dtype)
        steps = np.rint(array / spec.quantization.scale[0]) + spec.quantization.zero_point[0]
        array = np.clip(steps, limits.min, limits.max)
    return Tensor(spec.dtype, tuple(array.shape), np.ascontiguousarray(array, spec.dtype).tobytes())


def array_of(tensor: Tensor, spec: TensorSpec) -> np.ndarray:
    """A tensor as an array, dequantised to float32 where `spec` says it is quantised."""
    import numpy as np

    array = np.frombuffer(tensor.data, tensor.dtype).reshape(tensor.shape)
    if spec.quantization is None:
        return array
    steps = array.astype(np.float32) - spec.quantization.zero_point[0]
    return steps * np.float32(spec.quantization.scale[0])


def measure(
    artifact: Artifact,
    reference_name: str,
    reference: Callable[[Arrays], dict[str, np.ndarray]],
    data: Calibration,
    *,
    limit: int,
) -> Fidelity:
    """Run an artifact and its source model on the same samples and compare every output.

    Args:
        artifact: run by its own runtime, on one thread.
        reference_name: the source model's runtime.
        reference: runs one sample on it.
        data: the samples, of the source model's dtypes; spread over all of them if there are more
            than `limit`.
        limit: at most this many samples.

    Raises:
        FidelityError: the compiled model gives NaN or Inf, or another shape, where the source does not.
    """
    pairs = ((sample, reference(sample)) for sample in spread(data, limit))
    return compare(artifact, reference_name, data.source, pairs)


def spread(data: Calibration, limit: int) -> Iterator[dict[str, np.ndarray]]:
    """At most `limit` of the samples, taken from the whole set."""
    step = max(1, data.count // limit)
    return islice(data.samples(), 0, step * limit, step)


def compare(
    artifact: Artifact,
    reference_name: str,
    source: str,
    pairs: Iterable[tuple[Arrays, Mapping[str, np.ndarray]]],
) -> Fidelity:
    """`measure` with what the source model computes given: samples, and its outputs of each."""
    totals = [_Total(spec.name) for spec in artifact.outputs]
    input_shapes = {spec.shape for spec in artifact.inputs}
    run = runner(artifact)
    samples = 0
    for sample, expected in pairs:
        got = run(sample)
        for spec, total in zip(artifact.outputs, totals, strict=True):
            # an autoencoder's output has its input's shape: no class scores
            classes = len(spec.shape) == 2 and spec.shape[1] >= 2 and spec.shape not in input_shapes
            total.add(expected[spec.name], got[spec.name], classes=classes)
        samples += 1
    return Fidelity(reference_name, source, samples, tuple(total.result() for total in totals))


def runner(artifact: Artifact) -> Callable[[Arrays], dict[str, np.ndarray]]:
    """A function that runs an artifact on one thread of this machine.

    It takes one sample in the source model's dtypes, quantises what the artifact wants quantised, and
    gives the outputs dequantised.
    """
    session = opened(artifact)

    def run(sample: Arrays) -> dict[str, np.ndarray]:
        session.set_inputs({spec.name: tensor_of(sample[spec.name], spec) for spec in artifact.inputs})
        session.invoke()
        got = session.get_outputs()
        return {spec.name: array_of(got[spec.name], spec) for spec in artifact.outputs}

    return run


def tolerance_of(model: Model) -> float:
    """The share of an output's range that a conversion of this model may be off by."""
    return TOLERANCES[model.precision]


def check_float(fidelity: Fidelity, artifact: Artifact, tolerance: float = TOLERANCES["float32"]) -> None:
    """Refuse a float conversion that does not compute what its source computes.

    Raises:
        FidelityError: an output differs by more than `tolerance` of its range.
    """
    for output in fidelity.outputs:
        _check(output, tolerance * output.reference_range, fidelity, artifact)


def check_kept(fidelity: Fidelity, artifact: Artifact) -> None:
    """Refuse a copy of a quantised model that does not compute what the model computes.

    Raises:
        FidelityError: an output differs by more than one of its steps, or by more than the tolerance of
            float32 of its range where it has none; on a runtime with other kernels than the source's, the
            difference is louder than `LEAST_SNR_DB` allows.
    """
    if other_kernels(fidelity, artifact):
        _check_noise(fidelity, artifact)
        return
    steps = {spec.name: spec.quantization for spec in artifact.outputs}
    for output in fidelity.outputs:
        quantization = steps[output.name]
        limit = TOLERANCES["float32"] * output.reference_range
        if quantization is not None:
            limit = max(limit, max(quantization.scale) * 1.001)  # float32 knows a step to 7 digits
        _check(output, limit, fidelity, artifact)


def other_kernels(fidelity: Fidelity, artifact: Artifact) -> bool:
    """Whether a quantised model is computed with other integer kernels than those of its source."""
    return artifact.runtime in _OTHER_KERNELS and not fidelity.reference.startswith(artifact.runtime)


def _check_noise(fidelity: Fidelity, artifact: Artifact) -> None:
    for output in fidelity.outputs:
        if output.snr_db is not None and output.snr_db < LEAST_SNR_DB:
            raise FidelityError(
                f"{artifact.runtime} computes the quantised model otherwise than {fidelity.reference} "
                f"in output {output.name!r}",
                where=artifact.title,
                got=f"a signal-to-noise ratio of {output.snr_db:.1f} dB over {fidelity.samples} samples",
                expected=f"at least {LEAST_SNR_DB:g} dB",
                next_step="Give the float model it was made from, or choose the runtime it was made for.",
            )


def with_seen_range(artifact: Artifact, fidelity: Fidelity) -> Artifact:
    """A float32 artifact whose tolerances fit the range its outputs were seen to have.

    A backend bounds the difference between device and host for outputs of about 1; for an output that
    spans more, the bound grows with it. That of an integer output is in steps, and stays.

    With other integer kernels than the source's, those of another processor may be as far from them as they
    are from the source's: what was seen, twice.
    """
    seen = {output.name: output for output in fidelity.outputs}
    foreign = other_kernels(fidelity, artifact)
    tolerance = dict(artifact.tolerance)
    for spec in artifact.outputs:
        step = max(spec.quantization.scale) if spec.quantization is not None else 1.0
        if spec.dtype.startswith("float"):
            tolerance[spec.name] *= max(1.0, seen[spec.name].reference_range)
        if foreign:
            tolerance[spec.name] = max(tolerance[spec.name], 2 * seen[spec.name].max_abs_diff / step)
    return evolve(artifact, tolerance=tolerance)


def _check(output: OutputFidelity, limit: float, fidelity: Fidelity, artifact: Artifact) -> None:
    if output.max_abs_diff > limit:
        raise FidelityError(
            f"the conversion deviates from {fidelity.reference} in output {output.name!r}",
            where=artifact.title,
            got=f"a difference of {output.max_abs_diff:.3g} over {fidelity.samples} samples",
            expected=f"at most {limit:.3g} over a range of {output.reference_range:.3g}",
            next_step="This is a fault of the converter: please report it with the model.",
        )


@define
class _Total:
    """Running sums for one output.

    The signal-to-noise ratio is 10 log10(sum(r^2) / sum((r - c)^2)) over all values r of the source and
    c of the compiled model (https://en.wikipedia.org/wiki/Signal-to-quantization-noise_ratio).
    """

    name: str
    signal: float = 0.0
    noise: float = 0.0
    max_abs_diff: float = 0.0
    least: float = 0.0
    greatest: float = 0.0
    rows: int = 0
    agreeing: int = 0

    def add(self, reference: np.ndarray, compiled: np.ndarray, *, classes: bool) -> None:
        import numpy as np

        if reference.shape != compiled.shape:
            raise FidelityError(
                f"output {self.name!r} has another shape than in the source model",
                got=str(list(compiled.shape)),
                expected=str(list(reference.shape)),
            )
        r, c = reference.astype(np.float64), compiled.astype(np.float64)
        same = (r == c) | (np.isnan(r) & np.isnan(c))
        difference = np.subtract(r, c, out=np.zeros_like(r), where=~same)
        if not np.isfinite(difference).all():
            raise FidelityError(f"output {self.name!r} holds NaN or Inf where the source model's does not")
        finite = r[np.isfinite(r)]
        self.signal += float(np.square(finite).sum())
        self.noise += float(np.square(difference).sum())
        self.max_abs_diff = max(self.max_abs_diff, float(np.abs(difference).max(initial=0.0)))
        self.least = min(self.least, float(finite.min(initial=0.0)))
        self.greatest = max(self.greatest, float(finite.max(initial=0.0)))
        if classes:
            self.rows += len(r)
            self.agreeing += int((r.argmax(axis=-1) == c.argmax(axis=-1)).sum())

    def result(self) -> OutputFidelity:
        snr_db = None
        if self.noise > 0:
            # a source of zeros has no signal: the least positive number keeps the ratio finite
            snr_db = 10 * math.log10(max(self.signal, sys.float_info.min) / self.noise)
        agreement = self.agreeing / self.rows if self.rows else None
        return OutputFidelity(self.name, agreement, snr_db, self.max_abs_diff, self.greatest - self.least)
