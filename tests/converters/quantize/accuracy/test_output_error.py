"""The output error weighs every output alike, and rides along with a metric."""

import numpy as np

from converters.quantize.accuracy import output_error
from converters.quantize.accuracy.output_error import FAR, WithError, WithErrorFromInputs
from tests.converters.quantize.search.ladder_problems import FakeMetric


class Counting(FakeMetric):
    def observe(self, outputs, reference, label):
        return label

    def observe_from(self, inputs, outputs, reference, label):
        return inputs["x"]

    def value(self, kept):
        return float(sum(kept))


def test_every_output_counts_alike():
    """An error is relative to the power of its own output over all samples."""
    references = [{"a": np.array([3.0, 4.0]), "b": np.array([300.0])}, {"a": np.zeros(2), "b": np.zeros(1)}]
    power = output_error.powers(references)
    assert {"a": 12.5 / 2, "b": 90000.0 / 2} == power
    got = {"a": np.array([3.0, 4.5]), "b": np.array([330.0])}
    expected = ((0.25 / 2) / 6.25 + 900 / 45000) / 2
    np.testing.assert_allclose(output_error.of(got, references[0], power), expected)
    assert 0.0 == output_error.of(references[0], references[0], power)


def test_outputs_that_make_no_sense():
    """NaN where the float model gives a number, or another shape, is as far off as can be."""
    reference = {"a": np.array([1.0, np.nan])}
    power = output_error.powers([reference])
    assert 0.0 == output_error.of(reference, reference, power)
    assert FAR == output_error.of({"a": np.array([np.nan, np.nan])}, reference, power)
    assert FAR == output_error.of({"a": np.array([[1.0, np.nan]])}, reference, power)
    assert {"a": 1.0} == output_error.powers([{"a": np.zeros(3)}])


def test_riding_along():
    """A metric with it keeps both, and its value is the metric's."""
    one = {"a": np.ones(2)}
    both = WithError(Counting(), {"a": 1.0})
    assert ("top1", "points", True) == (both.name, both.unit, both.binary)
    kept = [both.observe({"a": np.ones(2) * 1.5}, one, 1), both.observe(one, one, 2)]
    assert [(1, 0.25), (2, 0.0)] == kept
    assert 3.0 == both.value(kept)
    assert (7, 0.0) == WithErrorFromInputs(Counting(), {"a": 1.0}).observe_from({"x": 7}, one, one, None)
