"""Where calibration data comes from: files, folders of images, functions, arrays in memory."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from converters.quantize.user_code import current_folder_importable, imported, is_function
from device_agent.errors import CalibrationError, EdgeError, FileMissing, InvalidRequest

if TYPE_CHECKING:
    from converters.model import Model
    from converters.quantize.calibration import CalibrationSource

LABELS = frozenset({"y", "label", "labels", "target", "targets", "class", "classes"})
WAYS = (
    "Give an .npz or .npy file, a folder of images, or module:function: "
    "`--calibration data.npz`, `--calibration photos/ --preprocessing photos.toml`, "
    "`--calibration mycode:samples`."
)


@frozen
class Source:
    """Raw calibration data: `items()` starts a pass; an item maps input names to one or more rows."""

    name: str
    items: Callable[[], Iterator[Mapping[str, Any]]] = field(repr=False)


def open_source(source: CalibrationSource, model: Model, preprocessing: Path | None) -> Source:
    """What `load_calibration` was given, as a stream of arrays by input name; nothing is checked yet."""
    if not isinstance(source, (str, Path)):
        return _in_memory("the calibration data given", source, model)
    path = Path(source)
    if path.is_dir():
        from converters.quantize import preprocessing as images

        return Source(f"images in {path}", images.open_folder(path, model, preprocessing))
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


def _file(path: Path, model: Model) -> Source:
    import numpy as np

    if not path.is_file():
        raise FileMissing("no such calibration data", where=str(path), next_step=WAYS)
    try:
        if path.suffix.lower() == ".npy":
            return _in_memory(str(path), np.lib.format.open_memmap(path, mode="r"), model)
        # pickles can run code: never; and np.load leaves a file it cannot read open
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            names = choose_arrays(archive.files, model, str(path))
            arrays = {name: archive[key] for name, key in names.items()}
    except EdgeError:
        raise
    except Exception as e:  # NumPy lets almost any exception out of a damaged file
        raise CalibrationError(
            "the calibration file cannot be read",
            where=str(path),
            got=str(e),
            expected="plain arrays of numbers, as np.savez and np.save write them",
        ) from e
    return _in_memory(str(path), arrays, model)


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
        return Source(name, lambda: iter([named(source, model, name)]))
    if isinstance(source, Mapping):
        chosen = choose_arrays(map(str, source), model, name)
        arrays = {target: source[key] for target, key in chosen.items()}
        return Source(name, lambda: iter([arrays]))
    if not isinstance(source, Iterable):
        raise InvalidRequest("calibration data of an unknown kind", got=type(source).__name__, next_step=WAYS)
    # an iterator can be walked once, and several passes are made
    samples = list(source) if isinstance(source, Iterator) else source
    return Source(name, lambda: (named(sample, model, name) for sample in samples))


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
