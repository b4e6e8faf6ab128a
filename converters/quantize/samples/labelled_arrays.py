"""Validation samples from arrays, in files or in memory, with the labels that lie beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from converters.quantize.samples.calibration import checked
from converters.quantize.samples.labels import Labels, label_key
from converters.quantize.samples.sources import Source, choose_arrays
from converters.quantize.samples.validation import (
    KIND,
    Validation,
    evenly,
    in_order,
    refusing,
    spread_note,
    values_of,
)
from device_agent.errors import CalibrationError, MetricError

if TYPE_CHECKING:
    from converters.model import Model
    from converters.quantize.samples.rows import Rows


def load(
    name: str, arrays: Mapping[str, np.ndarray | Rows], model: Model, given: Labels | None, limit: int
) -> Validation:
    """The samples of arrays by input name, with the labels that were given or lie beside them.

    Raises:
        CalibrationError: an input's array is missing, of the wrong shape or dtype, or of another length.
        MetricError: labels were given, and are not as many as the samples.
    """
    boxed = {"boxes", "classes"} <= arrays.keys() and not any(
        spec.name in ("boxes", "classes") for spec in model.inputs
    )
    keys = [key for key in arrays if not (boxed and key in ("boxes", "classes"))]
    chosen = {target: arrays[key] for target, key in choose_arrays(keys, model, name).items()}
    chosen = {target: _with_rows(array, model, target) for target, array in chosen.items()}
    pers = {spec.name: _rows_per_sample(chosen[spec.name], spec.shape) for spec in model.inputs}
    counts = {target: len(array) // pers[target] for target, array in chosen.items()}
    if len(set(counts.values())) > 1:
        raise CalibrationError(
            "the inputs have different numbers of samples",
            where=name,
            got=", ".join(f"{target!r} {count}" for target, count in counts.items()),
        )
    count = next(iter(counts.values()))
    samples = evenly(count, limit)

    def items() -> Iterator[Mapping[str, Any]]:
        for index in samples:
            yield {
                target: array[index * pers[target] : (index + 1) * pers[target]]
                for target, array in chosen.items()
            }

    found = checked(Source(name, items), model, limit + 1, kind=KIND)
    first = model.inputs[0].name
    rows, per = len(chosen[first]), pers[first]
    made: Callable[[], Iterator[Any]] | None = None
    if given is not None:
        made = in_order(values_of(given), samples, rows, per, given.where)
    else:
        made = _own_labels(
            arrays, boxed, chosen.keys(), lambda values: in_order(values, samples, rows, per, name), name
        )
    return Validation(found, made, name, found.count, found.notes + spread_note(count, limit))


def _own_labels(
    arrays: Mapping[str, np.ndarray | Rows],
    boxed: bool,
    inputs: Iterable[str],
    ordered: Callable[[Any], Callable[[], Iterator[Any]]],
    where: str,
) -> Callable[[], Iterator[Any]] | None:
    """The labels among the arrays; what is wrong with them shows when they are asked for."""
    try:
        if boxed:
            return ordered(_rows_of_boxes(arrays["boxes"][:], arrays["classes"][:], where))
        key = label_key([key for key in arrays if key not in inputs], where)
        return None if key is None else ordered(arrays[key][:])
    except MetricError as e:
        return refusing(e)


def _rows_of_boxes(boxes: np.ndarray, classes: np.ndarray, where: str) -> np.ndarray:
    """Rows x1, y1, x2, y2, class of each image, float64[N, G, 5]; what fills up has a negative class."""
    if boxes.ndim != 3 or boxes.shape[2] != 4 or classes.shape != boxes.shape[:2]:
        raise MetricError(
            "the labelled boxes do not match their classes",
            where=where,
            got=f"boxes {list(boxes.shape)}, classes {list(classes.shape)}",
            expected="boxes [N, G, 4], classes [N, G]",
        )
    return np.concatenate([boxes, classes[..., None].astype(np.float64)], axis=2)


def _with_rows(array: np.ndarray | Rows, model: Model, target: str) -> np.ndarray | Rows:
    """The array with an axis of samples, where it is a single row."""
    spec = next(spec for spec in model.inputs if spec.name == target)
    return array[:].reshape(1, *array.shape) if array.shape in ((), spec.shape[1:]) else array


def _rows_per_sample(array: np.ndarray | Rows, shape: tuple[int, ...]) -> int:
    """How many entries of an array make a sample: one where each has the model's batch."""
    return 1 if array.shape[1:] == shape or not shape else max(1, shape[0])
