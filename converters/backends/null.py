"""The null backend: takes every operator and makes a file that only names inputs and outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from converters.artifact import Artifact
from converters.quantize.integer.ranges import METHODS
from converters.quantize.integer.repairs import REPAIRS
from converters.quantize.scheme import IO_KINDS, PRECISIONS
from converters.verdict import Verdict
from device_agent.runtimes.null import null_model

if TYPE_CHECKING:
    from converters.model import Model
    from converters.partition.types import Recipe
    from converters.progress import Progress
    from converters.quantize.engine import Engine
    from converters.quantize.samples.calibration import Calibration


class NullBackend:
    """Compiles for the null runtime; see `Backend`. Needs nothing heavy and no calibration."""

    name = "null"
    computes = False
    places = False
    precisions = PRECISIONS
    ends = IO_KINDS
    ranges = METHODS  # nothing is quantised: whatever is asked is as good
    repairs = tuple(REPAIRS)

    def judge(self, model: Model) -> tuple[Verdict, ...]:
        """A yes for every operator."""
        return tuple(
            Verdict.yes(
                f"{operator.type} as nothing: the null runtime answers without computing",
                operator=operator.type,
                place=operator.name,
                becomes=("NULL",),
            )
            for operator in model.operators
        )

    def compile(
        self,
        model: Model,
        recipe: Recipe,
        calibration: Calibration | None,  # noqa: ARG002 - part of `Backend`; nothing is quantised here
        progress: Progress,
    ) -> Artifact:
        """The model's inputs and outputs as a null model."""
        progress("compiling", 0, 1)
        data = null_model(model.inputs, model.outputs)
        progress("compiling", 1, 1)
        return Artifact(
            title=f"{model.name}.null.json",
            data=data,
            runtime=self.name,
            runtime_version="1.0",
            precision=recipe.precision,
            inputs=model.inputs,
            outputs=model.outputs,
            operators=("NULL",),
            float_operators=(),
            tolerance={spec.name: 0.0 for spec in model.outputs},
            rewrites={},
        )

    def engine(
        self,
        model: Model,  # noqa: ARG002 - part of `Backend`, as the others
        calibration: Calibration | None,  # noqa: ARG002
        progress: Progress,  # noqa: ARG002
    ) -> Engine | None:
        """None: a null model has nothing to quantise."""
        return None


backend = NullBackend()
