"""Which metric is chosen where none is named, and which are refused."""

import numpy as np
import pytest

from converters.quantize.accuracy.metrics.choice import choose
from converters.quantize.samples.calibration import Calibration
from converters.quantize.samples.validation import Validation
from device_agent.errors import MetricError


def validation(*labels) -> Validation:
    samples = Calibration("samples", 3, lambda: iter(()))
    return Validation(samples, (lambda: iter(labels)) if labels else None, "here.npz", 3)


IMAGE = {"inputs": ((1, 100, 200, 3),)}


@pytest.mark.parametrize(
    ("outputs", "options", "labels", "expected", "why"),
    [
        (((1, 10),), {}, (3,), "top1", "class indices"),
        (((1, 10),), {}, (np.int64(3),), "top1", "class indices"),
        (((1, 8),), {}, (1,), "auc", "reconstructs"),
        (((1, 30, 7),), IMAGE, ({"boxes": [], "classes": []},), "map", "boxes"),
        (((1, 30, 7),), IMAGE, (np.zeros((4, 5)),), "map", "boxes"),
        (((1, 3),), {}, (np.zeros(3),), "mae", "quantities"),
        (((1, 1),), {}, (0.5,), "mae", "quantities"),
        (((1, 10),), {}, (), "agreement", "no labels"),
        (((1, 10), (1, 4)), {}, (), "snr", "no labels"),
        (((1, 4, 4, 8),), {}, (), "snr", "no labels"),
        (((1, 8),), {}, (), "snr", "no labels"),
    ],
)
def test_without_a_name(model_of, outputs, options, labels, expected, why):
    """Labels and outputs suggest the metric, and the reason is told."""
    metric, reason = choose(None, model_of(*outputs, **options), validation(*labels))
    assert expected == metric.name
    assert why in reason


def test_labels_that_suggest_nothing(model_of):
    """Labels that fit no output ask for a name."""
    with pytest.raises(MetricError, match=r"do not show which metric.*'cat'.*'y0' \[1, 10\].*--metric"):
        choose(None, model_of((1, 10)), validation("cat"))
    with pytest.raises(MetricError, match="more than one output; it was chosen because the labels are class"):
        choose(None, model_of((1, 10), (1, 5)), validation(3))


def test_labelled_metrics_without_labels(model_of):
    """A metric that needs labels is refused where there are none, and others are offered."""
    with pytest.raises(MetricError, match=r"here\.npz: top1 needs labels.*--labels.*agreement.*snr"):
        choose("top1", model_of((1, 10)), validation())
    metric, why = choose("cosine", model_of((1, 10)), validation())
    assert "cosine" == metric.name
    assert "float model's own outputs" in why
    assert "asked for" == choose("top5", model_of((1, 10)), validation(1))[1]
