"""What detectors give: the layouts of their outputs that are understood, and the boxes in them.

One tensor:
    [N, A, 4 + C] or [N, 4 + C, A]   raw: a box and C class scores for each of A anchors (YOLOv8 and later)
    [N, K, 6]                        final: x1, y1, x2, y2, score, class
Several tensors:
    [N, A, 4] and [N, A, C]          raw: boxes, scores
    [N, K, 4], two of [N, K]         final: boxes, classes, scores; with a count (one value a row), boxes are
                                     y1, x1, y2, x2, as of TFLite_Detection_PostProcess

Raw outputs go through non-maximum suppression. What shapes do not show is told by the float model's values:
whether a raw box is x1, y1, x2, y2 (it never ends before it begins) or centre and size; whether coordinates
are pixels (one exceeds 2) or shares of the image; whether scores are logits (some lie outside 0..1).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from attrs import frozen

from converters.quantize.accuracy.metrics.boxes import PIXELS, Boxes, detections, suppressed
from converters.quantize.accuracy.metrics.common import checked
from converters.quantize.accuracy.metrics.outputs import listed, named
from device_agent.errors import MetricError

if TYPE_CHECKING:
    from converters.model import Model
    from device_agent.bundle import TensorSpec

    Arrays = Mapping[str, np.ndarray]

ORDERS = ("xyxy", "xywh", "yxyx")  # xywh: of the centre
LEAST_SCORE = 0.001  # and these three as Ultralytics validates
OVERLAP = 0.7
FINAL = 6  # values of a box with its score and class
MOST = 100  # boxes per image, COCO's limit
MOST_CANDIDATES = 1000  # that suppression looks at, the most certain ones
HOW = "`--metric map:OUTPUT` names the output, `map@xyxy`, `map@xywh` or `map@yxyx` the order of a box."


@frozen
class Head:
    """How boxes lie in a detector's outputs.

    `kind` is `one`, `pair` or `final`; `names` are the outputs: the tensor; boxes and scores; boxes, the two
    [N, K] and perhaps the count. `classes` is None where the outputs do not show how many there are.
    `transposed` says that anchors come last. `order` is one of `ORDERS`, None: told by the values. `size` is
    the model's image, width and height in pixels.
    """

    kind: str
    names: tuple[str, ...]
    classes: int | None
    transposed: bool
    order: str | None
    size: tuple[int, int]

    def found(self, outputs: Arrays, reference: Arrays) -> list[Boxes]:
        """The boxes of each row of a batch; the reference's values say what shapes do not show."""
        if self.kind == "final":
            return self._final(outputs, reference)
        boxes, scores = self._raw(outputs)
        known_boxes, known_scores = self._raw(reference)
        if self.kind == "one" and scores.shape[2] == 2 and _is_final(known_scores):
            return [
                self._made(b, s[:, 0], s[:, 1], known_boxes, "xyxy")
                for b, s in zip(boxes, scores, strict=True)
            ]
        if known_scores.min() < -0.01 or known_scores.max() > 1.01:
            scores = 1 / (1 + np.exp(-np.clip(scores, -60, 60)))
        order = "xyxy" if _are_corners(known_boxes) else "xywh"
        return [self._suppressed(b, s, known_boxes, order) for b, s in zip(boxes, scores, strict=True)]

    def _raw(self, outputs: Arrays) -> tuple[np.ndarray, np.ndarray]:
        """Boxes and scores, float64[N, A, 4] and float64[N, A, C]."""
        values = [checked(outputs[name], name) for name in self.names]
        if len(values) == 2:
            return values[0], values[1]
        rows = values[0].transpose(0, 2, 1) if self.transposed else values[0]
        return rows[:, :, :4], rows[:, :, 4:]

    def _suppressed(self, boxes: np.ndarray, scores: np.ndarray, known: np.ndarray, order: str) -> Boxes:
        anchors, classes = np.nonzero(scores > LEAST_SCORE)
        certain = scores[anchors, classes]
        first = np.argsort(-certain, kind="stable")[:MOST_CANDIDATES]
        found = self._made(boxes[anchors[first]], certain[first], classes[first], known, order)
        return suppressed(found, OVERLAP, MOST)

    def _final(self, outputs: Arrays, reference: Arrays) -> list[Boxes]:
        known = checked(reference[self.names[0]], self.names[0])
        first, second = (checked(reference[name], name) for name in self.names[1:3])
        # the classes are whole numbers; where both are, they come first, as in TFLite_Detection_PostProcess
        swapped = (first != np.rint(first)).any() and (second == np.rint(second)).all()
        boxes, classes, scores = (checked(outputs[name], name) for name in self.names[:3])
        if swapped:
            classes, scores = scores, classes
        counts = [scores.shape[1]] * len(scores)
        if len(self.names) == 4:
            counts = np.rint(checked(outputs[self.names[3]], self.names[3])).astype(int).reshape(-1).tolist()
        order = "yxyx" if len(self.names) == 4 else "xyxy"
        return [
            self._made(b[:count], s[:count], c[:count], known, order)
            for b, s, c, count in zip(boxes, scores, classes, counts, strict=True)
        ]

    def _made(
        self, boxes: np.ndarray, scores: np.ndarray, classes: np.ndarray, known: np.ndarray, order: str
    ) -> Boxes:
        """The boxes that are certain enough, as shares of the image."""
        certain = scores > LEAST_SCORE
        boxes, scores, classes = boxes[certain], scores[certain], classes[certain]
        order = self.order or order
        if order == "xywh":
            boxes = np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], axis=1)
        elif order == "yxyx":
            boxes = boxes[:, [1, 0, 3, 2]]
        if known.size and known.max() > PIXELS:
            boxes = boxes / np.array([*self.size, *self.size])
        return detections(boxes, np.rint(classes).astype(np.int64), scores)


