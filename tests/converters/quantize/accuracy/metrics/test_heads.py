"""The layouts of detectors' outputs: the same boxes come out of each."""

import numpy as np
import pytest

from converters.quantize.accuracy.metrics import open_metric
from converters.quantize.accuracy.metrics.heads import head_of
from device_agent.errors import InvalidRequest, MetricError

SIZE = (200, 100)  # width and height of the image, in pixels
IMAGE = ((1, 100, 200, 3),)
ANCHORS, CLASSES = 30, 3
RNG = np.random.default_rng(0)
CENTRES = RNG.uniform(0.2, 0.8, (ANCHORS, 2))
SIZES = RNG.uniform(0.05, 0.15, (ANCHORS, 2))
CORNERS = np.concatenate([CENTRES - SIZES / 2, CENTRES + SIZES / 2], axis=1)
XYWH = np.concatenate([CENTRES, SIZES], axis=1)
PIXELS = np.array([*SIZE, *SIZE])
SCORES = np.full((ANCHORS, CLASSES), 0.0005)  # nothing is found at most anchors
SCORES[3] = [0.9, 0.2, 0.0]
SCORES[7] = [0.0, 0.1, 0.7]
EXPECTED = sorted([(0.9, 0, 3), (0.2, 1, 3), (0.1, 1, 7), (0.7, 2, 7)])


def raw(boxes: np.ndarray, scores: np.ndarray = SCORES) -> np.ndarray:
    return np.concatenate([boxes, scores], axis=1)[None]


def check(found) -> None:
    got = sorted(zip(found.scores.tolist(), found.classes.tolist(), found.corners.tolist(), strict=True))
    assert [score for score, _, _ in EXPECTED] == pytest.approx([score for score, _, _ in got])
    assert [kind for _, kind, _ in EXPECTED] == [kind for _, kind, _ in got]
    for (_, _, anchor), (_, _, corners) in zip(EXPECTED, got, strict=True):
        assert CORNERS[anchor].tolist() == pytest.approx(corners)


@pytest.mark.parametrize("boxes", [CORNERS, XYWH, CORNERS * PIXELS, XYWH * PIXELS])
@pytest.mark.parametrize("transposed", [False, True])
def test_raw_tensors(model_of, boxes, transposed):
    """Corners or centre and size, shares or pixels, anchors first or last: told by the values."""
    array = raw(boxes)
    array = array.transpose(0, 2, 1) if transposed else array
    head = head_of(model_of(array.shape, inputs=IMAGE), None, None)
    check(head.found({"y0": array}, {"y0": array})[0])


def test_the_float_model_says_how_to_read(model_of):
    """What a quantised model has lost does not change how its outputs are read."""
    head = head_of(model_of((1, ANCHORS, 7), inputs=IMAGE), None, None)
    zeros = np.zeros((1, ANCHORS, 7))
    zeros[0, 3] = raw(XYWH * PIXELS)[0, 3]
    found = head.found({"y0": zeros}, {"y0": raw(XYWH * PIXELS)})[0]
    assert CORNERS[3].tolist() == pytest.approx(found.corners[0].tolist())


def test_logits(model_of):
    """Scores outside 0..1 go through a sigmoid."""
    array = raw(CORNERS, np.log(np.maximum(SCORES, 1e-9) / (1 - SCORES)))
    head = head_of(model_of(array.shape, inputs=IMAGE), None, None)
    check(head.found({"y0": array}, {"y0": array})[0])


def test_boxes_and_scores_apart(model_of):
    """A tensor of boxes and one of scores are one raw tensor."""
    head = head_of(model_of((1, ANCHORS, 4), (1, ANCHORS, CLASSES), inputs=IMAGE), None, None)
    outputs = {"y0": XYWH[None], "y1": SCORES[None]}
    check(head.found(outputs, outputs)[0])


