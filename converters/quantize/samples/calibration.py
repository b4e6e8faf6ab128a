"""Calibration data: what a user gives, checked against the model, as a stream of single samples."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import define, evolve, field, frozen

from converters.progress import silent
from device_agent.errors import CalibrationError

if TYPE_CHECKING:
    from typing import Any

    import numpy as np

    from converters.model import Model
    from converters.progress import Progress
    from converters.quantize.samples.sources import Source
    from device_agent.bundle import Preprocessing

    # a path, `module:function`, one array, arrays by input name, or an iterable of single samples
    CalibrationSource = str | Path | np.ndarray | Mapping[str, Any] | Iterable[Any]

FEW_SAMPLES = 20  # below this, the ranges of activations are mostly luck
MOST_SAMPLES = 10_000  # past this the ranges no longer move, and a generator may never end


@frozen
class InputValues:
    """What an input was seen to hold over all samples; `whole` says that it is nothing but whole numbers."""

    minimum: float
    maximum: float
    whole: bool


@frozen
class Calibration:
    """Checked calibration samples for one model.

    `samples()` starts a new pass over them; each sample maps every input name of the model to an array of
    exactly that input's shape and dtype (the model's batch, usually 1). `count` is their number, `source`
    says where they came from, `notes` what a user should know of them (a cast, too few samples).

    `digest` is the sha256 of all that the samples hold, as they were in the pass that checked them, None
    where no such pass was made; `values` what each input holds; `preprocessing` how images became inputs.
    """

    source: str
    count: int
    samples: Callable[[], Iterator[dict[str, np.ndarray]]] = field(repr=False)
    notes: tuple[str, ...] = ()
    digest: str | None = None
    values: Mapping[str, InputValues] = field(factory=dict)
    preprocessing: Preprocessing | None = None


def load_calibration(
    source: CalibrationSource,
    model: Model,
    *,
    preprocessing: Path | None = None,
    limit: int = MOST_SAMPLES,
    progress: Progress = silent,
) -> Calibration:
    """The calibration samples in `source`, every one of them checked against the model.

    Args:
        source: an `.npz` or `.npy` file; a folder of images; `module:function`, importable from the
            current folder, that returns arrays or yields samples; or, from Python, the arrays themselves or
            an iterator over them, which is kept on disk for later passes. Arrays are `dtype[N, ...]`,
            N >= 1, where `...` is the model's input without its batch.
        model: whose inputs the samples are for; with a batch of B, B rows make a sample.
        preprocessing: how images become inputs (TOML); `preprocessing.toml` in the folder if None.
        limit: take at most this many samples.
        progress: told of every sample that was checked.

    Raises:
        CalibrationError: no samples, or one of the wrong name, shape, dtype or content.
        FileMissing: the file or folder is not there.
        InvalidRequest: the source or the preprocessing description makes no sense.
    """
    from converters.quantize.samples import sources

    found = checked(sources.open_source(source, model, preprocessing), model, limit, progress=progress)
    if found.count < FEW_SAMPLES:
        few = f"only {found.count} calibration samples: give at least {FEW_SAMPLES}, better 100 to 500"
        return evolve(found, notes=(*found.notes, few))
    return found


def checked(
    opened: Source, model: Model, limit: int, *, kind: str = "calibration", progress: Progress = silent
) -> Calibration:
    """The samples of a source that was opened, checked against the model in one pass over them.

    Args:
        opened: the source.
        model: whose inputs the samples are for.
        limit: take at most this many samples.
        kind: what error texts call them.
        progress: told of every sample that was checked.

    Raises:
        CalibrationError: no samples, or one of the wrong name, shape, dtype or content.
    """
    from converters.quantize.samples.fitting import batches, fitting

    given: dict[str, np.dtype[Any]] = {}  # the dtypes, before they are cast

    def samples() -> Iterator[dict[str, np.ndarray]]:
        return islice(batches(rows(), model, opened.name), limit)

    def rows() -> Iterator[dict[str, np.ndarray]]:
        for item in opened.items():
            fitted = fitting(item, model, opened.name)
            if not given:
                given.update({name: array.dtype for name, array in fitted.items()})
            yield fitted

    inspected = _Inspected()
    total = min(opened.count, limit)
    progress(f"checking {kind} data", 0, total)
    for sample in samples():
        inspected.add(sample, opened.name)
        progress(f"checking {kind} data", inspected.count, total)
    notes = (*_casts(given, model, kind), *inspected.notes(model, opened.name, kind))
    if inspected.count == limit:
        notes += (f"only the first {limit} {kind} samples are used",)
    return Calibration(
        opened.name,
        inspected.count,
        samples,
        notes,
        inspected.digest.hexdigest(),
        inspected.values(),
        opened.preprocessing,
    )


class Digest:
    """The sha256 of samples: names, dtypes, shapes and values, in order."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def add(self, sample: Mapping[str, np.ndarray]) -> None:
        """Take in the next sample."""
        import numpy as np

        for name, array in sample.items():
            self._hash.update(f"{name} {array.dtype.str} {array.shape} ".encode())
            self._hash.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)

    def hexdigest(self) -> str:
        """The digest of all so far."""
        return self._hash.hexdigest()


