"""Calibration data: what a user gives, checked against the model, as a stream of single samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import evolve, field, frozen

from device_agent.errors import CalibrationError

if TYPE_CHECKING:
    from typing import Any

    import numpy as np

    from converters.model import Model
    from converters.quantize.sources import Source
    from device_agent.bundle import TensorSpec

    # a path, `module:function`, one array, arrays by input name, or an iterable of single samples
    CalibrationSource = str | Path | np.ndarray | Mapping[str, Any] | Iterable[Any]

FEW_SAMPLES = 20  # below this, the ranges of activations are mostly luck
MOST_SAMPLES = 10_000  # past this the ranges no longer move, and a generator may never end


@frozen
class Calibration:
    """Checked calibration samples for one model.

    `samples()` starts a new pass over them; each sample maps every input name of the model to an array of
    exactly that input's shape and dtype (the model's batch, usually 1). `count` is their number, `source`
    says where they came from, `notes` what a user should know of them (a cast, too few samples).
    """

    source: str
    count: int
    samples: Callable[[], Iterator[dict[str, np.ndarray]]] = field(repr=False)
    notes: tuple[str, ...] = ()


def load_calibration(
    source: CalibrationSource, model: Model, *, preprocessing: Path | None = None, limit: int = MOST_SAMPLES
) -> Calibration:
    """The calibration samples in `source`, every one of them checked against the model.

    Args:
        source: an `.npz` or `.npy` file; a folder of images; `module:function`, importable from the
            current folder, that returns arrays or yields samples; or, from Python, the arrays themselves.
            Arrays are `dtype[N, ...]`, N >= 1, where `...` is the model's input without its batch.
        model: whose inputs the samples are for; with a batch of B, B rows make a sample.
        preprocessing: how images become inputs (TOML); `preprocessing.toml` in the folder if None.
        limit: take at most this many samples.

    Raises:
        CalibrationError: no samples, or one of the wrong name, shape, dtype or content.
        FileMissing: the file or folder is not there.
        InvalidRequest: the source or the preprocessing description makes no sense.
    """
    from converters.quantize import sources

    found = checked(sources.open_source(source, model, preprocessing), model, limit)
    if found.count < FEW_SAMPLES:
        few = f"only {found.count} calibration samples: give at least {FEW_SAMPLES}, better 100 to 500"
        return evolve(found, notes=(*found.notes, few))
    return found


def checked(opened: Source, model: Model, limit: int, *, kind: str = "calibration") -> Calibration:
    """The samples of a source that was opened, checked against the model in one pass over them.

    Args:
        opened: the source.
        model: whose inputs the samples are for.
        limit: take at most this many samples.
        kind: what error texts call them.

    Raises:
        CalibrationError: no samples, or one of the wrong name, shape, dtype or content.
    """

    def samples() -> Iterator[dict[str, np.ndarray]]:
        rows = (_fitting(item, model, opened.name) for item in opened.items())
        return islice(_batches(rows, model, opened.name), limit)

    count, notes = _inspect(samples(), model, opened.name, kind)
    casts = _casts(next(iter(opened.items())), model, kind)
    if count == limit:
        notes += (f"only the first {limit} {kind} samples are used",)
    return Calibration(opened.name, count, samples, casts + notes)


def _batches(
    items: Iterable[dict[str, np.ndarray]], model: Model, where: str
) -> Iterator[dict[str, np.ndarray]]:
    """Samples of the model's batch, as views of the rows wherever rows need not be joined."""
    import numpy as np

    sizes = {spec.name: (spec.shape[0] if spec.shape else 1) for spec in model.inputs}
    pending: dict[str, np.ndarray] = {}
    for item in items:
        rows = {
            name: np.concatenate([pending[name], array]) if len(pending.get(name, ())) else array
            for name, array in item.items()
        }
        full = min((len(rows[name]) // size for name, size in sizes.items()), default=0)
        for index in range(full):
            yield {
                spec.name: _cast(
                    rows[spec.name][index * sizes[spec.name] : (index + 1) * sizes[spec.name]], spec, where
                ).reshape(spec.shape)
                for spec in model.inputs
            }
        pending = {name: rows[name][full * size :] for name, size in sizes.items()}
    longer = [name for name, size in sizes.items() if len(pending.get(name, ())) >= size]
    if longer:
        raise CalibrationError(
            "the inputs have different numbers of samples",
            where=where,
            got=f"more of {', '.join(map(repr, longer))} than of the others",
        )


def _fitting(item: Mapping[str, Any], model: Model, where: str) -> dict[str, np.ndarray]:
    """Arrays of an item as rows of each input, `[K, ...]` where `...` is the input without its batch."""
    import numpy as np

    rows = {}
    for spec in model.inputs:
        if spec.name not in item:
            raise CalibrationError(
                f"there is no array for the model's input {spec.name!r}",
                where=where,
                got=", ".join(map(repr, item)) or "nothing",
                expected=", ".join(repr(one.name) for one in model.inputs),
            )
        array = np.asarray(item[spec.name])
        if not _quantizable(array.dtype, spec) and not _castable(array.dtype, np.dtype(spec.dtype)):
            raise CalibrationError(
                f"the values for input {spec.name!r} have the wrong dtype",
                where=where,
                got=str(array.dtype),
                expected=spec.dtype,
                next_step=f"Save them as numbers: `x.astype({spec.dtype!r})`.",
            )
        row = spec.shape[1:]
        if array.shape[1:] == spec.shape:
            array = array.reshape(-1, *row)
        elif array.shape == row:
            array = array[None]
        elif array.ndim == 0 or array.shape[1:] != row:
            raise _wrong_shape(array, spec, where)
        rows[spec.name] = array
    return rows


def _cast(array: np.ndarray, spec: TensorSpec, where: str) -> np.ndarray:
    """The array in the input's dtype; integers out of its range are refused, floats out of it become Inf."""
    import numpy as np

    if _quantizable(array.dtype, spec):
        return array.astype(np.float32, copy=False)
    if array.dtype.kind in "iu" and not spec.dtype.startswith("float"):
        limits = np.iinfo(spec.dtype)
        if array.min() < limits.min or array.max() > limits.max:
            raise CalibrationError(
                f"the values for input {spec.name!r} do not fit {spec.dtype}",
                where=where,
                got=f"{array.min()} .. {array.max()}",
                expected=f"{limits.min} .. {limits.max}",
            )
    with np.errstate(over="ignore"):  # what comes out as Inf is refused with its sample's index
        return array.astype(spec.dtype, copy=False)


def _quantizable(got: np.dtype[Any], spec: TensorSpec) -> bool:
    """Real values for an input that is quantised already: who runs the model makes steps of them."""
    return spec.quantization is not None and got.kind == "f"


def _castable(got: np.dtype[Any], expected: np.dtype[Any]) -> bool:
    if expected.kind == "f":
        return got.kind in "fiu"
    return got.kind == expected.kind or (got.kind in "iu" and expected.kind in "iu")


def _wrong_shape(array: np.ndarray, spec: TensorSpec, where: str) -> CalibrationError:
    expected = ", ".join(["N", *map(str, spec.shape[1:])])
    hint = None
    if array.ndim == 4 and len(spec.shape) == 4:
        for order, said in (
            ((0, 2, 3, 1), "first, the model's last"),
            ((0, 3, 1, 2), "last, the model's first"),
        ):
            if tuple(array.shape[axis] for axis in order)[1:] == spec.shape[1:]:
                hint = f"The data's channels come {said}: `x.transpose{order}` reorders them."
    return CalibrationError(
        f"the array for input {spec.name!r} has the wrong shape",
        where=where,
        got=str(list(array.shape)),
        expected=f"[{expected}]" + (f" ({spec.layout})" if spec.layout is not None else ""),
        next_step=hint,
    )


def _inspect(
    samples: Iterator[dict[str, np.ndarray]], model: Model, where: str, kind: str
) -> tuple[int, tuple[str, ...]]:
    """One pass over the samples: their number, and notes; CalibrationError for bad contents."""
    import numpy as np

    low: dict[str, float] = {}
    high: dict[str, float] = {}
    count = 0
    for sample in samples:
        for name, array in sample.items():
            least, most = float(array.min()), float(array.max())  # NaN and Inf show in one of them
            if not (np.isfinite(least) and np.isfinite(most)):
                raise CalibrationError(
                    f"sample {count} of input {name!r} holds NaN or Inf",
                    where=where,
                    next_step="Remove the sample, or mend what made it.",
                )
            low[name] = min(low.get(name, least), least)
            high[name] = max(high.get(name, most), most)
        count += 1
    if count == 0:
        batch = model.inputs[0].shape[0] if model.inputs and model.inputs[0].shape else 1
        raise CalibrationError(
            f"there are no {kind} samples", where=where, expected=f"at least {batch} of them"
        )
    constant = [name for name in low if low[name] == high[name]]
    if len(constant) == len(low):
        raise CalibrationError(
            f"every {kind} value is the same, so they say nothing of the model",
            where=where,
            got=f"{constant[0]!r} is {low[constant[0]]:g} throughout",
            next_step="Give real inputs, as the model will see them.",
        )
    return count, tuple(f"input {name!r} is {low[name]:g} in every {kind} sample" for name in constant)


def _casts(item: Mapping[str, Any], model: Model, kind: str) -> tuple[str, ...]:
    import numpy as np

    found = []
    for spec in model.inputs:
        got = np.asarray(item[spec.name]).dtype
        if got != np.dtype(spec.dtype) and not _quantizable(got, spec):
            found.append(f"{kind} values for {spec.name!r} were cast from {got} to {spec.dtype}")
    return tuple(found)
