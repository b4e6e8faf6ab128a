"""Validation samples that a user's function or iterable yields, each with its label."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import define, field

from converters.quantize.samples.calibration import checked
from converters.quantize.samples.labels import Labels
from converters.quantize.samples.sources import Source, named
from converters.quantize.samples.spool import Spool
from converters.quantize.samples.user_code import current_folder_importable, imported
from converters.quantize.samples.validation import KIND, WAYS, Validation, in_order, refusing, values_of
from device_agent.errors import CalibrationError, EdgeError, MetricError

if TYPE_CHECKING:
    from converters.model import Model

MOST_LABELS = 1 << 28  # bytes; labels are held, samples are not


def of_function(name: str, model: Model, given: Labels | None, limit: int) -> Validation:
    """What `module:function` yields or returns; it is called for every pass."""
    call = imported(name, CalibrationError, WAYS)
    with _naming(name), current_folder_importable():
        first = call()
    if isinstance(first, np.ndarray | Mapping):
        from converters.quantize.samples import labelled_arrays

        arrays = first if isinstance(first, Mapping) else {model.inputs[0].name: first}
        arrays = {str(key): np.asarray(value) for key, value in arrays.items()}
        return labelled_arrays.load(name, arrays, model, given, limit)

    def passes() -> Iterator[Any]:
        with _naming(name):
            with current_folder_importable():
                value = call()
            yield from value

    return load(name, passes, model, given, limit)


def of_iterator(
    name: str, items: Iterator[Any], model: Model, given: Labels | None, limit: int
) -> Validation:
    """What an iterator gives, which can be walked once only: samples are kept on disk, labels held."""
    labels: list[tuple[Any, ...]] = []  # of the items taken so far; empty where there is none

    def samples() -> Iterator[dict[str, np.ndarray]]:
        for item in items:
            labelled = isinstance(item, tuple) and len(item) == 2
            labels.append(item[1:] if labelled else ())
            sample = named(item[0] if labelled else item, model, name)
            yield {key: np.asarray(value) for key, value in sample.items()}

    spool = Spool(samples(), name)

    def passes() -> Iterator[Any]:
        for number, sample in enumerate(spool):
            yield (sample, *labels[number]) if labels[number] else sample

    return load(name, passes, model, given, limit)


def load(
    name: str, passes: Callable[[], Iterator[Any]], model: Model, given: Labels | None, limit: int
) -> Validation:
    """Samples, or pairs (sample, label), as a stream that is begun anew for every pass.

    Labels are held after the first pass. Every later pass must give the same samples in the same order, or
    labels and samples would not belong together: their checksums are compared.

    Raises:
        CalibrationError: a sample does not fit the model, or there are none.
        MetricError: labels are too large to be held, or not as many as the samples.
    """
    stream = _Stream(name, passes, model)
    found = checked(Source(name, stream.items), model, limit, kind=KIND)
    per = max(1, model.inputs[0].shape[0]) if model.inputs[0].shape else 1
    rows = found.count * per
    samples = range(found.count)
    labels: Callable[[], Iterator[Any]] | None = None
    if given is not None:
        labels = in_order(values_of(given), samples, rows, per, given.where)
    elif stream.labelled:
        try:
            labels = in_order(stream.labels[:rows], samples, rows, per, name)
        except MetricError as e:
            labels = refusing(e)
    return Validation(found, labels, name, found.count, found.notes)


@define
class _Stream:
    """The samples of a stream; notes labels and checksums in the first pass, compares in the later ones."""

    name: str
    passes: Callable[[], Iterator[Any]]
    model: Model
    labelled: bool = False
    labels: list[Any] = field(factory=list)
    _sums: list[int] = field(factory=list)
    _held: int = 0  # bytes of labels

    def items(self) -> Iterator[Mapping[str, Any]]:
        """A pass over the samples, by input name."""
        for number, item in enumerate(self.passes()):
            labelled = isinstance(item, tuple) and len(item) == 2
            sample = named(item[0] if labelled else item, self.model, self.name)
            total = 0
            for key in sorted(sample):
                total = zlib.crc32(np.ascontiguousarray(sample[key]).data, total)
            if number == len(self._sums):
                self._note(number, labelled, item[1] if labelled else None)
                self._sums.append(total)
            elif self._sums[number] != total:
                raise CalibrationError(
                    f"sample {number} is another one on a later pass, so labels do not belong to samples",
                    where=self.name,
                    next_step="Give the same samples in the same order each time: seed what shuffles them.",
                )
            yield sample

    def _note(self, number: int, labelled: bool, label: Any) -> None:
        if number == 0:
            self.labelled = labelled
        if labelled != self.labelled:
            raise CalibrationError(
                f"sample {number} {'has' if labelled else 'lacks'} a label, unlike those before it",
                where=self.name,
                expected="(sample, label) of every sample, or of none",
            )
        self._held += int(getattr(label, "nbytes", 0))
        if self._held > MOST_LABELS:
            raise MetricError(
                "the labels are too large to be held",
                where=self.name,
                got=f"more than {MOST_LABELS >> 20} MiB after {number + 1} samples",
                next_step="Use fewer samples, or give them as an .npy file: `--labels labels.npy`.",
            )
        self.labels.append(label)


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Names the user's function in whatever it raises."""
    try:
        yield
    except EdgeError:
        raise
    except Exception as e:  # whatever the user's code raises, it is named and chained
        raise CalibrationError("the validation function failed", where=name, got=repr(e)) from e
