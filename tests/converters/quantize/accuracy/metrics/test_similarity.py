"""Signal-to-noise ratio and cosine against the float model."""

import numpy as np
import pytest

from converters.quantize.accuracy.metrics import open_metric
from converters.quantize.accuracy.metrics.similarity import MOST_DB
from device_agent.errors import MetricError

RNG = np.random.default_rng(0)
R = RNG.normal(size=(20, 1, 6))
Q = R + 0.1 * RNG.normal(size=R.shape)


def kept(metric, got=Q):
    return [metric.observe({"y0": q}, {"y0": r}, None) for q, r in zip(got, R, strict=True)]


def test_snr(model_of):
    """10 log10 of the powers' ratio, over all samples; resamples too."""
    metric = open_metric("snr", model_of((1, 6)))
    expected = 10 * np.log10(np.square(R).sum() / np.square(R - Q).sum())
    assert expected == pytest.approx(metric.value(kept(metric)))
    assert ("dB", False) == (metric.unit, metric.labelled)
    assert [expected] == pytest.approx(metric.resampled(kept(metric), np.full((1, 20), 3)).tolist())


def test_equal_outputs(model_of):
    """Equal outputs have no noise: the ratio is capped, the cosine 1; also where all is 0."""
    for name, best in (("snr", MOST_DB), ("cosine", 1.0)):
        metric = open_metric(name, model_of((1, 6)))
        assert best == pytest.approx(metric.value(kept(metric, R)))
        zeros = {"y0": np.zeros((1, 6))}
        assert best == metric.value([metric.observe(zeros, zeros, None)])


def test_cosine(model_of):
    """The cosine of all values as one vector; 0 where one model gives zeros only."""
    metric = open_metric("cosine", model_of((1, 6)))
    expected = (R * Q).sum() / np.sqrt(np.square(R).sum() * np.square(Q).sum())
    assert expected == pytest.approx(metric.value(kept(metric)))
    assert 0 == metric.value(kept(metric, np.zeros_like(R)))


@pytest.mark.parametrize("name", ["snr", "cosine"])
def test_the_worst_output_counts(model_of, name):
    """A good output does not hide a bad one, unless it is named."""
    model = model_of((1, 6), (1, 6))
    both = [({"y0": r, "y1": q}, {"y0": r, "y1": r}) for q, r in zip(Q, R, strict=True)]
    metrics = [open_metric(one, model) for one in (name, f"{name}:y1", f"{name}:y0")]
    whole, worse, better = (one.value([one.observe(*pair, None) for pair in both]) for one in metrics)
    assert whole == worse < better


def test_outputs_that_cannot_be_compared(model_of):
    """NaN, and outputs of another shape, are refused."""
    metric = open_metric("snr", model_of((1, 6)))
    with pytest.raises(MetricError, match="'y0' holds NaN"):
        metric.observe({"y0": R[0] * np.nan}, {"y0": R[0]}, None)
    with pytest.raises(MetricError, match=r"another shape.*\[1, 5\].*\[1, 6\]"):
        metric.observe({"y0": R[0][:, :5]}, {"y0": R[0]}, None)
