"""`Plan` and its parts: every decision of a deployment, readable, made before anything is written."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field, frozen

from converters.binding import described
from converters.model import Model
from converters.quantize.scheme import AUTO, PRECISIONS, STATIC, Scheme
from converters.verdict import Verdict
from device_agent.bundle import Execution

ASKED = (*PRECISIONS, AUTO)  # what a recipe's precision may be


@frozen
class Accuracy:
    """What the quantised model must keep of the float model's accuracy, and what finding it may take.

    `metric` is a name of `metrics.NAMES` or `module:function`, None: by what the data and the outputs are.
    `max_drop` is in the metric's unit, None: the metric's own default. `time_budget` is in seconds,
    `memory_budget` in bytes; the others are as in `Goal`.
    """

    metric: str | None = None
    max_drop: float | None = None
    confidence: float = 0.95
    prove: bool = False
    time_budget: float | None = None
    memory_budget: int | None = None


@frozen
class Recipe:
    """How the model is quantised.

    `precision` is one of `scheme.PRECISIONS`, or `auto`: a search chooses.
    `io`: whether the model's own inputs and outputs are `integer` or stay `float`; models that compute in
    floating point at their ends are always `float`.
    `ranges` and `repairs`: what the ranges of activations come from and what is mended before rounding; a
    search tries these only. None: all that a search knows, and the plain way where nothing is searched.
    `steps`: what the processor of the plan has for operators that cannot have the precision, and for those
    that lose too much in it.
    `exceptions`: the precision of layers that differ, as a search found them; see `Scheme`.
    `accuracy`: what must be kept; None: nothing is asked, and nothing is judged.
    """

    precision: str
    io: str
    ranges: str | None = None
    repairs: tuple[str, ...] | None = None
    steps: tuple[str, ...] = ()
    exceptions: Mapping[str, str] = field(factory=dict)
    accuracy: Accuracy | None = None

    @property
    def scheme(self) -> Scheme:
        """What an engine is asked to build; of a recipe whose precision is not `auto`."""
        return Scheme(
            self.precision, self.io, dict(self.exceptions), self.ranges or "minmax", self.repairs or ()
        )


def ends_of(precision: str, io: str) -> str:
    """What a model's own inputs and outputs are: those of models without integer ends stay float."""
    return io if precision == AUTO or precision in STATIC else "float"


@frozen
class PlannedOperator:
    """One operator of the source graph: who computes it, and why."""

    index: int
    type: str
    name: str
    processor: str | None  # None: folded away, or refused
    reason: str


@frozen
class Segment:
    """Operators that are compiled together for one processor. `operators` are source indices."""

    processor: str
    backend: str
    operators: tuple[int, ...]


@frozen
class PlannedInputs:
    """How a model's inputs are fixed. `shapes` are as they will lie in the compiled model.

    `bound` are the inputs that became constants, `dynamic` the sizes that stay open (each with the inputs and
    axes of the source that have it), `layout` is `keep` or `nhwc`.
    """

    shapes: dict[str, tuple[int, ...]]
    bound: dict[str, str]
    dynamic: tuple[str, ...]
    layout: str


def planned_inputs(model: Model) -> PlannedInputs:
    """How the inputs of a model were fixed when it was read."""
    return PlannedInputs(
        shapes={spec.name: spec.shape for spec in model.inputs},
        bound={name: described(value) for name, value in sorted(model.shaping.bind.items())},
        dynamic=tuple(map(str, model.dynamic)),
        layout=model.shaping.layout,
    )


@frozen
class Alternative:
    """Another runtime of the board, and whether it takes a model; `reason`: how much of it, or why not."""

    runtime: str
    accepted: bool
    reason: str


@frozen
class Plan:
    """What will be made of a model for a target. `refusals` is empty if and only if it can be made.

    `alternatives` are the board's other runtimes; they are asked only where this plan is refused.
    """

    model: str
    model_sha256: str
    target: str
    architecture: str  # of the target; "host" where any will do
    runtime: str
    runtime_version: str  # the least that the target has
    recipe: Recipe
    segments: tuple[Segment, ...]
    operators: tuple[PlannedOperator, ...]
    refusals: tuple[Verdict, ...]
    inputs: PlannedInputs
    execution: Execution | None = None  # for runtimes with several processors
    alternatives: tuple[Alternative, ...] = ()

    @property
    def accepted(self) -> bool:
        """Nothing was refused."""
        return not self.refusals