def head_of(model: Model, order: str | None, output: str | None) -> Head:
    """How boxes lie in a model's outputs.

    Raises:
        MetricError: the outputs have none of the layouts that are understood, or more than one fits.
        InvalidRequest: the model has no output of that name.
    """
    specs = [named(model, output)] if output is not None else list(model.outputs)
    size = _image(model)
    boxes = [spec for spec in specs if len(spec.shape) == 3 and spec.shape[2] == 4]
    if len(boxes) == 1 and len(specs) > 1:
        return _of_several(model, boxes[0], specs, order, size)
    threes = [spec for spec in specs if len(spec.shape) == 3]
    tensors = [spec for spec in threes if min(spec.shape[1:]) >= 5 or spec.shape[2] == FINAL]
    if len(tensors) != 1:
        raise _not_understood(model, specs)
    _, first, last = tensors[0].shape
    if last == FINAL:  # two classes, or score and class: the values tell
        return Head("one", (tensors[0].name,), None, False, order, size)
    if first == last:
        raise _not_understood(model, tensors)
    # there are more anchors than values for each
    return Head("one", (tensors[0].name,), min(first, last) - 4, first < last, order, size)


def _of_several(
    model: Model, boxes: TensorSpec, specs: Sequence[TensorSpec], order: str | None, size: tuple[int, int]
) -> Head:
    batch, count, _ = boxes.shape
    others = [spec for spec in specs if spec is not boxes]
    scores = [spec for spec in others if len(spec.shape) == 3 and spec.shape[:2] == (batch, count)]
    if len(scores) == 1:
        return Head("pair", (boxes.name, scores[0].name), scores[0].shape[2], False, order, size)
    pairs = [spec for spec in others if spec.shape == (batch, count)]
    counts = [spec for spec in others if spec.shape in ((batch,), (batch, 1)) and spec not in pairs]
    if len(pairs) != 2 or len(counts) > 1:
        raise _not_understood(model, specs)
    names = (boxes.name, *(spec.name for spec in (*pairs, *counts)))
    return Head("final", names, None, False, order, size)


def _image(model: Model) -> tuple[int, int]:
    """Width and height of the model's image, in pixels."""
    images = [spec for spec in model.inputs if len(spec.shape) == 4]
    if len(images) != 1:
        raise MetricError(
            "map needs a model whose input is an image",
            where=model.path.name,
            got=listed(model.inputs),
            expected="one input [N, H, W, C] or [N, C, H, W]",
        )
    _, first, second, third = images[0].shape
    channels_last = images[0].layout == "NHWC" if images[0].layout is not None else first not in (1, 3)
    return (second, first) if channels_last else (third, second)


def _is_final(scores: np.ndarray) -> bool:
    """Whether the two values after a box are score and class, not the scores of two classes."""
    return bool((scores[..., 1] == np.rint(scores[..., 1])).all()) and bool(
        ((scores[..., 0] >= 0) & (scores[..., 0] <= 1)).all()
    )


def _are_corners(boxes: np.ndarray) -> bool:
    """Whether the last two of four values lie after the first two, in all boxes but a few."""
    return bool((boxes[..., 2:] >= boxes[..., :2]).all(axis=-1).mean() >= 0.99)


def _not_understood(model: Model, specs: Sequence[TensorSpec]) -> MetricError:
    return MetricError(
        "map does not understand the model's outputs",
        where=model.path.name,
        got=listed(specs),
        expected="[N, anchors, 4 + classes] or its transpose, [N, K, 6], or boxes, classes, scores and count",
        next_step=f"{HOW} `--metric module:function` takes your own measure.",
    )
