"""`Plan` and its parts: every decision of a deployment, readable, made before anything is written."""

from __future__ import annotations

from attrs import frozen

from converters.binding import described
from converters.model import Model
from converters.verdict import Verdict

PRECISIONS = ("float32", "int8")
IO_KINDS = ("integer", "float")


@frozen
class Recipe:
    """How the model is quantised.

    `precision`: `float32` leaves it as it is, `int8` is full-integer with per-channel weights.
    `io`: whether the model's own inputs and outputs are `integer` or stay `float`; float32 models are
    always `float`.
    """

    precision: str
    io: str


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
class Plan:
    """What will be made of a model for a target. `refusals` is empty if and only if it can be made."""

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

    @property
    def accepted(self) -> bool:
        """Nothing was refused."""
        return not self.refusals
