"""Mean average precision of detectors, as COCO defines it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import define, field, frozen

from converters.quantize.accuracy.metrics.boxes import Boxes, labelled, overlaps
from converters.quantize.accuracy.metrics.common import Common
from converters.quantize.accuracy.metrics.heads import MOST, ORDERS, Head, head_of
from device_agent.errors import InvalidRequest, MetricError

if TYPE_CHECKING:
    from converters.model import Model

    Arrays = Mapping[str, np.ndarray]

THRESHOLDS = tuple(0.5 + 0.05 * step for step in range(10))
_EPSILON = 1e-9  # so that an overlap of 0.85 reaches the threshold 0.85
RIGHT, WRONG, IGNORED = 1, 0, -1


@frozen
class Found:
    """What is kept of one image.

    `hits` is int8[T, D]: for each overlap asked for, whether each box is `RIGHT`, `WRONG` or `IGNORED`;
    `truths` int64[G] the classes of the true boxes, crowds left out.
    """

    scores: np.ndarray = field(repr=False)
    classes: np.ndarray = field(repr=False)
    hits: np.ndarray = field(repr=False)
    truths: np.ndarray = field(repr=False)


@define(kw_only=True)
class MeanAveragePrecision(Common):
    """The mean over classes and overlaps of the area under precision against recall, in points.

    101 points of recall, precision made monotonic, as COCO evaluates (https://cocodataset.org/#detection-eval;
    all sizes of boxes, at most 100 of them per image). `map` goes over overlaps of 0.5 to 0.95, `map50` has
    0.5 alone. Classes without true boxes do not count.
    """

    head: Head
    thresholds: tuple[float, ...]
    resamples: int = 1000  # each takes up to some milliseconds

    def observe(self, outputs: Arrays, reference: Arrays, label: Any) -> tuple[Found, ...]:
        """Boxes and whether they are right, for each row of the batch."""
        rows = self.head.found(outputs, reference)
        labels = [label] if len(rows) == 1 and _is_one(label) else list(label)
        if len(labels) != len(rows):
            raise MetricError(
                "the label does not match the sample", got=f"{len(labels)} labels", expected=f"{len(rows)}"
            )
        truths = [labelled(one, self.head.size, self.head.classes) for one in labels]
        return tuple(matched(row, truth, self.thresholds) for row, truth in zip(rows, truths, strict=True))

    def value(self, kept: Sequence[Any]) -> float:
        """The mean average precision, in points; MetricError where no sample has a true box."""
        found = float(self.resampled(kept, np.ones((1, len(kept)), np.int64))[0])
        if np.isnan(found):
            raise MetricError(f"{self.name} needs true boxes", got=f"none in {len(kept)} samples")
        return found

    def resampled(self, kept: Sequence[Any], counts: np.ndarray) -> np.ndarray:
        """The value in each resample, NaN where one has no true boxes: see `Resampled`."""
        sample = np.repeat(np.arange(len(kept)), [len(rows) for rows in kept])
        images = [image for rows in kept for image in rows]
        if not sum(len(image.truths) for image in images):
            return np.full(len(counts), np.nan)
        curves = _Curves.of(images)
        return np.array([curves.value(row[sample]) for row in counts])


def open_map(name: str, model: Model, how: str | None, output: str | None) -> MeanAveragePrecision:
    """`map` or `map50` of a detector.

    Raises:
        InvalidRequest: `how` is no order of a box, or the model has no output of that name.
        MetricError: the model's outputs are in no layout that is understood.
    """
    if how is not None and how not in ORDERS:
        raise InvalidRequest(f"{name} has no such order of a box", got=how, expected=" or ".join(ORDERS))
    thresholds = THRESHOLDS[:1] if name == "map50" else THRESHOLDS
    return MeanAveragePrecision(name=name, head=head_of(model, how, output), thresholds=thresholds)


def matched(found: Boxes, truth: Boxes, thresholds: Sequence[float]) -> Found:
    """Each box of one image is right where it overlaps a true one of its class that is not taken yet.

    The most certain boxes choose first, each the true box that it overlaps most. A box that is not right
    but lies in a crowd is ignored.
    """
    order = np.argsort(-found.scores, kind="stable")[:MOST]
    hits = np.full((len(thresholds), len(order)), WRONG, np.int8)
    places = np.arange(len(order))
    for kind in np.unique(truth.classes):
        mine = places[found.classes[order] == kind]
        boxes = found.corners[order[mine]]
        true = truth.corners[(truth.classes == kind) & ~truth.crowd]
        crowds = truth.corners[(truth.classes == kind) & truth.crowd]
        shared = overlaps(boxes, true)
        crowded = overlaps(boxes, crowds, of_first=True).max(axis=1, initial=0.0)
        for row, threshold in zip(hits, thresholds, strict=True):
            free = shared.copy()
            for place, box in enumerate(mine):
                best = int(free[place].argmax()) if free.shape[1] else -1
                if best >= 0 and free[place, best] >= threshold - _EPSILON:
                    row[box] = RIGHT
                    free[:, best] = -1.0
                elif crowded[place] >= threshold - _EPSILON:
                    row[box] = IGNORED
    return Found(
        found.scores[order].astype(np.float32), found.classes[order], hits, truth.classes[~truth.crowd]
    )


@frozen
class _Curves:
    """Right boxes by overlap, class and score, and what lies before each: all that a value is computed from.

    Precision is greatest where a box is right, so no other point of a curve matters. A group is one overlap
    and class. `image` int64[D] is where each box is from, by class and score; of the R right ones, `box` is
    the place among those, `first` where its class begins there, `group` the group's number; `ignored_before`
    is how many of `ignored` (places too, by overlap) lie before it and `ignored_first` before its group.
    `starts` is where each group begins among the R, `owner` its class; `truths` int64[images, classes].
    """

    image: np.ndarray
    box: np.ndarray
    first: np.ndarray
    ignored: np.ndarray
    ignored_before: np.ndarray
    ignored_first: np.ndarray
    group: np.ndarray
    starts: np.ndarray
    owner: np.ndarray
    truths: np.ndarray
    overlaps: int

    @classmethod
    def of(cls, images: Sequence[Found]) -> _Curves:
        """From what was kept of each image."""
        kinds = np.unique(np.concatenate([one.truths for one in images]))
        truths = np.stack([(one.truths[:, None] == kinds).sum(axis=0) for one in images])
        image = np.repeat(np.arange(len(images)), [len(one.scores) for one in images])
        scores = np.concatenate([one.scores for one in images])
        classes = np.concatenate([one.classes for one in images])
        order = np.lexsort((-scores, classes))
        hits = np.concatenate([one.hits for one in images], axis=1)[:, order]
        classes = classes[order]
        overlap, box = np.nonzero(hits == RIGHT)
        kind = np.searchsorted(kinds, classes[box])
        first = np.searchsorted(classes, classes[box])
        numbers = overlap * len(kinds) + kind  # ascending, as `nonzero` goes row by row
        starts = np.flatnonzero(np.diff(numbers, prepend=-1))
        at, ignored = np.nonzero(hits == IGNORED)
        places = at * len(order) + ignored
        return cls(
            image=image[order],
            box=box,
            first=first,
            ignored=ignored,
            ignored_before=np.searchsorted(places, overlap * len(order) + box),
            ignored_first=np.searchsorted(places, overlap * len(order) + first),
            group=np.cumsum(np.diff(numbers, prepend=-1) != 0) - 1,
            starts=starts,
            owner=kind[starts],
            truths=truths,
            overlaps=len(hits),
        )

    def value(self, weights: np.ndarray) -> float:
        """The mean average precision where image i counts `weights[i]` times; NaN without true boxes."""
        truths = weights @ self.truths
        present = truths > 0
        if not present.any():
            return float("nan")
        if not len(self.box):
            return 0.0
        weight = weights[self.image]
        seen, passed = _before(weight), _before(weight[self.ignored])
        total = seen[self.box + 1] - seen[self.first]
        total -= passed[self.ignored_before] - passed[self.ignored_first]
        counted = _before(weight[self.box])
        right = counted[1:] - counted[self.starts][self.group]
        precision = right / np.maximum(total, 1)
        # the greatest precision from here on, within a group: later groups are kept below by a lift
        lift = 2.0 * (self.group[-1] - self.group)
        precision = np.maximum.accumulate((precision + lift)[::-1])[::-1] - lift
        # of the 101 points 0, 0.01, .. 1 of recall, how many are reached with this box and not before
        reached = np.where(right > 0, 100 * right // np.maximum(truths[self.owner], 1)[self.group] + 1, 0)
        new = np.diff(reached, prepend=0)
        new[self.starts] = reached[self.starts]
        areas = np.add.reduceat(precision * new, self.starts)
        return 100 * float(areas[present[self.owner]].sum() / (101 * self.overlaps * present.sum()))


def _before(weights: np.ndarray) -> np.ndarray:
    """The sum of all weights before each, and behind the last that of all."""
    return np.concatenate([[0], np.cumsum(weights)])


def _is_one(label: Any) -> bool:
    """Whether this is the label of one image, not a list of such."""
    if isinstance(label, Mapping):
        return True
    try:
        return np.ndim(label) in (0, 2) or np.size(label) == 0
    except ValueError:  # a list of labels of different lengths
        return False
