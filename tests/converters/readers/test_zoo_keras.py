"""Real networks as Keras and SavedModel files: as few operators as natively, and TensorFlow agrees."""

import pytest

from converters import registry
from converters.convert import convert
from converters.partition import planner
from converters.partition.types import Recipe
from converters.progress import silent
from converters.shaping import Shaping
from targets.schema import load_target

pytestmark = pytest.mark.zoo


@pytest.mark.parametrize(
    ("file", "ends", "operators"),
    [
        ("pretrainedResnet.h5", ["input_1", "dense"], 15),
        ("vww_96.h5", ["input_1", "dense"], 30),  # needs tf_keras, as the next
        ("str_ww_ref_model.h5", ["input_1", "dense"], 10),
        ("ad01.h5", ["input_1", "dense_9"], 10),
        ("kws_ref_model", ["input_1", "dense"], 12),
    ],
)
def test_float(zoo, keras_samples, file, ends, operators):
    """The float model computes what TensorFlow computes on the source."""
    path = zoo / "models/mlperf-tiny" / file
    model = registry.reader_for(path).read(path, Shaping())
    plan = planner.plan(model, load_target("local"), recipe=Recipe("float32", "float"))
    made = convert(model, plan, calibration=None, progress=silent)
    assert ends == [spec.name for spec in (*made.artifact.inputs, *made.artifact.outputs)]
    assert operators == len(made.artifact.operators)
    assert made.fidelity.reference.startswith("tensorflow ")
