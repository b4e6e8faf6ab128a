"""Top-k and agreement: which row is right, and which labels are none."""

import numpy as np
import pytest

from converters.quantize.accuracy.metrics import open_metric
from device_agent.errors import InvalidRequest, MetricError

SCORES = np.array([[0.1, 0.5, 0.2, 0.5, 0.0, 0.3, 0.4]])


@pytest.mark.parametrize(
    ("name", "label", "right"),
    [
        ("top1", 1, 1),
        ("top1", 3, 0),  # equal to class 1, which comes first as argmax has it
        ("top1", 2.0, 0),
        ("top1", np.array([1]), 1),
        ("top1", np.eye(7)[1], 1),
        ("top5", 2, 1),
        ("top5", 0, 0),
    ],
)
def test_right_and_wrong(model_of, name, label, right):
    """The labelled class is among the k greatest; among equals the lower index is the greater."""
    assert right == open_metric(name, model_of((1, 7))).observe({"y0": SCORES}, {}, label)


def test_top_k_against_a_sort(model_of):
    """Over random scores, ties among them, top-k is what a stable sort of the scores says."""
    rng = np.random.default_rng(0)
    for name, k in (("top1", 1), ("top5", 5)):
        metric = open_metric(name, model_of((1, 9)))
        for _ in range(200):
            scores = rng.integers(0, 5, (1, 9)) / 4
            label = int(rng.integers(9))
            best = np.argsort(-scores[0], kind="stable")[:k]
            assert int(label in best) == metric.observe({"y0": scores}, {}, label)


def test_batches(model_of):
    """A batch keeps a flag for each row, and the value is over rows."""
    metric = open_metric("top1", model_of((3, 2), inputs=((3, 8),)))
    scores = np.array([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    kept = metric.observe({"y0": scores}, {}, [1, 1, 1])
    assert (1, 0, 1) == kept
    assert 100 * 5 / 6 == pytest.approx(metric.value([kept, (1, 1, 1)]))


def test_single_scores_are_probabilities(model_of):
    """One score per row is the probability of class 1; scores of any range are refused."""
    metric = open_metric("top1", model_of((1, 1)))
    assert 1 == metric.observe({"y0": np.array([[0.7]])}, {}, 1)
    assert 0 == metric.observe({"y0": np.array([[0.3]])}, {}, 1)
    with pytest.raises(MetricError, match=r"probability of class 1.*2\.5.*auc"):
        metric.observe({"y0": np.array([[2.5]])}, {}, 1)


def test_agreement_is_with_the_float_model(model_of):
    """Agreement needs no label: the float model's class is the right one."""
    metric = open_metric("agreement", model_of((1, 7)))
    other = np.roll(SCORES, 1)
    assert not metric.labelled
    assert (1, 0) == (
        metric.observe({"y0": 2 * SCORES}, {"y0": SCORES}, None),
        metric.observe({"y0": other}, {"y0": SCORES}, None),
    )


@pytest.mark.parametrize(
    ("label", "words"),
    [
        (7, "class 7.*0 .. 6.*7 scores"),
        (-1, "class -1"),
        (1.5, r"1\.5.*whole number"),
        (float("nan"), "nan"),
        ("cat", r"'cat'.*labels\.txt"),
        (None, "None"),
        ([1, 2], r"shape \[2\].*1 labels"),
        ({"boxes": []}, "no class index"),
    ],
)
def test_labels_that_do_not_match(model_of, label, words):
    """Labels of the wrong kind, number or range say what they are and what they should be."""
    with pytest.raises(MetricError, match=words):
        open_metric("top1", model_of((1, 7))).observe({"y0": SCORES}, {}, label)


def test_outputs_of_nan(model_of):
    """NaN is no score."""
    with pytest.raises(MetricError, match="'y0' holds NaN"):
        open_metric("top1", model_of((1, 7))).observe({"y0": SCORES * np.nan}, {}, 1)


def test_which_output(model_of):
    """The output with scores along one axis is judged; of several, one must be named."""
    assert "y1" == open_metric("top1", model_of((1, 4, 4, 8), (1, 1, 1, 5))).output
    assert "y1" == open_metric("top1", model_of((1, 8), (1, 5))).output  # y0 is like the input
    assert "y0" == open_metric("top1", model_of((1, 8))).output  # as there is no other
    several = model_of((1, 5), (1, 6))
    with pytest.raises(MetricError, match=r"more than one.*'y0'.*'y1'.*--metric top1:y0"):
        open_metric("top1", several)
    assert "y1" == open_metric("top1:y1", several).output
    with pytest.raises(InvalidRequest, match=r"no such output.*'y9'.*'y0'"):
        open_metric("top1:y9", model_of((1, 5)))
    with pytest.raises(MetricError, match=r"class scores.*\[1, 4, 4, 8\].*snr"):
        open_metric("top1", model_of((1, 4, 4, 8)))
    with pytest.raises(MetricError, match="C >= 6"):
        open_metric("top5", model_of((1, 5)))
    with pytest.raises(MetricError, match="class scores"):
        open_metric("top1", model_of((1, 5), dtype="int64"))


def test_unknown_names(model_of):
    """A name that is near a metric's is put right; ways that a metric does not have are refused."""
    with pytest.raises(InvalidRequest, match=r"'tpo1'.*top1"):
        open_metric("tpo1", model_of((1, 5)))
    with pytest.raises(InvalidRequest, match="module:function"):
        open_metric("zzzzzz", model_of((1, 5)))
    with pytest.raises(InvalidRequest, match="one way only"):
        open_metric("top1@xyxy", model_of((1, 5)))
