"""Boxes: how much they overlap, which of them say the same, and in what form labels give them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from attrs import field, frozen

from device_agent.errors import MetricError

PIXELS = 2.0  # coordinates above this are pixels, not shares of the image


@frozen
class Boxes:
    """Boxes with their classes, of one image.

    `corners` is float64[D, 4]: x1, y1, x2, y2 as shares (0..1) of the model's image; `classes` int64[D].
    `scores` is float64[D], ones for labels; `crowd` is bool[D]: regions where detections count neither as
    right nor as wrong, labels only.
    """

    corners: np.ndarray = field(repr=False)
    classes: np.ndarray = field(repr=False)
    scores: np.ndarray = field(repr=False)
    crowd: np.ndarray = field(repr=False)


def detections(corners: np.ndarray, classes: np.ndarray, scores: np.ndarray) -> Boxes:
    """What a detector found."""
    return Boxes(corners, classes, scores, np.zeros(len(scores), bool))


def overlaps(boxes: np.ndarray, others: np.ndarray, *, of_first: bool = False) -> np.ndarray:
    """Intersection over union of every box with every other: float64[D, 4], float64[G, 4] -> float64[D, G].

    With `of_first`, intersection over the first box's own area, as COCO compares with crowds.
    """
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    first = np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(axis=1)[:, None]
    second = np.clip(others[:, 2:] - others[:, :2], 0, None).prod(axis=1)[None, :]
    whole = first + 0 * second if of_first else first + second - shared
    shares: np.ndarray = np.divide(shared, whole, out=np.zeros_like(shared), where=whole > 0)
    return shares


def suppressed(found: Boxes, overlap: float, most: int) -> Boxes:
    """Greedy non-maximum suppression within each class, the most certain boxes first; at most so many."""
    order = np.argsort(-found.scores, kind="stable")
    # boxes of different classes are moved apart, so that they never overlap
    moved = (found.corners + 4.0 * found.classes[:, None])[order]
    x1, y1, x2, y2 = np.ascontiguousarray(moved.T)
    areas = np.maximum(x2 - x1, 0) * np.maximum(y2 - y1, 0)
    kept: list[int] = []
    left = np.arange(len(order))
    while len(left) and len(kept) < most:
        best, left = left[0], left[1:]
        kept.append(int(order[best]))
        width = np.minimum(x2[best], x2[left]) - np.maximum(x1[best], x1[left])
        height = np.minimum(y2[best], y2[left]) - np.maximum(y1[best], y1[left])
        shared = np.maximum(width, 0) * np.maximum(height, 0)
        left = left[shared <= overlap * (areas[best] + areas[left] - shared)]
    return detections(found.corners[kept], found.classes[kept], found.scores[kept])


def labelled(label: Any, size: tuple[int, int], classes: int | None) -> Boxes:
    """The true boxes of one image.

    Args:
        label: `{"boxes": [G, 4], "classes": [G]}`, perhaps with `"crowd": [G]`, or an array [G, 5] of
            x1, y1, x2, y2, class, where rows of a negative class only fill up. Coordinates are 0..1, or
            pixels of the model's image where one exceeds 2.
        size: the model's image, width and height in pixels.
        classes: how many the model knows, None where its outputs do not show it.

    Raises:
        MetricError: the label is of another form, or holds a class that the model does not have.
    """
    try:
        if isinstance(label, Mapping):
            corners = np.asarray(label["boxes"], np.float64).reshape(-1, 4)
            kinds = np.asarray(label["classes"], np.float64).reshape(-1)
            crowd = np.asarray(label.get("crowd", np.zeros(len(kinds))), bool).reshape(-1)
        else:
            rows = np.asarray(label, np.float64).reshape(-1, 5)
            rows = rows[rows[:, 4] >= 0]
            corners, kinds, crowd = rows[:, :4], rows[:, 4], np.zeros(len(rows), bool)
    except (KeyError, ValueError, TypeError) as e:
        raise _no_boxes(label) from e
    if not len(corners) == len(kinds) == len(crowd) or not np.isfinite(corners).all():
        raise _no_boxes(label)
    if (kinds != np.rint(kinds)).any() or (kinds < 0).any():
        raise _no_boxes(label)
    if classes is not None and kinds.max(initial=0) >= classes:
        raise MetricError(
            "the label is past the model's classes",
            got=f"class {kinds.max():g}",
            expected=f"0 .. {classes - 1}, as the model has {classes} classes",
            next_step="Classes count from 0; a labels.txt names them in the model's order.",
        )
    if (corners[:, 2:] < corners[:, :2]).any():
        raise MetricError(
            "a labelled box ends before it begins",
            got=str(corners[(corners[:, 2:] < corners[:, :2]).any(axis=1)][0].tolist()),
            expected="x1, y1, x2, y2 with x1 <= x2 and y1 <= y2",
        )
    if corners.size and corners.max() > PIXELS:
        corners = corners / np.array([*size, *size])
    return Boxes(corners, kinds.astype(np.int64), np.ones(len(kinds)), crowd)


def _no_boxes(label: Any) -> MetricError:
    return MetricError(
        "the label holds no boxes",
        got=repr(label)[:100],
        expected='{"boxes": [[x1, y1, x2, y2], ...], "classes": [0, ...]} or rows x1, y1, x2, y2, class',
        next_step="`--labels annotations.json` takes COCO's format.",
    )
