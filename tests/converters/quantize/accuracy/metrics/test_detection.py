"""Mean average precision, against cases worked out by hand and a plain implementation."""

from fractions import Fraction

import numpy as np
import pytest

from converters.quantize.accuracy.metrics import open_metric
from converters.quantize.accuracy.metrics.boxes import Boxes, detections, overlaps, suppressed
from converters.quantize.accuracy.metrics.detection import IGNORED, RIGHT, THRESHOLDS, WRONG, matched
from device_agent.errors import MetricError

A, B = [0.0, 0.0, 0.4, 0.4], [0.5, 0.5, 1.0, 1.0]
FAR = [0.6, 0.0, 0.9, 0.3]


def row(*found) -> dict[str, np.ndarray]:
    """Final boxes (x1, y1, x2, y2, score, class), filled up to 40 with boxes of score 0."""
    array = np.zeros((1, 40, 6))
    array[0, : len(found)] = np.array(found).reshape(-1, 6)
    return {"y0": array}


def value(metric, *images) -> float:
    kept = [metric.observe(outputs, outputs, label) for outputs, label in images]
    return metric.value(kept)


@pytest.fixture
def metric(model_of):
    return open_metric("map", model_of((1, 40, 6), inputs=((1, 100, 200, 3),)))


def label(boxes, classes):
    return {"boxes": boxes, "classes": classes}


def test_worked_out_by_hand(metric):
    """All found; half found; a wrong one before and behind; too little overlap for some thresholds."""
    both = label([A, B], [0, 0])
    assert 100 == pytest.approx(value(metric, (row([*A, 0.9, 0], [*B, 0.8, 0]), both)))
    # one of two: recall 0.5 at precision 1 holds 51 of the 101 points
    assert 100 * 51 / 101 == pytest.approx(value(metric, (row([*A, 0.9, 0]), both)))
    # a wrong one in front: precisions 0, 1/2, 2/3, made monotonic: 2/3 throughout
    wrong_first = row([*FAR, 0.95, 0], [*A, 0.9, 0], [*B, 0.8, 0])
    assert 100 * 2 / 3 == pytest.approx(value(metric, (wrong_first, both)))
    assert 100 == pytest.approx(value(metric, (row([*A, 0.9, 0], [*B, 0.8, 0], [*FAR, 0.1, 0]), both)))
    # a second box on the same thing is wrong
    twice = row([*A, 0.9, 0], [*A, 0.8, 0], [*B, 0.7, 0])
    assert 100 * (51 + 50 * 2 / 3) / 101 == pytest.approx(value(metric, (twice, both)))
    # an overlap of 0.7 counts for the thresholds 0.5, 0.55, 0.6, 0.65 and 0.7
    assert 50 == pytest.approx(value(metric, (row([0.0, 0.0, 0.4, 0.28, 0.9, 0]), label([A], [0]))))


def test_classes_are_apart(metric):
    """The mean is over classes with true boxes; a class found without any changes nothing."""
    truth = label([A, B], [0, 3])
    assert 50 == pytest.approx(value(metric, (row([*A, 0.9, 0], [*B, 0.8, 2]), truth)))
    assert 0 == value(metric, (row([*A, 0.9, 1]), truth))
    assert 0 == value(metric, (row(), truth))


def test_at_most_a_hundred_boxes():
    """The hundred most certain boxes of an image count, as COCO has it."""
    found = detections(np.tile(FAR, (130, 1)), np.zeros(130, int), np.linspace(0.9, 0.1, 130))
    kept = matched(found, Boxes(np.array([A]), np.zeros(1, int), np.ones(1), np.zeros(1, bool)), (0.5,))
    assert (100, (1, 100)) == (len(kept.scores), kept.hits.shape)


def test_crowds():
    """A box in a crowd is neither right nor wrong."""
    truth = Boxes(np.array([[0, 0, 1, 1.0], A]), np.zeros(2, int), np.ones(2), np.array([True, False]))
    found = detections(np.array([A, FAR, [0.9, 0.9, 1.8, 1.8]]), np.zeros(3, int), np.array([0.9, 0.8, 0.7]))
    kept = matched(found, truth, (0.5,))
    assert [[RIGHT, IGNORED, WRONG]] == kept.hits.tolist()
    assert [0] == kept.truths.tolist()


def test_ignored_boxes_change_nothing(metric):
    """A certain box in a crowd is as if it were not there; the same box without the crowd is wrong."""
    found = row([*FAR, 0.95, 0], [*A, 0.9, 0], [*B, 0.8, 0])
    crowd = {"boxes": [A, B, [0.5, 0.0, 1.0, 0.4]], "classes": [0, 0, 0], "crowd": [False, False, True]}
    assert 100 == pytest.approx(value(metric, (found, crowd)))
    assert 100 * 2 / 3 == pytest.approx(value(metric, (found, label([A, B], [0, 0]))))


