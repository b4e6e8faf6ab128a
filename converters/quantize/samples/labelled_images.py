"""Validation samples from a folder of images, labelled by subfolder, file name or COCO's annotations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import evolve

from converters.quantize.accuracy.metrics.outputs import batch_of, classes_of, scores
from converters.quantize.samples.calibration import checked
from converters.quantize.samples.coco import labels_by_file
from converters.quantize.samples.labels import (
    CLASSES_FILE,
    Labels,
    class_names,
    classes_of_folders,
    index_of,
    shown,
)
from converters.quantize.samples.preprocessing import decode, described, images_in
from converters.quantize.samples.sources import Source
from converters.quantize.samples.validation import KIND, Validation, evenly, grouped, refusing, spread_note
from device_agent.bundle import Preprocessing
from device_agent.errors import EdgeError, MetricError

if TYPE_CHECKING:
    import numpy as np

    from converters.model import Model


def load(
    folder: Path, model: Model, given: Labels | None, preprocessing: Path | None, limit: int
) -> Validation:
    """The images of a folder, decoded one at a time on every pass, with their labels.

    Where no labels are given and every image lies in one of several subfolders, those are the classes.

    Raises:
        CalibrationError: no images, no description of how they become inputs, or one that cannot be read.
        MetricError: labels were given that do not fit the images.
    """
    how = described(folder, model, preprocessing)
    images = images_in(folder)
    per = batch_of(model)
    samples = evenly(len(images) // per, limit)
    spec = model.inputs[0]

    def items() -> Iterator[Mapping[str, np.ndarray]]:
        for index in samples:
            for image in images[index * per : (index + 1) * per]:
                yield {spec.name: decode(image, how, spec.dtype)[None]}

    where = f"images in {folder}"
    labels: Callable[[], Iterator[Any]] | None = None
    notes: tuple[str, ...] = ()
    if given is not None:
        values, notes = _given(folder, images, given, how)
        labels = grouped(values, samples, per)
    elif folders := _class_folders(folder, images):
        try:
            values, notes = _by_folder(folder, images, folders, _classes(model))
            labels = grouped(values, samples, per)
        except MetricError as e:
            labels = refusing(e)
    found = checked(Source(where, items), model, limit + 1, kind=KIND)
    notes = found.notes + notes + spread_note(len(images) // per, limit)
    return Validation(evolve(found, notes=notes), labels, where, found.count, notes)


def _given(
    folder: Path, images: Sequence[Path], given: Labels, how: Preprocessing
) -> tuple[Sequence[Any], tuple[str, ...]]:
    """The label of every image, from a file of them."""
    names = class_names(folder)
    if given.values is not None:
        if len(given.values) != len(images):
            raise MetricError(
                "the labels do not match the images",
                where=given.where,
                got=f"{len(given.values)} labels",
                expected=f"{len(images)}, one for each",
                next_step="Labels by file name are safer: a .csv with columns `file` and `label`.",
            )
        note = f"labels are given in the order of the file names, from {images[0].name} to {images[-1].name}"
        return [_class(value, names, given.where) for value in given.values], (note,)
    notes: tuple[str, ...] = ()
    by_file = given.by_file or {}
    if given.coco is not None:
        by_file, notes = labels_by_file(given.coco, how, names, given.where)
    keys = [_key(image, folder, by_file) for image in images]
    missing = [str(image.relative_to(folder)) for image, key in zip(images, keys, strict=True) if key is None]
    if missing:
        raise MetricError(
            f"{len(missing)} of {len(images)} images have no label",
            where=given.where,
            got=shown(missing),
            expected="a label for every image in the folder",
        )
    if len(by_file) > len(images):
        notes += (f"{len(by_file) - len(images)} labels are of images that are not in the folder",)
    return [_class(by_file[key], names, given.where) for key in keys if key is not None], notes


def _key(image: Path, folder: Path, by_file: Mapping[str, Any]) -> str | None:
    """What labels call an image: its path in the folder, its name, or its name without ending."""
    known = (image.relative_to(folder).as_posix(), image.name, image.stem)
    return next((name for name in known if name in by_file), None)


def _class(value: Any, names: Sequence[str] | None, where: str) -> Any:
    """A label, as an index where it names a class."""
    return index_of(value, names, where) if names is not None and isinstance(value, str) else value


def _class_folders(folder: Path, images: Sequence[Path]) -> list[str]:
    """The subfolders, where each image lies in one and there are several; else none."""
    parts = [image.relative_to(folder).parts for image in images]
    found = sorted({part[0] for part in parts})
    return found if len(found) > 1 and all(len(part) > 1 for part in parts) else []


def _by_folder(
    folder: Path, images: Sequence[Path], folders: Sequence[str], classes: int | None
) -> tuple[list[int], tuple[str, ...]]:
    """The class of every image by its subfolder, and a note that says which is which."""
    names = class_names(folder)
    numbers = classes_of_folders(folders, names, classes, str(folder))
    ordered = sorted(numbers, key=lambda name: numbers[name])
    by = f"as {CLASSES_FILE} says" if names is not None else "by their folders' names"
    note = f"classes, {by}: {shown([f'{numbers[name]} {name}' for name in ordered])}"
    return [numbers[image.relative_to(folder).parts[0]] for image in images], (note,)


def _classes(model: Model) -> int | None:
    """How many classes the model has, None where its outputs do not show it."""
    try:
        return max(2, classes_of(scores(model, "top1", None, least=1)))
    except EdgeError:  # no class scores, or several outputs of them: nothing to compare with
        return None
