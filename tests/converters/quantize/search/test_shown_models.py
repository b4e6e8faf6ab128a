"""The models that show what quantisation loses, and gets back: `outlier.onnx` and `regressor.onnx`."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from converters import registry
from converters.backends import litert
from converters.progress import silent
from converters.quantize.accuracy.fidelity import runner
from converters.quantize.integer.litert_engine import LiteRTEngine
from converters.quantize.samples.calibration import load_calibration
from converters.quantize.scheme import Scheme
from converters.shaping import Shaping
from tests.models import data

Outputs = Callable[[Scheme, np.ndarray], np.ndarray]


def engine_of(path: Path, samples: np.ndarray) -> LiteRTEngine:
    model = registry.reader_for(path).read(path, Shaping())
    graph, _ = registry.reader(model.format).lower(model)
    litert.rewrite(graph, model)
    calibration = load_calibration(samples, model)
    return LiteRTEngine(model, graph, calibration, runtime="litert", least_version="1.0.1", progress=silent)


def outputs(engine: LiteRTEngine, scheme: Scheme, inputs: np.ndarray) -> np.ndarray:
    """The only output for each input: [N, ...]."""
    artifact = engine.build(scheme).artifact
    assert scheme.io == "float" or () == artifact.float_operators
    run = runner(artifact)
    (given,), (made,) = artifact.inputs, artifact.outputs
    return np.concatenate([run({given.name: one[None]})[made.name] for one in inputs])


def test_outlier_channels(outlier):
    """Channels a hundred times wider cost plain int8 20 points; equalised it is as good as float."""
    engine = engine_of(outlier, data.patches(data.CALIBRATION, 50)[0])
    images, classes = data.patches(data.VALIDATION, 200)
    right = [
        100 * float((outputs(engine, scheme, images).argmax(axis=1) == classes).mean())
        for scheme in (Scheme("float32", "float"), Scheme(), Scheme(repairs=("equalization",)))
    ]
    assert right[0] > 90
    assert right[0] - right[1] > 20
    assert right[0] - right[2] <= 0.5


@pytest.mark.parametrize("precision", ["int8", "int16x8"])
def test_regressor(regressor, precision):
    """Judged against its own outputs, the float model has no error, and no quantised one comes to none."""
    engine = engine_of(regressor, data.readings(data.CALIBRATION, 50)[0])
    values, _ = data.readings(data.VALIDATION, 100)
    own = outputs(engine, Scheme("float32", "float"), values)
    error = np.abs(outputs(engine, Scheme(precision), values) - own).mean()
    assert 0 < error < 0.05
