"""Errors of quantities, against their definitions."""

import numpy as np
import pytest

from converters.quantize.accuracy.metrics import open_metric
from device_agent.errors import MetricError

RNG = np.random.default_rng(0)
OUTPUTS, LABELS = RNG.normal(size=(30, 1, 4)), RNG.normal(size=(30, 4))


def kept(metric):
    return [metric.observe({"y0": p}, {}, y) for p, y in zip(OUTPUTS, LABELS, strict=True)]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mae", np.abs(OUTPUTS[:, 0] - LABELS).mean()),
        ("rmse", np.sqrt(np.square(OUTPUTS[:, 0] - LABELS).mean())),
        ("relative", 100 * np.abs(OUTPUTS[:, 0] - LABELS).sum() / np.abs(LABELS).sum()),
    ],
)
def test_definitions(model_of, name, expected):
    """Lower is better; resamples have the value of the samples they repeat."""
    metric = open_metric(name, model_of((1, 4)))
    assert not metric.greater_is_better
    rows = kept(metric)
    assert expected == pytest.approx(metric.value(rows))
    counts = np.stack([np.ones(30, int), np.bincount([0, 0, 3, 7], minlength=30)])
    repeated = metric.value([rows[index] for index in (0, 0, 3, 7)])
    assert [expected, repeated] == pytest.approx(metric.resampled(rows, counts).tolist())


def test_relative_error_of_zeros(model_of):
    """Labels that are all 0 have no relative error, and the error says so."""
    metric = open_metric("relative", model_of((1, 4)))
    with pytest.raises(MetricError, match=r"relative has no value.*inf"):
        metric.value([metric.observe({"y0": np.ones((1, 4))}, {}, np.zeros(4))])


@pytest.mark.parametrize(
    ("label", "words"),
    [
        (np.zeros(3), r"'y0'.*\[3\].*\[1, 4\]"),
        (np.zeros((2, 2)), r"\[2, 2\]"),
        ("a", "no number"),
        ([1, 2, np.inf, 4], "NaN or Inf"),
    ],
)
def test_labels_that_do_not_match(model_of, label, words):
    """Labels of another size or kind than the output are refused."""
    with pytest.raises(MetricError, match=words):
        open_metric("mae", model_of((1, 4))).observe({"y0": np.zeros((1, 4))}, {}, label)


def test_several_outputs(model_of):
    """Of several outputs one must be named."""
    with pytest.raises(MetricError, match=r"more than one output.*mae:y0"):
        open_metric("mae", model_of((1, 4), (1, 2)))
    assert "y1" == open_metric("mae:y1", model_of((1, 4), (1, 2))).output
