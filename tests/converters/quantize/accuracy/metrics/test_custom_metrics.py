"""A user's own metric: functions, objects, and everything that can be wrong with them."""

from pathlib import Path

import numpy as np
import pytest

from converters.quantize.accuracy.metrics import open_metric
from device_agent.errors import MetricError

OUTPUTS = {"y0": np.array([[1.0, 3.0]])}


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest):
    """Writes a module into the current folder; gives its name."""

    def write(text: str) -> str:
        name = f"own_{abs(hash((request.node.name, text)))}"
        (tmp_path / f"{name}.py").write_text(text)
        return name

    monkeypatch.chdir(tmp_path)
    return write


def test_functions(mine, model_of):
    """The value is the mean over samples of what the function says; its attributes say how to read it."""
    name = mine(
        "def loss(outputs, label):\n    return abs(outputs['y0'] - label).max()\n"
        "loss.greater_is_better = False\n"
    )
    metric = open_metric(f"{name}:loss", model_of((1, 2)))
    assert (False, True, "") == (metric.greater_is_better, metric.labelled, metric.unit)
    kept = [metric.observe(OUTPUTS, {}, label) for label in (1, 5)]
    assert 3 == metric.value(kept)
    assert [2, 4] == metric.resampled(kept, np.array([[2, 0], [0, 2]])).tolist()


CLASS = """
class Worst:
    labelled = False
    unit = "points"
    default_drop = 2.0
    def observe(self, outputs, reference, label):
        return float(outputs["y0"].max())
    def value(self, kept):
        return min(kept)
ready = Worst()
"""


@pytest.mark.parametrize("which", ["Worst", "ready"])
def test_objects(mine, model_of, which):
    """A class that can be made, or an object, with `observe` and `value` is a metric of its own."""
    metric = open_metric(f"{mine(CLASS)}:{which}", model_of((1, 2)))
    assert ("points", False, 2.0, True) == (
        metric.unit,
        metric.labelled,
        metric.default_drop,
        metric.greater_is_better,
    )
    assert 3 == metric.value([metric.observe(OUTPUTS, {}, None), 7.0])


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (
            "raise RuntimeError('no such luck')",
            r":f: the metric raises an error: got RuntimeError\('no such luck'\)",
        ),
        ("return float('nan')", ":f: a function's result is nan"),
        ("return outputs['other']", r"KeyError\('other'\)"),
        ("return None", "is no number: got None, expected a float"),
        ("return [1.0, 2.0]", "is no number"),
        ("return 'good'", "is no number: got 'good'"),
    ],
)
def test_functions_that_fail(mine, model_of, body, words):
    """What a function raises, and results that are no number, are named with the function."""
    name = mine(f"def f(outputs, label):\n    {body}\n")
    with pytest.raises(MetricError, match=words):
        open_metric(f"{name}:f", model_of((1, 2))).observe(OUTPUTS, {}, 1)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import nothing_of_this_name", "cannot be imported.*nothing_of_this_name"),
        ("g = 1", "no function 'f'"),
        ("f = 1", "no function and has no observe.*int"),
        ("class f:\n    def __init__(self, x): ...", "raises an error.*TypeError"),
        ("1 +", "cannot be imported.*SyntaxError"),
    ],
)
def test_metrics_that_cannot_be_had(mine, model_of, text, words):
    """What cannot be imported or made says why, and what a metric is."""
    with pytest.raises(MetricError, match=words):
        open_metric(f"{mine(text)}:f", model_of((1, 2)))


def test_values_that_are_no_number(mine, model_of):
    """An object's value that is NaN is refused."""
    text = "class M:\n    observe = value = lambda self, *_: float('nan')\n"
    with pytest.raises(MetricError, match=":M has no value over these samples: got nan"):
        open_metric(f"{mine(text)}:M", model_of((1, 2))).value([1])
