"""How an artifact is to be run, and how far a device that computes in half precision may be from the host.

The host computes golden outputs in float32 on its CPU, whatever the device will do. A device that computes
in half precision rounds the result of each of L operators by a share of at most u, 2^-11 in float16 and 2^-8
in bfloat16 (N. J. Higham, Accuracy and Stability of Numerical Algorithms, 2.1). The roundings of different
operators are as good as independent, so they add up like a random walk, to u sqrt(L) of what an output
spans. Over the networks of the model zoo on a CPU with bfloat16, the greatest difference was 0.01 to 2.2
times that; the bound is 4 times it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from attrs import evolve

if TYPE_CHECKING:
    from converters.artifact import Artifact
    from converters.quantize.accuracy.fidelity import Fidelity
    from device_agent.bundle import Execution, TensorSpec

UNITS = {"f32": 0.0, "f16": 2.0**-11, "bf16": 2.0**-8}  # unit roundoff; float32's is in every tolerance
ROOM = 4.0


def to_be_run(artifact: Artifact, execution: Execution | None, baseline: Fidelity | None) -> Artifact:
    """An artifact that is to be run so on a device; its tolerances allow for the device's precision.

    Args:
        artifact: as it runs on the host.
        execution: how the plan says that it runs on the device; None where the runtime has no choice.
        baseline: the float32 artifact against its source, which tells what the outputs span.
    """
    if execution is None or execution == artifact.execution:
        return artifact
    unit = UNITS[execution.precision or "f32"]
    if unit == 0 or baseline is None:
        return evolve(artifact, execution=execution)
    spans = {output.name: output.reference_range for output in baseline.outputs}
    share = ROOM * unit * math.sqrt(max(1, len(artifact.float_operators)))
    tolerance = {
        spec.name: artifact.tolerance[spec.name] + share * _in_its_unit(spec, spans[spec.name])
        for spec in artifact.outputs
    }
    return evolve(artifact, execution=execution, tolerance=tolerance)


def _in_its_unit(spec: TensorSpec, span: float) -> float:
    """A span of real values in an output's own unit: steps where it is quantised.

    Integers that stand for no real values (indices, say) span nothing: they must be equal all the same.
    """
    if spec.quantization is not None:
        return span / max(spec.quantization.scale)
    return span if spec.dtype.startswith("float") else 0.0
