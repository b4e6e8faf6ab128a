"""Labels of validation samples: from files, and from the names of folders."""

from __future__ import annotations

import csv
import difflib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from converters.quantize.samples.sources import LABELS
from device_agent.errors import FileMissing, InvalidRequest, MetricError

if TYPE_CHECKING:
    import numpy as np

ENDINGS = (".npy", ".npz", ".csv", ".txt", ".json")
CLASSES_FILE = "labels.txt"
FILE_COLUMNS = frozenset({"file", "filename", "file_name", "image", "path", "name"})
SHOWN = 12  # classes that a note spells out


@frozen
class Labels:
    """Labels as a file gives them: `values` in order, or `by_file` for named images.

    `coco` is a whole annotation file in COCO's format, which needs the images to be read.
    """

    where: str
    values: Sequence[Any] | np.ndarray | None = field(default=None, repr=False)
    by_file: Mapping[str, Any] | None = field(default=None, repr=False)
    coco: Mapping[str, Any] | None = field(default=None, repr=False)


def read_labels(path: Path) -> Labels:
    """The labels in a file.

    .npy holds an array with a label per sample, .npz one such array (called `labels`, `y`, ... if there are
    more); .txt a label per line; .csv a column of labels (called `label`, ... in the first line if there
    are more), perhaps beside one of file names; .json a list, an object of labels by file name, or COCO's
    annotations. Numbers are read as such, all else as text.

    Raises:
        FileMissing: no such file.
        InvalidRequest: a file of another kind.
        MetricError: the file cannot be read, or which of its columns or arrays holds labels does not show.
    """
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise InvalidRequest(
            "labels of an unknown kind",
            where=str(path),
            got=ending or "no ending",
            expected=" or ".join(ENDINGS),
        )
    if not path.is_file():
        raise FileMissing("no such labels", where=str(path))
    if ending in (".npy", ".npz"):
        return _arrays(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
        if ending == ".json":
            return _json(json.loads(text), str(path))
        rows = list(csv.reader(text.splitlines())) if ending == ".csv" else []
    except (ValueError, OSError, csv.Error) as e:
        raise MetricError("the labels cannot be read", where=str(path), got=str(e)) from e
    if ending == ".csv":
        return _table([row for row in rows if row], str(path))
    return Labels(str(path), [number(line) for line in text.splitlines()])


def class_names(folder: Path) -> tuple[str, ...] | None:
    """The classes in the order of the model's scores, from a `labels.txt` in the folder; None without one."""
    file = folder / CLASSES_FILE
    if not file.is_file():
        return None
    try:
        return tuple(line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines())
    except (OSError, ValueError) as e:
        raise MetricError("the class names cannot be read", where=str(file), got=str(e)) from e


def classes_of_folders(
    folders: Sequence[str], names: Sequence[str] | None, classes: int | None, where: str
) -> dict[str, int]:
    """Which class each folder of images is.

    Args:
        folders: their names.
        names: the classes in the order of the model's scores, where they are known.
        classes: how many the model has, None where its outputs do not show it.
        where: for error texts.

    Raises:
        MetricError: a folder is not among the names; or, without names, there are not as many folders as
            classes, so that their order cannot be the model's.
    """
    if names is not None:
        found = {folder: index_of(folder, names, where) for folder in folders}
    elif all(folder.isascii() and folder.isdigit() for folder in folders):
        found = {folder: int(folder) for folder in folders}
    else:
        found = {folder: index for index, folder in enumerate(sorted(folders))}
        if classes is not None and len(found) != classes:
            raise MetricError(
                "the folders of images are not the model's classes",
                where=where,
                got=f"{len(found)} folders: {shown(sorted(folders))}",
                expected=f"{classes}, as the model has {classes} scores",
                next_step=(
                    f"Write {CLASSES_FILE} into the folder, a class per line in the order of the model's "
                    "scores, or call the folders by the numbers of their classes."
                ),
            )
    wrong = [folder for folder, index in found.items() if classes is not None and index >= classes]
    if wrong:
        raise MetricError(
            "a folder of images is past the model's classes",
            where=where,
            got=f"{wrong[0]!r} is class {found[wrong[0]]}",
            expected=f"0 .. {(classes or 0) - 1}",
        )
    return found


def index_of(name: str, names: Sequence[str], where: str) -> int:
    """The class of that name; MetricError where there is none."""
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        raise MetricError(
            f"there is no class {name!r} in {CLASSES_FILE}",
            where=where,
            got=repr(name),
            expected=repr(near[0]) if near else shown(names),
        )
    return list(names).index(name)


def shown(names: Sequence[str]) -> str:
    """Names for a note or an error, the first of them where they are many."""
    return ", ".join(names[:SHOWN]) + (f", ... ({len(names)})" if len(names) > SHOWN else "")


def number(text: str) -> Any:
    """Text as a whole number or a real one where it reads as one."""
    text = text.strip()
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def label_key(keys: Sequence[str], where: str) -> str | None:
    """Which of these arrays or columns holds labels, None where none does; MetricError where several may."""
    found = [key for key in keys if key.strip().lower() in LABELS]
    if len(found) > 1:
        raise MetricError(
            "more than one array could hold the labels",
            where=where,
            got=", ".join(map(repr, found)),
            expected="one",
            next_step="Give them in a file of their own: `--labels labels.npy`.",
        )
    return found[0] if found else None


def _arrays(path: Path) -> Labels:
    import numpy as np

    try:
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)  # pickles can run code
            if isinstance(loaded, np.ndarray):
                return Labels(str(path), loaded if loaded.ndim else loaded.reshape(1))
            with loaded as archive:
                key = archive.files[0] if len(archive.files) == 1 else label_key(archive.files, str(path))
                if key is not None:
                    return Labels(str(path), archive[key])
                got = ", ".join(map(repr, archive.files))
    except MetricError:
        raise
    except Exception as e:  # NumPy lets almost any exception out of a damaged file
        raise MetricError(
            "the labels cannot be read",
            where=str(path),
            got=str(e) or type(e).__name__,
            expected="a plain array, as np.save writes it",
        ) from e
    raise MetricError(
        "which array holds the labels does not show", where=str(path), got=got, expected="'labels'"
    )