@define
class _Inspected:
    """What one pass over the samples finds, sample by sample."""

    count: int = 0
    digest: Digest = field(factory=Digest)
    _low: dict[str, float] = field(factory=dict)
    _high: dict[str, float] = field(factory=dict)
    _whole: dict[str, bool] = field(factory=dict)

    def add(self, sample: Mapping[str, np.ndarray], where: str) -> None:
        """Take in a sample; CalibrationError where it holds NaN or Inf."""
        import numpy as np

        for name, array in sample.items():
            if not array.size:
                continue
            least, most = float(array.min()), float(array.max())  # NaN and Inf show in one of them
            if not (np.isfinite(least) and np.isfinite(most)):
                raise CalibrationError(
                    f"sample {self.count} of input {name!r} holds NaN or Inf",
                    where=where,
                    next_step="Remove the sample, or mend what made it.",
                )
            self._low[name] = min(self._low.get(name, least), least)
            self._high[name] = max(self._high.get(name, most), most)
            if self._whole.get(name, True):
                self._whole[name] = array.dtype.kind != "f" or bool((array == np.rint(array)).all())
        self.digest.add(sample)
        self.count += 1

    def values(self) -> dict[str, InputValues]:
        """What each input holds."""
        return {name: InputValues(self._low[name], self._high[name], self._whole[name]) for name in self._low}

    def notes(self, model: Model, where: str, kind: str) -> tuple[str, ...]:
        """What a user should know; CalibrationError where the samples are of no use."""
        if self.count == 0:
            batch = model.inputs[0].shape[0] if model.inputs and model.inputs[0].shape else 1
            raise CalibrationError(
                f"there are no {kind} samples", where=where, expected=f"at least {batch} of them"
            )
        constant = [name for name in self._low if self._low[name] == self._high[name]]
        if constant and len(constant) == len(self._low):
            raise CalibrationError(
                f"every {kind} value is the same, so they say nothing of the model",
                where=where,
                got=f"{constant[0]!r} is {self._low[constant[0]]:g} throughout",
                next_step="Give real inputs, as the model will see them.",
            )
        return tuple(f"input {name!r} is {self._low[name]:g} in every {kind} sample" for name in constant)


def _casts(given: Mapping[str, np.dtype[Any]], model: Model, kind: str) -> tuple[str, ...]:
    import numpy as np

    from converters.quantize.samples.fitting import quantizable

    return tuple(
        f"{kind} values for {spec.name!r} were cast from {given[spec.name]} to {spec.dtype}"
        for spec in model.inputs
        if spec.name in given
        and given[spec.name] != np.dtype(spec.dtype)
        and not quantizable(given[spec.name], spec)
    )
