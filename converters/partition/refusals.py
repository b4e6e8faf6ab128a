"""Why a recipe or a way of running cannot be planned: the checks, and the errors that say what can be."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from converters import registry
from converters.partition.precisions import precisions_of
from converters.partition.types import ASKED
from converters.quantize.scheme import IO_KINDS, PRECISIONS
from device_agent.errors import InvalidRequest, MissingDependency

if TYPE_CHECKING:
    from converters.backends.base import Backend
    from converters.partition.types import Recipe
    from targets.schema import Processor, Target

_LIMITS = {
    "max_drop": "0 or more",
    "confidence": "between 0.5 and 1",
    "time_budget": "seconds, more than 0",
    "memory_budget": "bytes, more than 0",
}


def check(recipe: Recipe) -> None:
    """Refuse a recipe that no board could carry out; InvalidRequest says what would make sense."""
    for what, got, known in (("precision", recipe.precision, ASKED), ("io", recipe.io, IO_KINDS)):
        if got not in known:
            raise InvalidRequest(f"unknown {what}", got=repr(got), expected=" or ".join(known))
    asked = recipe.accuracy
    if asked is None:
        return
    if recipe.precision == "float32":
        raise InvalidRequest(
            "float32 loses nothing that could be judged",
            got="a metric or limit for float32",
            next_step="`edge convert --precision float32` keeps the model as it is.",
        )
    limits = {
        "max_drop": asked.max_drop is None or asked.max_drop >= 0,
        "confidence": 0.5 < asked.confidence < 1,
        "time_budget": asked.time_budget is None or asked.time_budget > 0,
        "memory_budget": asked.memory_budget is None or asked.memory_budget > 0,
    }
    for name, good in limits.items():
        if not good:
            raise InvalidRequest(
                f"{name} makes no sense", got=str(getattr(asked, name)), expected=_LIMITS[name]
            )


def check_names(recipe: Recipe, backends: Iterable[Backend]) -> None:
    """Refuse ways to choose ranges and repairs that no backend asked for has; names those it has."""
    some = tuple(backends)
    for what, names, has in (
        (
            "way to choose ranges",
            () if recipe.ranges is None else (recipe.ranges,),
            [name for backend in some for name in backend.ranges],
        ),
        ("repair", recipe.repairs or (), [name for backend in some for name in backend.repairs]),
    ):
        unknown = [name for name in names if name not in has]
        if unknown:
            raise InvalidRequest(
                f"unknown {what}",
                where=" and ".join(backend.name for backend in some),
                got=repr(unknown[0]),
                expected=" or ".join(dict.fromkeys(has)) or "none",
            )


def unable(recipe: Recipe, target: Target, pairs: tuple[tuple[Processor, str], ...]) -> InvalidRequest:
    """The error that says what the board's processors can do instead.

    Args:
        recipe: what none of them can.
        target: the board.
        pairs: the processors that were asked, each with its backend's name.
    """
    able = {name for processor, runtime in pairs for name in _able(processor, runtime)}
    others = {
        runtime: None
        for processor in target.processors
        for runtime in processor.backends
        if (processor, runtime) not in pairs and recipe.precision in _able(processor, runtime)
    }
    asked = sorted({runtime for _, runtime in pairs})
    through = f" through {' or '.join(asked)}" if any(len(p.backends) > 1 for p, _ in pairs) else ""
    instead = f" `--runtime {next(iter(others))}` makes {recipe.precision}." if others else ""
    return InvalidRequest(
        f"no processor of {target.name} computes in {recipe.precision}{through}",
        where=target.name,
        got=recipe.precision,
        expected=" or ".join(name for name in PRECISIONS if name in able) or "nothing that can be made",
        next_step="Choose one of them with `--precision`, or another board: `edge targets list`." + instead,
    )


def no_execution(target: Target, runtimes: tuple[str, ...]) -> InvalidRequest:
    """The error that names the runtimes of a board that have processors to choose from."""
    able = [name for name in target.runtimes if name not in runtimes and registry.backend(name).places]
    step = f"`--runtime {able[0]}` can." if able else "Choose a board that has openvino: `edge targets list`."
    return InvalidRequest(
        f"{' and '.join(runtimes)} cannot be told which device to use, nor how",
        where=target.name,
        got="a device kind, hint, streams, inference precision or strictness",
        expected=f"none of them, or the runtime {' or '.join(able)}" if able else "none of them",
        next_step=step,
    )


def not_installed(error: MissingDependency, target: Target, runtime: str) -> MissingDependency:
    """The error of a runtime whose converter is absent here, with the board's other ones offered."""
    others = list(
        dict.fromkeys(name for each in target.processors for name in each.backends if name != runtime)
    )
    offer = f"Or choose `--runtime {others[0]}`." if others else None
    return MissingDependency(
        error.what,
        where=error.where,
        got=error.got,
        expected=error.expected,
        next_step=" ".join(filter(None, (error.next_step, offer))) or None,
    )


def _able(processor: Processor, runtime: str) -> tuple[str, ...]:
    return precisions_of(processor, registry.backend(runtime))