def plain(images) -> float:
    """COCO's definition once more, slowly: exact fractions, one box and threshold at a time."""
    kinds = sorted({kind for _, (_, classes) in images for kind in classes})
    areas = []
    for kind in kinds:
        for threshold in THRESHOLDS:
            marks = []
            total = 0
            for found, (boxes, classes) in images:
                true = [box for box, one in zip(boxes, classes, strict=True) if one == kind]
                total += len(true)
                taken = set()
                for one in sorted((one for one in found if one[5] == kind), key=lambda one: -one[4]):
                    best, most = None, threshold - 1e-9
                    for index, box in enumerate(true):
                        width = min(one[2], box[2]) - max(one[0], box[0])
                        height = min(one[3], box[3]) - max(one[1], box[1])
                        shared = max(width, 0) * max(height, 0)
                        union = (one[2] - one[0]) * (one[3] - one[1])
                        union += (box[2] - box[0]) * (box[3] - box[1]) - shared
                        if index not in taken and shared / union >= most:
                            best, most = index, shared / union
                    taken.add(best)
                    marks.append((-one[4], best is not None))
            marks.sort(key=lambda mark: mark[0])
            points = []
            right = 0
            for number, (_, good) in enumerate(marks, 1):
                right += good
                points.append((Fraction(right, total), Fraction(right, number)))
            steps = [Fraction(step, 100) for step in range(101)]
            areas.append(
                sum(max((p for r, p in points if r >= step), default=Fraction(0)) for step in steps) / 101
            )
    return 100 * float(sum(areas) / len(areas))


def random_images(seed: int, count: int):
    rng = np.random.default_rng(seed)
    images = []
    for _ in range(count):
        size = rng.integers(0, 5)
        corners = rng.uniform(0, 0.6, (size, 2))
        boxes = np.concatenate([corners, corners + rng.uniform(0.1, 0.4, (size, 2))], axis=1)
        classes = rng.integers(0, 3, size)
        near = np.repeat(boxes, 2, axis=0) + rng.normal(0, 0.03, (2 * size, 4))
        scores = rng.uniform(0.01, 1, 2 * size)
        kinds = np.where(rng.random(2 * size) < 0.8, np.repeat(classes, 2), rng.integers(0, 3, 2 * size))
        found = np.concatenate([near, scores[:, None], kinds[:, None]], axis=1)
        images.append((found, (boxes, classes)))
    return images


@pytest.mark.parametrize("seed", range(3))
def test_against_a_plain_implementation(metric, seed):
    """Random boxes, several classes and images: the same value; resamples have that of repeated samples."""
    images = random_images(seed, 8)
    outputs = [row(*found) for found, _ in images]
    kept = [
        metric.observe(one, one, label(boxes, classes))
        for one, (_, (boxes, classes)) in zip(outputs, images, strict=True)
    ]
    assert plain(images) == pytest.approx(metric.value(kept))
    picks = np.random.default_rng(seed).integers(0, 8, (3, 8))
    counts = np.stack([np.bincount(pick, minlength=8) for pick in picks])
    repeated = [metric.value([kept[index] for index in pick]) for pick in picks]
    assert repeated == pytest.approx(metric.resampled(kept, counts).tolist())


def test_overlaps_and_suppression():
    """Boxes of one class that overlap more than allowed are one, the most certain; classes stay apart."""
    shifted = [0.04, 0.0, 0.44, 0.4]
    assert [[1.0, 0.36 / 0.44]] == pytest.approx(overlaps(np.array([A]), np.array([A, shifted])))
    boxes = np.array([shifted, A, A, B])
    found = detections(boxes, np.array([0, 0, 1, 0]), np.array([0.5, 0.9, 0.4, 0.3]))
    kept = suppressed(found, 0.7, 10)
    assert [0.9, 0.4, 0.3] == kept.scores.tolist()
    assert 1 == len(suppressed(found, 0.7, 1).scores)


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (label([A], [0, 1]), "no boxes"),
        (label([[0.5, 0, 0.1, 1]], [0]), "ends before it begins"),
        ({"boxes": [A]}, "no boxes.*COCO"),
        (3, "no boxes"),
        ("cat", "no boxes"),
        (label([A], [0.5]), "no boxes"),
    ],
)
def test_labels_that_are_no_boxes(metric, bad, words):
    """What is no box is named and the form of one shown."""
    with pytest.raises(MetricError, match=words):
        metric.observe(row(), row(), bad)


def test_no_true_boxes(metric):
    """Without a true box in all samples there is no precision."""
    with pytest.raises(MetricError, match="map needs true boxes: got none in 1 samples"):
        value(metric, (row([*A, 0.9, 0]), label([], [])))
