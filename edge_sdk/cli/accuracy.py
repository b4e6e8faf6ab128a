"""The options that say what accuracy a quantised model must keep, and how it may be found."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast

import click
from attrs import frozen

F = TypeVar("F", bound=Callable[..., Any])

_SECONDS = {"s": 1, "m": 60, "h": 3600}
_BYTES = {"K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


@frozen
class AccuracyOptions:
    """What `keeping` parsed: `search` is what `edge_sdk.plan` takes, the rest `edge_sdk.convert`."""

    search: dict[str, Any]
    validation: str | None
    labels: Path | None
    resume: Path | None


class Quantity(click.ParamType[float]):
    """A positive number with a unit: `10m` with units of time, `2G` with units of memory."""

    def __init__(self, name: str, units: dict[str, int], usual: str) -> None:
        self.name = name
        self._units, self._usual = units, usual

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The text as a number of seconds or bytes."""
        if isinstance(value, (int, float)):
            return float(value)
        text = str(value).strip().removesuffix("B")
        unit = next((unit for unit in self._units if text[-1:].lower() == unit.lower()), None)
        try:
            number = float(text[:-1] if unit is not None else text)
        except ValueError:
            number = 0.0
        if not 0 < number < float("inf"):
            units = ", ".join(self._units)
            self.fail(f"{value!r} is not like {self._usual!r} (units: {units}).", param, ctx)
        return number * (1 if unit is None else self._units[unit])


def choosing(function: F) -> F:
    """The options that a plan records: metric, greatest drop, budgets, ranges, repairs.

    The command is given them as `search`, in the words of `edge_sdk.plan`.
    """

    @wraps(function)
    def command(*args: Any, **options: Any) -> Any:
        memory = options.pop("memory_budget")
        repairs = options.pop("repairs")
        search = {
            "metric": options.pop("metric"),
            "max_drop": options.pop("max_drop"),
            "confidence": options.pop("confidence"),
            "prove": options.pop("prove"),
            "ranges": options.pop("ranges"),
            "repairs": None if not repairs else tuple(name for name in repairs if name != "none"),
            "time_budget": options.pop("time_budget"),
            "memory_budget": None if memory is None else int(memory),
        }
        return function(*args, search=search, **options)

    decorators = (
        click.option(
            "--metric",
            metavar="NAME",
            help="What accuracy is: top1, top5, map, map50, mae, rmse, relative, auc, wer, cer, agreement, "
            "snr, cosine or module:function. By default top1 with labels of classes, without labels "
            "agreement (or snr) with the float model.",
        ),
        click.option(
            "--max-drop",
            type=click.FloatRange(min=0),
            help="How much worse than float it may be, in the metric's unit (points of 100 for shares).",
        ),
        click.option(
            "--confidence",
            type=click.FloatRange(min=0.5, max=1, min_open=True, max_open=True),
            default=0.95,
            show_default=True,
            help="Of the bounds of the drop.",
        ),
        click.option(
            "--prove",
            is_flag=True,
            help="Ask that the upper bound of the drop is within --max-drop, not only the drop itself.",
        ),
        click.option(
            "--ranges",
            type=click.Choice(["minmax", "percentile", "mse", "octav", "mean-minmax"]),
            help="How the ranges of activations are chosen (by OpenVINO: minmax, mse, mean-minmax); auto "
            "tries each.",
        ),
        click.option(
            "--repair",
            "repairs",
            metavar="NAME",
            multiple=True,
            help="Mend the model so before rounding: split_heads, equalization, bias_correction, "
            "weight_rounding, none; for OpenVINO smooth_quant, bias_correction, "
            "fast_bias_correction, none; repeatable. auto tries each, or those named here.",
        ),
        click.option(
            "--time-budget",
            metavar="TIME",
            type=Quantity("time", _SECONDS, "10m"),
            help="Stop searching after that long, such as 90s or 10m.",
        ),
        click.option(
            "--memory-budget",
            metavar="SIZE",
            type=Quantity("size", _BYTES, "2G"),
            help="The most memory of this process, such as 2G.",
        ),
    )
    made: Any = command
    for decorator in reversed(decorators):
        made = decorator(made)
    return cast("F", made)


def keeping(function: F) -> F:
    """`choosing`, and the data that a search judges on; the command is given both as `accuracy`."""

    @wraps(function)
    def command(
        *args: Any,
        search: dict[str, Any],
        validation: str | None,
        labels: Path | None,
        resume: Path | None,
        **options: Any,
    ) -> Any:
        return function(*args, accuracy=AccuracyOptions(search, validation, labels, resume), **options)

    decorators = (
        click.option(
            "--validation",
            metavar="SOURCE",
            help="Samples to judge accuracy on, as --calibration has them (an .npz may hold labels); the "
            "calibration samples by default.",
        ),
        click.option(
            "--labels",
            metavar="FILE",
            type=click.Path(path_type=Path),
            help="The labels of the validation samples.",
        ),
        choosing,
        click.option(
            "--resume",
            metavar="FILE",
            type=click.Path(path_type=Path),
            help="Keep what was tried in FILE, and go on from there.",
        ),
    )
    made: Any = command
    for decorator in reversed(decorators):
        made = decorator(made)
    return cast("F", made)
