"""Annotations in COCO's format as labels of a detector: boxes in the image as the model sees it.

https://cocodataset.org/#format-data
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from converters.quantize.samples.labels import index_of, shown
from device_agent.errors import MetricError

if TYPE_CHECKING:
    from device_agent.bundle import Preprocessing


def labels_by_file(
    data: Mapping[str, Any], how: Preprocessing, names: Sequence[str] | None, where: str
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The label of every image that the annotations name, and a note of how classes were numbered.

    Args:
        data: the annotation file: `images`, `annotations`, `categories`.
        how: how images become the model's input; boxes are cropped with them.
        names: the classes in the order of the model's scores. Without them, the categories in the order of
            their ids are classes 0, 1, 2 and so on.
        where: for error texts.

    Returns:
        file name -> `{"boxes": [[x1, y1, x2, y2], ...], "classes": [...], "crowd": [...]}`, as shares of
        the model's image.

    Raises:
        MetricError: a part is missing or does not fit the rest.
    """
    try:
        categories = {int(one["id"]): str(one["name"]) for one in data["categories"]}
        images = {one["id"]: one for one in data["images"]}
        found: dict[str, Any] = {
            str(one["file_name"]): {"boxes": [], "classes": [], "crowd": []} for one in images.values()
        }
        numbers = _numbers(categories, names, where)
        for one in data["annotations"]:
            image = images[one["image_id"]]
            x, y, width, height = map(float, one["bbox"])
            box = _seen((x, y, x + width, y + height), (image["width"], image["height"]), how)
            if box is not None:
                label = found[str(image["file_name"])]
                label["boxes"].append(box)
                label["classes"].append(numbers[int(one["category_id"])])
                label["crowd"].append(bool(one.get("iscrowd", 0)))
    except (KeyError, TypeError, ValueError) as e:
        raise MetricError(
            "the annotations are not COCO's",
            where=where,
            got=repr(e),
            expected=(
                "images (id, file_name, width, height), annotations (image_id, category_id, bbox), categories"
            ),
        ) from e
    ordered = [
        f"{number} {categories[key]}" for key, number in sorted(numbers.items(), key=lambda pair: pair[1])
    ]
    return found, (f"classes of the annotations: {shown(ordered)}",)


def _numbers(categories: Mapping[int, str], names: Sequence[str] | None, where: str) -> dict[int, int]:
    if names is None:
        return {key: index for index, key in enumerate(sorted(categories))}
    return {key: index_of(name, names, where) for key, name in categories.items()}


def _seen(
    box: tuple[float, float, float, float], size: tuple[int, int], how: Preprocessing
) -> tuple[float, float, float, float] | None:
    """A box in pixels of the image as shares of what the model sees; None where it is not in sight.

    `crop` fills the model's image and cuts what sticks out on both sides, as `preprocessing.decode` does.
    """
    width, height = size
    if width <= 0 or height <= 0:
        raise ValueError(f"an image of {width} x {height} pixels")
    kept_x = kept_y = 1.0
    if how.resize == "crop":
        ratio = (how.width / how.height) / (width / height)
        kept_x, kept_y = min(1.0, ratio), min(1.0, 1 / ratio)
    left, top = (1 - kept_x) / 2, (1 - kept_y) / 2

    def share(value: float, whole: int, start: float, kept: float) -> float:
        return min(1.0, max(0.0, (value / whole - start) / kept))

    x1, x2 = (share(value, width, left, kept_x) for value in (box[0], box[2]))
    y1, y2 = (share(value, height, top, kept_y) for value in (box[1], box[3]))
    return (x1, y1, x2, y2) if x2 > x1 and y2 > y1 else None
