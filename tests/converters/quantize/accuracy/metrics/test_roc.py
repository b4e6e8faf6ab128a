"""The area under the ROC curve, against scikit-learn's."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from converters.quantize.accuracy.metrics import open_metric
from device_agent.errors import MetricError

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 2, 60)
SCORES = np.round(RNG.normal(size=60) + 0.8 * LABELS, 1)  # some are equal


def test_against_scikit_learn(model_of):
    """The same area, with ties, and in resamples the same as with weights."""
    metric = open_metric("auc", model_of((1, 1)))
    kept = [metric.observe({"y0": np.array([[s]])}, {}, y) for s, y in zip(SCORES, LABELS, strict=True)]
    assert 100 * roc_auc_score(LABELS, SCORES) == pytest.approx(metric.value(kept))
    counts = RNG.multinomial(60, np.ones(60) / 60, 20)
    expected = [100 * roc_auc_score(LABELS, SCORES, sample_weight=row) for row in counts]
    assert expected == pytest.approx(metric.resampled(kept, counts).tolist())


def test_two_scores(model_of):
    """Of two scores per row, the second less the first counts."""
    metric = open_metric("auc", model_of((1, 2)))
    kept = [metric.observe({"y0": np.array([[-s, 1.0]])}, {}, y) for s, y in zip(SCORES, LABELS, strict=True)]
    assert 100 * roc_auc_score(LABELS, SCORES) == pytest.approx(metric.value(kept))


def test_reconstruction_error(model_of):
    """An output like an input is judged by how far it is off; a batch with one label by its mean."""
    metric = open_metric("auc", model_of((2, 4), inputs=((2, 4),)))
    x, y = RNG.normal(size=(60, 2, 4)), RNG.normal(size=(60, 2, 4))
    one = [
        metric.observe_from({"x0": a}, {"y0": b}, {}, label) for a, b, label in zip(x, y, LABELS, strict=True)
    ]
    assert 100 * roc_auc_score(LABELS, np.square(x - y).mean(axis=(1, 2))) == pytest.approx(metric.value(one))
    pairs = np.stack([LABELS, 1 - LABELS], axis=1)
    rows = [
        metric.observe_from({"x0": a}, {"y0": b}, {}, label) for a, b, label in zip(x, y, pairs, strict=True)
    ]
    expected = 100 * roc_auc_score(pairs.reshape(-1), np.square(x - y).mean(axis=2).reshape(-1))
    assert expected == pytest.approx(metric.value(rows))
    with pytest.raises(MetricError, match="input beside"):
        metric.observe({"y0": y[0]}, {}, 1)


def test_labels_and_outputs_that_do_not_match(model_of):
    """Labels other than 0 and 1, labels of one kind, and outputs that are no score are refused."""
    metric = open_metric("auc", model_of((1, 1)))
    for label in (2, "x", None):
        with pytest.raises(MetricError, match=r"not binary.*0 or 1"):
            metric.observe({"y0": np.zeros((1, 1))}, {}, label)
    with pytest.raises(MetricError, match=r"3 labels.*1 or 1"):
        metric.observe({"y0": np.zeros((1, 1))}, {}, [0, 1, 1])
    with pytest.raises(MetricError, match=r"both kinds.*2 samples with the label 1"):
        metric.value([((0.5, 1),), ((0.7, 1),)])
    with pytest.raises(MetricError, match=r"autoencoder.*\[1, 10\]"):
        open_metric("auc", model_of((1, 10)))
