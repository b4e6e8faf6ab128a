"""What calibration data holds, as samples of a model's inputs: rows, batches, dtypes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from device_agent.errors import CalibrationError

if TYPE_CHECKING:
    import numpy as np

    from converters.model import Model
    from device_agent.bundle import TensorSpec


def batches(
    items: Iterable[dict[str, np.ndarray]], model: Model, where: str
) -> Iterator[dict[str, np.ndarray]]:
    """Samples of the model's batch, as views of the rows wherever rows need not be joined.

    Raises:
        CalibrationError: one input has more samples than another, or values that its dtype cannot hold.
    """
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


def fitting(item: Mapping[str, Any], model: Model, where: str) -> dict[str, np.ndarray]:
    """Arrays of an item as rows of each input, `[K, ...]` where `...` is the input without its batch.

    Raises:
        CalibrationError: there is none for an input, or one of another dtype or shape.
    """
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
        array = as_array(item[spec.name], spec.name, where)
        if not quantizable(array.dtype, spec) and not _castable(array.dtype, np.dtype(spec.dtype)):
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


def as_array(values: Any, name: str, where: str) -> np.ndarray:
    """The values for an input as an array; CalibrationError where they are none."""
    import numpy as np

    try:
        return np.asarray(values)
    except (ValueError, TypeError) as e:  # lists of different lengths, tensors on another device
        raise CalibrationError(
            f"the values for input {name!r} are no array", where=where, got=str(e)[:300]
        ) from e


def rows_of_a_sample(shape: tuple[int, ...], spec: TensorSpec) -> int:
    """How many rows of an array that fits (see `fitting`) make a sample; 0 where all of it is one row."""
    if shape[1:] == spec.shape:
        return 1
    if shape == spec.shape[1:]:
        return 0
    return spec.shape[0] if spec.shape else 1


def _cast(array: np.ndarray, spec: TensorSpec, where: str) -> np.ndarray:
    """The array in the input's dtype; integers out of its range are refused, floats out of it become Inf."""
    import numpy as np

    if quantizable(array.dtype, spec):
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


def quantizable(got: np.dtype[Any], spec: TensorSpec) -> bool:
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