@pytest.mark.parametrize("swapped", [False, True])
def test_final_boxes_apart(model_of, swapped):
    """Boxes, classes and scores as TFLite's operator gives them, y first, with a count; or swapped."""
    model = model_of((1, 10, 4), (1, 10), (1, 10), (1,), inputs=IMAGE)
    boxes, scores, classes = np.zeros((1, 10, 4)), np.zeros((1, 10)), np.zeros((1, 10))
    for place, (score, kind, anchor) in enumerate(reversed(EXPECTED)):
        boxes[0, place] = CORNERS[anchor][[1, 0, 3, 2]]
        scores[0, place], classes[0, place] = score, kind
    scores[0, 4] = 0.99  # past the count
    first, second = (scores, classes) if swapped else (classes, scores)
    outputs = {"y0": boxes, "y1": first, "y2": second, "y3": np.array([4.0])}
    check(head_of(model, None, None).found(outputs, outputs)[0])


def test_final_boxes_in_one(model_of):
    """Six values end in score and class where the last is a whole number, else in scores of two classes."""
    final = np.zeros((1, 10, 6))
    for place, (score, kind, anchor) in enumerate(EXPECTED):
        final[0, place] = [*(CORNERS[anchor] * PIXELS), score, kind]
    head = head_of(model_of(final.shape, inputs=IMAGE), None, None)
    check(head.found({"y0": final}, {"y0": final})[0])
    two = raw(XYWH, SCORES[:, 1:])
    found = head_of(model_of(two.shape, inputs=IMAGE), None, None).found({"y0": two}, {"y0": two})[0]
    assert [(0.1, 0), (0.2, 0), (0.7, 1)] == sorted(
        zip(found.scores.tolist(), found.classes.tolist(), strict=True)
    )


def test_the_order_can_be_said(model_of):
    """`map@xywh` reads boxes so, whatever their values look like."""
    metric = open_metric("map@xywh", model_of((1, ANCHORS, 7), inputs=IMAGE))
    found = metric.head.found({"y0": raw(CORNERS)}, {"y0": raw(CORNERS)})[0]
    x1, y1, x2, y2 = CORNERS[3]
    assert [x1 - x2 / 2, y1 - y2 / 2, x1 + x2 / 2, y1 + y2 / 2] == pytest.approx(found.corners[0].tolist())
    with pytest.raises(InvalidRequest, match=r"no such order.*zyx.*xyxy"):
        open_metric("map@zyx", model_of((1, ANCHORS, 7), inputs=IMAGE))


@pytest.mark.parametrize(
    "shapes", [((1, 10),), ((1, 7, 7),), ((1, 30, 7), (1, 40, 8)), ((1, 10, 4), (1, 10)), ((1, 3, 4, 5),)]
)
def test_layouts_that_are_not_understood(model_of, shapes):
    """What fits no layout, or several, is refused with those that are understood."""
    with pytest.raises(MetricError, match=r"does not understand.*\[N, K, 6\].*map:OUTPUT"):
        open_metric("map", model_of(*shapes, inputs=IMAGE))


def test_models_without_an_image(model_of):
    """Boxes need an image to lie in."""
    with pytest.raises(MetricError, match=r"input is an image.*\[1, 8\]"):
        open_metric("map", model_of((1, 30, 7)))


def test_classes_past_the_models(model_of):
    """A labelled class that the model does not have is named."""
    metric = open_metric("map", model_of((1, ANCHORS, 7), inputs=IMAGE))
    with pytest.raises(MetricError, match=r"class 3.*0 \.\. 2.*labels\.txt"):
        metric.observe({"y0": raw(XYWH)}, {"y0": raw(XYWH)}, {"boxes": [[0, 0, 1, 1]], "classes": [3]})
    kept = metric.observe({"y0": raw(XYWH)}, {"y0": raw(XYWH)}, [[20, 10, 40, 30, 1], [0, 0, 0, 0, -1]])
    assert [1] == kept[0].truths.tolist()
