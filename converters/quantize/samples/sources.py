"""Where calibration data comes from: files, folders of images, functions, arrays in memory."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from converters.quantize.samples.fitting import as_array
from converters.quantize.samples.user_code import current_folder_importable, imported, is_function
from device_agent.errors import CalibrationError, EdgeError, FileMissing, InvalidRequest

if TYPE_CHECKING:
    from converters.model import Model
    from converters.quantize.samples.calibration import CalibrationSource
    from device_agent.bundle import Preprocessing

LABELS = frozenset({"y", "label", "labels", "target", "targets", "class", "classes"})
_BLOCK_BYTES = 1 << 20  # of arrays that are taken at once
WAYS = (
    "Give an .npz or .npy file, a folder of images, or module:function: "
    "`--calibration data.npz`, `--calibration photos/ --preprocessing photos.toml`, "
    "`--calibration mycode:samples`."
)


@frozen
class Source:
    """Raw calibration data: `items()` starts a pass; an item maps input names to one or more rows.

    `count` is the number of samples where it is known before they are read, else 0; `preprocessing` how
    images became inputs, where the source is images.
    """

    name: str
    items: Callable[[], Iterator[Mapping[str, Any]]] = field(repr=False)
    count: int = 0
    preprocessing: Preprocessing | None = None


def open_source(source: CalibrationSource, model: Model, preprocessing: Path | None) -> Source:
    """What `load_calibration` was given, as a stream of arrays by input name; nothing is checked yet."""
    if not isinstance(source, (str, Path)):
        return _in_memory("the calibration data given", source, model)
    path = Path(source)
    if path.is_dir():
        return _images(path, model, preprocessing)
    if path.suffix.lower() in (".npz", ".npy"):
        return _file(path, model)
    if is_function(str(source)) and not path.exists():
        return _function(str(source), model)
    if not path.exists():
        raise FileMissing("no such calibration data", where=str(source), next_step=WAYS)
    raise InvalidRequest(
        "calibration data of an unknown kind",
        where=str(source),
        got=path.suffix or "no ending",
        next_step=WAYS,
    )


def _images(folder: Path, model: Model, description: Path | None) -> Source:
    from converters.quantize.samples import preprocessing

    images = preprocessing.images_in(folder)
    how = preprocessing.described(folder, model, description)
    spec = model.inputs[0]
    return Source(
        f"images in {folder}",
        lambda: ({spec.name: preprocessing.decode(image, how, spec.dtype)[None]} for image in images),
        len(images) // spec.shape[0],
        how,
    )


def _file(path: Path, model: Model) -> Source:
    from converters.quantize.samples.rows import arrays_in

    if not path.is_file():
        raise FileMissing("no such calibration data", where=str(path), next_step=WAYS)
    arrays = arrays_in(path)
    if path.suffix.lower() == ".npy":
        arrays = dict(named(next(iter(arrays.values())), model, str(path)))
    return _arrays(str(path), arrays, model)


def _arrays(name: str, given: Mapping[str, Any], model: Model) -> Source:
    """Arrays of all samples by name, taken a few samples at a time."""
    import numpy as np

    from converters.quantize.samples.fitting import fitting, rows_of_a_sample
    from converters.quantize.samples.rows import Rows

    chosen = choose_arrays(map(str, given), model, name)
    arrays = {
        target: given[key] if isinstance(given[key], Rows) else as_array(given[key], target, name)
        for target, key in chosen.items()
    }
    # what does not fit is told of the whole array, before any of it is read
    fitting(
        {key: np.broadcast_to(np.zeros((), one.dtype), one.shape) for key, one in arrays.items()}, model, name
    )
    rows = {spec.name: rows_of_a_sample(arrays[spec.name].shape, spec) for spec in model.inputs}
    if not all(rows.values()):  # an input is given for one sample only, without its batch
        return Source(name, lambda: iter([{key: array[:] for key, array in arrays.items()}]), 1)
    longest = max(-(-len(array) // rows[key]) for key, array in arrays.items())
    shortest = min(len(array) // rows[key] for key, array in arrays.items())
    size = sum(array[:1].nbytes * rows[key] for key, array in arrays.items())
    step = max(1, _BLOCK_BYTES // max(1, size))

    def items() -> Iterator[Mapping[str, Any]]:
        for start in range(0, longest, step):
            yield {
                key: array[start * rows[key] : (start + step) * rows[key]] for key, array in arrays.items()
            }

    return Source(name, items, shortest)


def choose_arrays(keys: Iterable[str], model: Model, where: str) -> dict[str, str]:
    """Input name -> the key of its array; a model of one input takes the only array that is no label."""
    keys = list(keys)
    names = [spec.name for spec in model.inputs]
    if all(name in keys for name in names):
        return {name: name for name in names}
    data = [key for key in keys if key.lower() not in LABELS]
    if len(names) == 1 and len(data) == 1:
        return {names[0]: data[0]}
    near = difflib.get_close_matches(names[0], keys, n=1)
    raise CalibrationError(
        "the arrays do not have the names of the model's inputs",
        where=where,
        got=", ".join(map(repr, keys)) or "no array",
        expected=", ".join(map(repr, names)),
        next_step=f"Is {near[0]!r} meant for {names[0]!r}?" if near else None,
    )


def _in_memory(name: str, source: Any, model: Model) -> Source:
    import numpy as np

    if isinstance(source, np.ndarray):
        return _arrays(name, named(source, model, name), model)
    if isinstance(source, Mapping):
        return _arrays(name, source, model)
    if not isinstance(source, Iterable):
        raise InvalidRequest("calibration data of an unknown kind", got=type(source).__name__, next_step=WAYS)

    def items() -> Iterator[Mapping[str, Any]]:
        try:
            for sample in source:
                yield named(sample, model, name)
        except EdgeError:
            raise
        except Exception as e:  # whatever the user's iterator raises, it is named and chained
            raise CalibrationError("the calibration data cannot be had", where=name, got=repr(e)) from e

    if not isinstance(source, Iterator):
        return Source(name, items, len(source) if isinstance(source, Sized) else 0)
    from converters.quantize.samples.fitting import fitting
    from converters.quantize.samples.spool import Spool

    # it can be walked once, and several passes are made
    kept = Spool((fitting(item, model, name) for item in items()), name)
    return Source(name, lambda: iter(kept))


def named(sample: Any, model: Model, where: str) -> Mapping[str, Any]:
    """A sample by input name; CalibrationError where it does not say which input of several it is for."""
    if isinstance(sample, Mapping):
        return sample
    if len(model.inputs) != 1:
        raise CalibrationError(
            f"the model has {len(model.inputs)} inputs, so samples must be dicts by input name",
            where=where,
            got=type(sample).__name__,
            expected=", ".join(repr(spec.name) for spec in model.inputs),
        )
    return {model.inputs[0].name: sample}


def _function(name: str, model: Model) -> Source:
    call = imported(name, CalibrationError, WAYS)

    def items() -> Iterator[Mapping[str, Any]]:
        # a fresh call for every pass: a generator stays a stream, however long it is
        try:
            with current_folder_importable():
                value = call()
            stream = value if isinstance(value, Iterator) else _in_memory(name, value, model).items()
            for sample in stream:
                yield named(sample, model, name)
        except EdgeError:
            raise
        except Exception as e:  # whatever the user's code raises, it is named and chained
            raise CalibrationError("the calibration function failed", where=name, got=repr(e)) from e

    return Source(name, items)
