"""Histograms that find their own range: joined exactly, whatever the order, resampled without loss."""

import numpy as np
import pytest

from converters.quantize.integer.histogram import FINE, Histogram

RNG = np.random.default_rng(0)


def filled(*parts: np.ndarray) -> Histogram:
    histogram = Histogram()
    for part in parts:
        values = part.astype(np.float32)
        histogram.add(values, float(values.min()), float(values.max()))
    return histogram


def test_counts_of_a_known_distribution():
    """Resampled to equal bins, the counts are NumPy's own but for what lies at the edges of bins."""
    values = RNG.normal(size=200_000).astype(np.float32)
    got = filled(values).resampled(64)
    expected, _ = np.histogram(values, 64, (values.min(), values.max()))
    assert expected.sum() == got.sum()
    assert np.abs(got - expected).max() < 60


def test_the_order_does_not_matter():
    """Parts of ranges from 1e-3 to 1e4, on both sides of zero, give the same counts in any order."""
    scales = [(1e-3, 0), (1, 5), (1e4, 0), (10, -300)]
    parts = [RNG.normal(size=1000) * scale + shift for scale, shift in scales]
    first = filled(*parts).resampled(512)
    for order in ([3, 2, 1, 0], [2, 0, 3, 1], [1, 3, 0, 2]):
        np.testing.assert_array_equal(first, filled(*(parts[index] for index in order)).resampled(512))


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_growing_in_small_steps(scale):
    """A range that grows with every part counts as if it had been known before."""
    values = np.sort(RNG.normal(size=10_000)) * scale
    values = values[np.argsort(np.abs(values))]
    grown = filled(*np.split(values, 100))
    np.testing.assert_array_equal(filled(values).resampled(100), grown.resampled(100))
    assert 10_000 == grown.resampled(FINE).sum()


def test_one_value():
    """A tensor that is constant has all its counts in the first bin."""
    assert [7, 0, 0] == filled(np.full(3, 2.5), np.full(4, 2.5)).resampled(3).tolist()
    assert [4, 0] == filled(np.zeros(4)).resampled(2).tolist()


def test_close_values_far_from_zero():
    """Numbers that are 64 float32 steps apart, far from zero, are told apart."""
    low = np.float32(2**20)
    assert [3, 0, 0, 1] == filled(np.array([low, low, low, low + np.float32(8)])).resampled(4).tolist()


def test_both_ends_have_their_bin():
    """What is clipped by a network (ReLU6: many 0 and many 6) stays in the first and the last bin."""
    got = filled(np.concatenate([np.zeros(500), np.full(300, 6.0), RNG.uniform(1, 5, 100)])).resampled(12)
    assert (500, 300) == (got[0], got[-1])
