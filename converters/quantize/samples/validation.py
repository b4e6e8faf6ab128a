"""Validation data: samples with the labels that say what a model should make of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from converters.quantize.samples.labels import Labels, read_labels
from converters.quantize.samples.user_code import is_function
from device_agent.errors import FileMissing, InvalidRequest, MetricError

if TYPE_CHECKING:
    import numpy as np

    from converters.model import Model
    from converters.quantize.samples.calibration import Calibration

    # a path, `module:function`, one array, arrays by name, or an iterable of samples or (sample, label)
    ValidationSource = str | Path | np.ndarray | Mapping[str, Any] | Iterable[Any]
    # a path, or one label per sample
    LabelSource = str | Path | Sequence[Any] | np.ndarray

MOST_SAMPLES = 10_000  # of a larger set, so many are taken, spread over all of it
KIND = "validation"  # what error texts call the samples
WAYS = (
    "Give an .npz or .npy file, a folder of images, or module:function that yields (sample, label). Labels "
    "are an array `labels` in the .npz, a subfolder of images per class, or a file of their own."
)


@frozen
class Validation:
    """Checked validation samples for one model, and their labels.

    `samples` are as for calibration: each has the model's batch. `labels()` starts a new pass over the
    labels in the order of the samples, one of each, or a list with one per row where the model's batch is
    more than 1 and there is a label per row; it is None where there are none, and may raise MetricError
    where what seemed to be labels cannot be. `source` says where both came from, `notes` what a user
    should know of them: how classes are numbered, how many samples were left out.
    """

    samples: Calibration
    labels: Callable[[], Iterator[Any]] | None = field(repr=False)
    source: str
    count: int
    notes: tuple[str, ...] = ()


def load_validation(
    source: ValidationSource,
    model: Model,
    *,
    labels: LabelSource | None = None,
    preprocessing: Path | None = None,
    limit: int = MOST_SAMPLES,
) -> Validation:
    """The samples in `source`, every one of them checked against the model, with their labels.

    Args:
        source: an `.npz` file with an array per input and perhaps one of labels (`labels`, `y`, ..., or
            `boxes` [N, G, 4] and `classes` [N, G] of a detector); an `.npy` file; a folder of images,
            perhaps with a subfolder per class; `module:function`, importable from the current folder, that
            yields (sample, label) or returns arrays; or, from Python, the same in memory.
        model: whose inputs the samples are for; with a batch of B, B rows make a sample.
        labels: where they are not in `source`: a file (see `labels.read_labels`) or a label per sample.
        preprocessing: how images become inputs (TOML); `preprocessing.toml` in the folder if None.
        limit: take at most this many samples, spread over the whole set; of a function, the first.

    Raises:
        CalibrationError: no samples, or one of the wrong name, shape, dtype or content.
        MetricError: the labels that were named cannot be read, or are not as many as the samples.
        FileMissing: a file or folder is not there.
        InvalidRequest: the source, the labels or the preprocessing description make no sense.
    """
    from converters.quantize.samples import labelled_arrays, labelled_images, labelled_streams

    if limit < 1:
        raise InvalidRequest("a limit of samples must be at least 1", got=str(limit))
    given = _given(labels)
    if not isinstance(source, (str, Path)):
        return _in_memory("the validation data given", source, model, given, limit)
    path = Path(source)
    if path.is_dir():
        return labelled_images.load(path, model, given, preprocessing, limit)
    if path.suffix.lower() in (".npz", ".npy"):
        from converters.quantize.samples.rows import arrays_in

        if not path.is_file():
            raise FileMissing("no such validation data", where=str(source), next_step=WAYS)
        arrays = arrays_in(path)
        if path.suffix.lower() == ".npy" and len(model.inputs) == 1:
            arrays = {model.inputs[0].name: next(iter(arrays.values()))}
        return labelled_arrays.load(str(path), arrays, model, given, limit)
    if is_function(str(source)) and not path.exists():
        return labelled_streams.of_function(str(source), model, given, limit)
    if not path.exists():
        raise FileMissing("no such validation data", where=str(source), next_step=WAYS)
    raise InvalidRequest(
        "validation data of an unknown kind",
        where=str(source),
        got=path.suffix or "no ending",
        next_step=WAYS,
    )


def evenly(count: int, limit: int) -> Sequence[int]:
    """At most `limit` of the indices below `count`, as evenly spread as can be."""
    return range(count) if count <= limit else [index * count // limit for index in range(limit)]


def spread_note(count: int, limit: int) -> tuple[str, ...]:
    """What a user is told where samples are left out."""
    if count <= limit:
        return ()
    return (f"{limit} of {count} {KIND} samples are used, spread over all of them",)


def grouped(
    values: Sequence[Any] | np.ndarray, samples: Sequence[int], per: int
) -> Callable[[], Iterator[Any]]:
    """The labels of these samples, `per` values each: the value itself, or a list of them."""
    if per == 1:
        return lambda: (values[index] for index in samples)
    return lambda: (values[index * per : (index + 1) * per] for index in samples)


def in_order(
    values: Sequence[Any] | np.ndarray, samples: Sequence[int], rows: int, per: int, where: str
) -> Callable[[], Iterator[Any]]:
    """The labels of these samples, where labels were given in the order of all `rows`, `per` a sample.

    Raises:
        MetricError: there are not as many of them as rows, nor as samples.
    """
    if len(values) == rows:
        return grouped(values, samples, per)
    if len(values) == rows // per:
        return grouped(values, samples, 1)
    raise MetricError(
        "the labels do not match the samples",
        where=where,
        got=f"{len(values)} labels",
        expected=f"{rows}, one for each",
    )


def _given(labels: LabelSource | None) -> Labels | None:
    if labels is None:
        return None
    if isinstance(labels, (str, Path)):
        return read_labels(Path(labels))
    return Labels("the labels given", labels)


def refusing(error: MetricError) -> Callable[[], Iterator[Any]]:
    """Labels that cannot be: who asks for them is told why."""

    def labels() -> Iterator[Any]:
        raise error

    return labels


def values_of(given: Labels) -> Sequence[Any] | np.ndarray:
    """Labels in order; MetricError where they are by file name, which only images have."""
    if given.values is None:
        raise MetricError(
            "labels by file name go with a folder of images",
            where=given.where,
            expected="one label per sample, in their order",
        )
    return given.values


def _in_memory(name: str, source: Any, model: Model, given: Labels | None, limit: int) -> Validation:
    import numpy as np

    from converters.quantize.samples import labelled_arrays, labelled_streams

    if isinstance(source, np.ndarray):
        return labelled_arrays.load(name, {model.inputs[0].name: source}, model, given, limit)
    if isinstance(source, Mapping):
        arrays = {str(key): np.asarray(value) for key, value in source.items()}
        return labelled_arrays.load(name, arrays, model, given, limit)
    if not isinstance(source, Iterable):
        raise InvalidRequest("validation data of an unknown kind", got=type(source).__name__, next_step=WAYS)
    if isinstance(source, Iterator):
        return labelled_streams.of_iterator(name, source, model, given, limit)
    return labelled_streams.load(name, lambda: iter(source), model, given, limit)
