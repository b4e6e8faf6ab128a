"""Which output of a model a metric judges: told by its shape, or by its name where that is not enough."""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from device_agent.errors import InvalidRequest, MetricError

if TYPE_CHECKING:
    from converters.model import Model
    from device_agent.bundle import TensorSpec


def batch_of(model: Model) -> int:
    """How many rows make a sample of the model."""
    shape = model.inputs[0].shape if model.inputs else ()
    return shape[0] if shape and shape[0] > 0 else 1


def classes_of(spec: TensorSpec) -> int:
    """How many scores each row of an output holds, 0 where it does not look like scores.

    Scores lie along one axis: `[N, C]`, `[C]` or `[N, 1, 1, C]`. Whole numbers are scores only where they
    are quantised.
    """
    if not (spec.dtype.startswith("float") or spec.quantization is not None):
        return 0
    sizes = spec.shape[1:] if len(spec.shape) > 1 else spec.shape
    if any(size < 1 for size in sizes) or sum(size > 1 for size in sizes) > 1:
        return 0
    return math.prod(sizes)


def named(model: Model, output: str) -> TensorSpec:
    """The output of that name.

    Raises:
        InvalidRequest: the model has none of that name; near ones are named.
    """
    names = [spec.name for spec in model.outputs]
    if output not in names:
        near = difflib.get_close_matches(output, names, n=1)
        raise InvalidRequest(
            "the model has no such output",
            where=model.path.name,
            got=repr(output),
            expected=" or ".join(map(repr, near or names)),
        )
    return model.outputs[names.index(output)]


def scores(model: Model, metric: str, output: str | None, *, least: int = 2) -> TensorSpec:
    """The output that holds class scores, at least so many; with `least=1` a single score will do.

    An output in the shape of an input, as an autoencoder has, is taken only where it is asked for by name
    or there is no other. Where none has several scores, the one with a single score is taken.

    Raises:
        MetricError: there is none, or several.
        InvalidRequest: the model has no output of the name that was asked for.
    """
    if output is not None:
        spec = named(model, output)
        if classes_of(spec) < least:
            raise _no_scores(model, metric, [spec], least)
        return spec
    found = [spec for spec in model.outputs if classes_of(spec) >= max(2, least)]
    inputs = {spec.shape for spec in model.inputs}
    found = [spec for spec in found if spec.shape not in inputs] or found
    if not found and least <= 1:
        found = [spec for spec in model.outputs if classes_of(spec) == 1]
    if not found:
        raise _no_scores(model, metric, model.outputs, least)
    return only(found, model, metric)


def only(found: Sequence[TensorSpec], model: Model, metric: str) -> TensorSpec:
    """The one output that was found; MetricError where there are several."""
    if len(found) > 1:
        raise MetricError(
            f"{metric} could judge more than one output",
            where=model.path.name,
            got=listed(found),
            expected="one",
            next_step=f"Name the one to judge: `--metric {metric}:{found[0].name}`.",
        )
    return found[0]


def one(model: Model, metric: str, output: str | None) -> TensorSpec:
    """The output of that name, or the only one of the model."""
    return named(model, output) if output is not None else only(model.outputs, model, metric)


def listed(specs: Sequence[TensorSpec]) -> str:
    """Names and shapes, as error texts show them."""
    return ", ".join(f"{spec.name!r} {spec.dtype}{list(spec.shape)}" for spec in specs)


def _no_scores(model: Model, metric: str, specs: Sequence[TensorSpec], least: int) -> MetricError:
    return MetricError(
        f"{metric} needs class scores",
        where=model.path.name,
        got=listed(specs),
        expected=f"an output [N, C] with C >= {least}",
        next_step="`--metric snr` compares any outputs; `--metric module:function` takes your own measure.",
    )
