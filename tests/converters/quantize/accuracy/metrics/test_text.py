"""Word and character error rates: decoding, distance, labels."""

import numpy as np
import pytest

from converters.quantize.accuracy.metrics import open_metric
from converters.quantize.accuracy.metrics.text import ENGLISH, decoded, distance
from device_agent.errors import InvalidRequest, MetricError


def scores(steps: list[int], symbols: int) -> np.ndarray:
    return np.eye(symbols)[steps][None]


def spelled(text: str, *, blank: int, first: int = 0) -> list[int]:
    """Steps that spell a text: each symbol twice, with a blank behind it."""
    return [step for letter in text for step in (ENGLISH.index(letter) + first,) * 2 + (blank,)]


@pytest.mark.parametrize(
    ("decoding", "steps", "expected"),
    [
        ("ctc", [0, 0, 4, 0, 1, 1, 4, 4], [0, 0, 1]),
        ("ctc0", [0, 0, 4, 0, 1, 1, 4, 4], [4, 1, 4]),
        ("argmax", [0, 0, 4], [0, 0, 4]),
        ("ctc", [4, 4], []),
    ],
)
def test_decoding(decoding, steps, expected):
    """CTC drops repeats, then blanks: the last class, or with ctc0 the first; argmax drops nothing."""
    assert expected == decoded(np.array(steps), decoding, 4)


def test_distance():
    """Levenshtein's distance, against its recursive definition."""

    def slow(a, b):
        if not a or not b:
            return len(a) + len(b)
        return min(slow(a[1:], b) + 1, slow(a, b[1:]) + 1, slow(a[1:], b[1:]) + (a[0] != b[0]))

    assert 3 == distance("kitten", "sitting")
    rng = np.random.default_rng(0)
    for _ in range(50):
        a, b = (rng.integers(0, 3, rng.integers(0, 6)).tolist() for _ in range(2))
        assert slow(a, b) == distance(a, b)


@pytest.mark.parametrize(("how", "blank", "first"), [("", 28, 0), ("@ctc0", 0, 1)])
def test_text(model_of, how, blank, first):
    """Labels in text: symbols for cer, words for wer; both relative to the labels, over all samples."""
    model = model_of((1, 60, 29))
    steps = spelled("the cat sad", blank=blank, first=first)
    outputs = {"y0": scores(steps + [blank] * (60 - len(steps)), 29)}
    for name, expected in (("cer", (1, 11)), ("wer", (1, 3))):
        metric = open_metric(f"{name}{how}", model)
        assert not metric.greater_is_better
        kept = metric.observe(outputs, {}, "the cat sat")
        assert expected == kept
        assert 100 * 3 / (expected[1] + 10) == pytest.approx(metric.value([kept, (2, 10)]))


def test_symbols(model_of):
    """Labels as lists of symbols, filled up with negative numbers; outputs may be symbols already."""
    metric = open_metric("cer", model_of((1, 6, 5)))
    outputs = {"y0": scores([0, 4, 1, 1, 2, 4], 5)}
    assert (1, 3) == metric.observe(outputs, {}, np.array([0, 1, 3, -1, -1]))
    whole = open_metric("cer", model_of((1, 3), dtype="int64"))
    assert (1, 3) == whole.observe({"y0": np.array([[1, 2, 3]])}, {}, [1, 2, 2])


def test_batches(model_of):
    """A batch has a label for each row."""
    metric = open_metric("cer@argmax", model_of((2, 3, 5), inputs=((2, 8),)))
    outputs = {"y0": np.concatenate([scores([0, 1, 2], 5), scores([3, 3, 3], 5)])}
    assert (1, 6) == metric.observe(outputs, {}, [[0, 1, 2], [3, 3, 4]])
    with pytest.raises(MetricError, match=r"1 labels.*2"):
        metric.observe(outputs, {}, [[0, 1, 2]])


def test_what_does_not_fit(model_of):
    """Labels with blanks or unknown symbols, texts without an alphabet, outputs that are no sequence."""
    metric = open_metric("cer", model_of((1, 6, 5)))
    outputs = {"y0": scores([0, 4, 1, 1, 2, 4], 5)}
    for label, words in (
        ([4], "blank of ctc.*cer@ctc0"),
        ([7], r"past the model's symbols: got 7, expected 0 \.\. 4"),
        ([0.5], "no text"),
        ("abc", "alphabet of DeepSpeech.*4 symbols"),
    ):
        with pytest.raises(MetricError, match=words):
            metric.observe(outputs, {}, label)
    with pytest.raises(MetricError, match=r"a sequence.*\[1, 10\]"):
        open_metric("wer", model_of((1, 10)))
    with pytest.raises(InvalidRequest, match=r"no such decoding.*beam.*argmax"):
        open_metric("wer@beam", model_of((1, 6, 5)))
    with pytest.raises(InvalidRequest, match="ctc0 or argmax"):
        open_metric("wer@ctc", model_of((1, 6), dtype="int64"))
