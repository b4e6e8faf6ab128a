"""Which precisions a processor can be given through a backend, and what `auto` means on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import evolve

from converters.quantize.scheme import AUTO, PRECISIONS, STATIC

if TYPE_CHECKING:
    from converters.backends.base import Backend
    from converters.partition.types import Recipe
    from targets.schema import Processor

# what each precision computes in: every dtype of one of these sets
_NEEDS: dict[str, tuple[frozenset[str], ...]] = {
    "int8": (frozenset({"int8"}),),
    # a processor that has int8 and float32 is one whose runtime has every kernel, 16 bits too: a CPU
    "int16x8": (frozenset({"int8", "int16"}), frozenset({"int8", "float32"})),
    "dynamic": (frozenset({"int8", "float32"}),),
    "weight-int8": (frozenset({"float32"}),),
    "weight-int4": (frozenset({"float32"}),),
    "float16": (frozenset({"float32"}), frozenset({"float16"})),
    "float32": (frozenset({"float32"}),),
}
STEPS = ("int16x8", "float32")  # what a layer that loses too much may be given instead, cheapest first


def precisions_of(processor: Processor, backend: Backend) -> tuple[str, ...]:
    """What a backend can make for that processor, of `scheme.PRECISIONS` and in their order."""
    has = frozenset(processor.dtypes)
    return tuple(
        name
        for name in PRECISIONS
        if name in backend.precisions and any(needed <= has for needed in _NEEDS[name])
    )


def settled(recipe: Recipe, processor: Processor, backend: Backend) -> Recipe | None:
    """The recipe as that processor and backend can carry it out; None where they cannot.

    `auto` stays what it is where there is something to search: a processor that computes in int8, through
    a backend whose artifacts can be compared with the source. Elsewhere it is the first precision that the
    processor has. Where operators may differ, only by the precisions that it has.
    """
    able = precisions_of(processor, backend)
    steps = tuple(step for step in STEPS if step in able)
    if recipe.precision != AUTO:
        if recipe.precision not in able:
            return None
        return evolve(recipe, steps=steps if recipe.precision in STATIC else ())
    if "int8" in able and backend.computes:
        return evolve(recipe, steps=steps)
    if not able:
        return None
    precision = "int8" if "int8" in able else "float32" if "float32" in able else able[0]
    return evolve(recipe, precision=precision, accuracy=None, ranges=None, repairs=None)


def calibrated(precision: str) -> bool:
    """Whether that precision needs samples of real inputs."""
    return precision == AUTO or precision in STATIC
