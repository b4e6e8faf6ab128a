"""What a backend must do: judge operators, and compile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from converters.progress import Progress

if TYPE_CHECKING:
    from converters.artifact import Artifact
    from converters.model import Model
    from converters.partition.types import Recipe
    from converters.quantize.engine import Engine
    from converters.quantize.samples.calibration import Calibration
    from converters.verdict import Verdict


class Backend(Protocol):
    """Compiles models for one runtime.

    `name` is the runtime's name. `computes` says whether its artifacts compute what the model computes:
    of the null backend's, nothing can be compared with the source. `places` says whether its runtime has
    several processors to choose from: a plan for it has an `Execution`.

    What a recipe may ask for: `precisions` are of `scheme.PRECISIONS`, `ends` of `scheme.IO_KINDS` (what a
    model that computes in integers may take and give), `ranges` and `repairs` those that its engine knows,
    in the order in which they are worth trying.
    """

    name: str
    computes: bool
    places: bool
    precisions: tuple[str, ...]
    ends: tuple[str, ...]
    ranges: tuple[str, ...]
    repairs: tuple[str, ...]

    def judge(self, model: Model) -> tuple[Verdict, ...]:
        """One verdict per source operator, in order; a yes says what the operator becomes."""
        ...

    def compile(
        self, model: Model, recipe: Recipe, calibration: Calibration | None, progress: Progress
    ) -> Artifact:
        """The model as one file for the runtime.

        Raises:
            UnsupportedOperator: an operator was refused by `judge`.
            CalibrationError: `recipe` needs calibration and it is None or does not fit.
            QuantizationError: the model cannot be quantised as `recipe` says.
        """
        ...

    def engine(self, model: Model, calibration: Calibration | None, progress: Progress) -> Engine | None:
        """What builds a float model in any scheme; None where there is nothing to choose between.

        Raises:
            UnsupportedOperator: an operator was refused by `judge`.
        """
        ...
