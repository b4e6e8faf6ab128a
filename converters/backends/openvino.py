"""The OpenVINO backend: any source that OpenVINO, or our own lowering, can read becomes an IR."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import evolve

from converters.openvino import schemes
from converters.openvino.opened import Refusal, shared, taken
from device_agent.bundle import Execution

if TYPE_CHECKING:
    from converters.artifact import Artifact
    from converters.model import Model
    from converters.partition.types import Recipe
    from converters.progress import Progress
    from converters.quantize.engine import Engine
    from converters.quantize.samples.calibration import Calibration
    from converters.verdict import Verdict

# OpenVINO takes bfloat16 by itself on CPUs that have it: host and device would differ
EXECUTION = Execution(precision="f32")
_PLAIN = {"float32": False, "float16": True}  # precision -> whether weights are stored in half


class OpenVINOBackend:
    """Compiles for OpenVINO; see `Backend`. The conversion runs in a process of its own."""

    name = "openvino"
    computes = True
    places = True
    precisions = schemes.PRECISIONS
    ends = ("float",)
    ranges = schemes.RANGES
    repairs = schemes.REPAIRS

    def judge(self, model: Model) -> tuple[Verdict, ...]:
        """What each source operator becomes in the IR, or why OpenVINO cannot convert it."""
        from converters.openvino import verdicts
        from converters.progress import silent

        opened = shared(model, silent)
        if isinstance(opened, Refusal):
            return verdicts.refusals(model, opened.roads)
        return verdicts.accepted(model, opened)

    def compile(
        self, model: Model, recipe: Recipe, calibration: Calibration | None, progress: Progress
    ) -> Artifact:
        """The model as an IR: in float, its weights in half precision, or as `engine` builds it."""
        from converters.openvino.compiled import artifact_of

        if model.quantized is None and recipe.precision not in _PLAIN:
            return self.engine(model, calibration, progress).build(recipe.scheme).artifact
        opened = taken(model, shared(model, progress))
        made = artifact_of(
            opened.save(fp16=model.quantized is None and _PLAIN[recipe.precision]),
            model,
            precision=recipe.precision,
            execution=EXECUTION,
            operators=[operator.type for operator in opened.operators],
            float_operators=[operator.type for operator in opened.operators if operator.floats],
        )
        if opened.road.lowered:
            made = evolve(made, rewrites={f"OpenVINO reads {opened.road.name}": 1})
        return made

    def engine(self, model: Model, calibration: Calibration | None, progress: Progress) -> Engine:
        """What builds the model in any scheme, with NNCF."""
        from converters.openvino.engine import OpenVINOEngine

        opened = taken(model, shared(model, progress))
        return OpenVINOEngine(model, opened, calibration, execution=EXECUTION, progress=progress)


backend = OpenVINOBackend()