def _table(rows: list[list[str]], where: str) -> Labels:
    if not rows:
        raise MetricError("there are no labels", where=where)
    head = [cell.strip().lower() for cell in rows[0]]
    key = label_key(head, where)
    width = len(head)
    if key is not None:
        rows, column = rows[1:], head.index(key)
        files = [index for index, name in enumerate(head) if name in FILE_COLUMNS]
    elif width <= 2:
        column, files = width - 1, [0] if width == 2 else []
    else:
        raise MetricError(
            "which column holds the labels does not show",
            where=where,
            got=", ".join(rows[0]),
            expected="a first line that calls one of them `label`",
        )
    short = next((index for index, row in enumerate(rows) if len(row) != width), None)
    if short is not None:
        raise MetricError(
            f"row {short} of the labels has another number of columns",
            where=where,
            got=str(len(rows[short])),
            expected=str(width),
        )
    values = [number(row[column]) for row in rows]
    if not files:
        return Labels(where, values)
    return Labels(where, by_file=dict(zip((row[files[0]].strip() for row in rows), values, strict=True)))


def _json(data: Any, where: str) -> Labels:
    if isinstance(data, list):
        return Labels(where, data)
    if isinstance(data, dict) and {"images", "annotations"} <= data.keys():
        return Labels(where, coco=data)
    if isinstance(data, dict):
        key = label_key(list(data), where) if isinstance(next(iter(data.values()), None), list) else None
        return Labels(where, data[key]) if key is not None else Labels(where, by_file=data)
    raise MetricError(
        "the labels cannot be read",
        where=where,
        got=type(data).__name__,
        expected="a list, labels by file name, or COCO's annotations",
    )
