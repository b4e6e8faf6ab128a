"""Ranges of activations: as good as brute force on the values themselves, and never across zero."""

import numpy as np
import pytest

from converters.quantize.integer import ranges
from converters.quantize.integer.prepared import Range
from converters.quantize.integer.ranges import METHODS, choose
from converters.quantize.integer.statistics import BINS, Statistics, TensorStatistics
from device_agent.errors import InvalidRequest

RNG = np.random.default_rng(0)
N = 50_000
GAUSSIAN = RNG.normal(size=N)
LAPLACE = RNG.laplace(size=N)
DATA = {
    "gaussian": GAUSSIAN,
    "shifted": RNG.normal(3, 1, size=N),
    "laplace with outliers": np.concatenate([LAPLACE, [80.0, -60.0, 70.0]]),
    "relu": np.maximum(RNG.normal(size=N), 0),
    "relu with outliers": np.concatenate([np.maximum(LAPLACE, 0), [40.0, 50.0]]),
    "relu6": np.clip(RNG.normal(2, 4, size=N), 0, 6),
    "negative": -RNG.exponential(size=N) - 0.5,
    "small": 1e-12 * GAUSSIAN,
    "large": 1e12 * GAUSSIAN,
}


def statistics(values: np.ndarray) -> Statistics:
    counts, _ = np.histogram(values, BINS, (values.min(), values.max()))
    none = np.zeros(1, np.float32)
    one = TensorStatistics(float(values.min()), float(values.max()), none, none, none, counts)
    return Statistics({"t": one}, 1)


def chosen(values: np.ndarray, method: str, **options: object) -> Range:
    return choose(statistics(values), method, **options)["t"]


def error(values: np.ndarray, ends: Range, bits: int, symmetric: bool) -> float:
    """The mean squared error of the values themselves, quantised to a range."""
    low, high = min(ends.minimum, 0.0), max(ends.maximum, 0.0)
    if symmetric:
        last = 2 ** (bits - 1) - 1
        step, first = max(-low, high) / last, -last
    else:
        step = (high - low) / (2**bits - 1)
        first = np.rint(low / step)
        last = first + 2**bits - 1
    return float(np.square(step * np.clip(np.rint(values / step), first, last) - values).mean())


def least_error(values: np.ndarray, bits: int, symmetric: bool) -> float:
    """By brute force over both ends."""
    low, high = min(values.min(), 0.0), max(values.max(), 0.0)
    factors = np.geomspace(0.1, 1, 24)
    if symmetric:
        pairs = [(-max(-low, high) * a, max(-low, high) * a) for a in np.geomspace(0.1, 1, 80)]
    else:
        pairs = [(a * low, b * high) for a in (factors if low else [1]) for b in (factors if high else [1])]
    return min(error(values, Range(*pair), bits, symmetric) for pair in pairs)


@pytest.mark.parametrize(("bits", "symmetric"), [(8, False), (8, True), (4, False), (16, True)])
@pytest.mark.parametrize("name", DATA)
def test_mse_is_the_least(name, bits, symmetric):
    """What `mse` chooses is at most 2 % worse than the best of a brute-force search on the values."""
    values = DATA[name][::5] if name != "laplace with outliers" else DATA[name][-10_000:]
    got = error(values, chosen(values, "mse", bits=bits, symmetric=symmetric), bits, symmetric)
    assert got <= 1.02 * least_error(values, bits, symmetric)


@pytest.mark.parametrize(("bits", "symmetric"), [(8, False), (8, True), (4, False)])
@pytest.mark.parametrize("name", [name for name in DATA if "outliers" not in name])
def test_octav_is_close_to_the_least(name, bits, symmetric):
    """`octav`, which takes rounding for uniform noise, is at most 10 % worse than that."""
    values = DATA[name][::5]
    got = error(values, chosen(values, "octav", bits=bits, symmetric=symmetric), bits, symmetric)
    assert got <= 1.1 * least_error(values, bits, symmetric)


@pytest.mark.parametrize("bits", [4, 8])
def test_octav_is_the_papers(bits):
    """On symmetric data it settles where equation 6 of the paper does over the values (2^B - 1 steps)."""
    values = np.concatenate([LAPLACE, -LAPLACE])
    size = np.abs(values)
    s = size.mean()
    for _ in range(100):
        out = size > s
        s = (size * out).mean() / ((~out).mean() / (3 * (2**bits - 1) ** 2) + out.mean())
    both = chosen(values, "octav", bits=bits)
    one = chosen(values, "octav", bits=bits, symmetric=True)
    np.testing.assert_allclose([-s, s], [both.minimum, both.maximum], rtol=5e-3)
    np.testing.assert_allclose([-s, s], [one.minimum, one.maximum], rtol=5e-3)


def test_percentile():
    """One value in ten thousand lies outside at either end."""
    got = chosen(GAUSSIAN, "percentile")
    np.testing.assert_allclose(np.quantile(GAUSSIAN, [1e-4, 1 - 1e-4]), [got.minimum, got.maximum], atol=0.02)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", DATA)
@pytest.mark.parametrize("symmetric", [False, True])
def test_ends_move_towards_zero_only(name, method, symmetric):
    """No end leaves what was seen, none crosses zero, and one that has zero beyond it stays."""
    values = DATA[name]
    got = chosen(values, method, symmetric=symmetric)
    assert isinstance(got.minimum, float)
    assert isinstance(got.maximum, float)
    least, greatest = values.min(), values.max()
    assert got.minimum == least if least >= 0 else least <= got.minimum <= 0
    assert got.maximum == greatest if greatest <= 0 else 0 <= got.maximum <= greatest


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("value", [0.0, 2.5, -2.5])
def test_constants(method, value):
    """Of a tensor that is constant the range is that value."""
    assert Range(value, value) == chosen(np.full(10, value), method)


def test_outliers_are_clipped():
    """Three values in fifty thousand do not set the range where they cost more than they save."""
    got = chosen(DATA["relu with outliers"], "mse", bits=4)
    assert got.maximum < 10
    assert Range(0.0, 50.0) == chosen(DATA["relu with outliers"], "minmax", bits=4)


@pytest.mark.parametrize("method", ["mse", "octav"])
def test_many_values_at_the_end(method):
    """The upper end of a ReLU6, where values pile up, is kept."""
    assert Range(0.0, 6.0) == chosen(DATA["relu6"], method)


def test_the_error_is_that_of_the_values():
    """The error integrated over the histogram is that of the values, clipped or not."""
    one = statistics(GAUSSIAN).tensors["t"]
    ends = np.array([[-4.0, 4.5], [-1.0, 2.0], [-4.6, 0.5]])
    for bits, symmetric in [(8, False), (8, True), (4, False)]:
        expected = [error(GAUSSIAN, Range(*pair), bits, symmetric) for pair in ends]
        got = ranges.quantization_error(one, ends, bits, symmetric)
        np.testing.assert_allclose(expected, got, rtol=0.02)


def test_unknown_method():
    """A method that is none is refused, and the methods are named."""
    with pytest.raises(InvalidRequest, match=r"'kl'.*minmax or percentile or mse or octav"):
        chosen(GAUSSIAN, "kl")
