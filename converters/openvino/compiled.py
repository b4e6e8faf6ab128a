"""An IR as an `Artifact`: what a caller must know of it."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree

from attrs import evolve

from converters.artifact import Artifact
from converters.backends.compiled import TOLERANCE_FLOAT, TOLERANCE_STEPS, file_name
from device_agent.bundle import Execution, TensorSpec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from converters.model import Model
    from converters.openvino.opened import Files

LEAST_VERSION = "2025.4"  # the extra's; IR version 11, which is written here, is older than it


def artifact_of(
    files: Files,
    model: Model,
    *,
    precision: str,
    execution: Execution,
    operators: Sequence[str],
    float_operators: Sequence[str],
    tolerance: Mapping[str, float] | None = None,
) -> Artifact:
    """The artifact that is an IR.

    Args:
        files: the IR; its inputs and outputs are the model's.
        model: what it was made of.
        precision: what the artifact is called by.
        execution: how it is run.
        operators: types in execution order, without constants and ends.
        float_operators: those of them that compute in floating point.
        tolerance: output -> device against host; None: as for a model that computes in float32, or, where the
            model was quantised before, in its outputs' steps.
    """
    title = f"{file_name(model.name)}_{precision}"
    return Artifact(
        title=f"{title}.xml",
        data=files.xml,
        runtime="openvino",
        runtime_version=LEAST_VERSION,
        precision=precision,
        inputs=_specs(model.inputs, files.xml, "Parameter") if model.dynamic else model.inputs,
        outputs=_specs(model.outputs, files.xml, "Result") if model.dynamic else model.outputs,
        operators=tuple(operators),
        float_operators=tuple(float_operators),
        tolerance=dict(tolerance) if tolerance is not None else _tolerance(model),
        rewrites={},
        files={f"{title}.bin": files.weights},
        execution=execution,
    )


def _specs(specs: tuple[TensorSpec, ...], xml: bytes, kind: str) -> tuple[TensorSpec, ...]:
    """The ends of a model as the IR has them: their open sizes are -1."""
    return tuple(evolve(spec, shape=shape) for spec, shape in zip(specs, _shapes(xml, kind), strict=True))


def _tolerance(model: Model) -> dict[str, float]:
    """How far a device may be from the host in each output: see `backends.compiled`."""
    found = {}
    for spec in model.outputs:
        if spec.dtype.startswith("float"):
            found[spec.name] = TOLERANCE_FLOAT
        else:
            found[spec.name] = TOLERANCE_STEPS if spec.quantization is not None else 0.0
    return found


def _shapes(xml: bytes, kind: str) -> list[tuple[int, ...]]:
    """The shapes of an IR's ends of that kind (`Parameter`, `Result`), in order; -1 where a size is open."""
    layers = ElementTree.fromstring(xml).iter("layer")  # noqa: S314 - OpenVINO wrote it here, just now
    ports = (layer.find(".//port") for layer in layers if layer.get("type") == kind)
    return [tuple(int(size.text or 0) for size in port.iter("dim")) for port in ports if port is not None]
