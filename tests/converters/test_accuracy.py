"""What a search is given of a plan: the metric, the samples, and what of an engine may be used."""

from pathlib import Path

import attrs
import numpy as np
import pytest

from converters import registry
from converters.accuracy import Limited, check_fallbacks, on_calibration
from converters.model import Model
from converters.partition.planner import carried_out, plan
from converters.partition.types import Recipe
from converters.progress import silent
from converters.quantize.accuracy.metrics import open_metric
from converters.quantize.engine import Fallback
from converters.quantize.samples.calibration import Calibration
from converters.quantize.scheme import Scheme
from converters.quantize.search import search_key
from converters.quantize.search.types import Goal
from converters.shaping import Shaping
from device_agent.errors import QuantizationError
from targets.schema import load_target

DIGITS = Path(__file__).resolve().parents[2] / "examples/digits"


@pytest.fixture(scope="module")
def model() -> Model:
    return registry.reader("onnx").read(DIGITS / "digits.onnx", Shaping())


def test_judged_on_some_of_the_calibration_samples():
    """At most 200 of them, spread over the set, each time the same."""
    many = Calibration("x", 1000, lambda: ({"x": np.array(i)} for i in range(1000)))
    judged = on_calibration(many)
    seen = [int(sample["x"]) for sample in judged.samples.samples()]
    assert (200, None, "x") == (judged.count, judged.labels, judged.source)
    assert list(range(0, 1000, 5)) == seen
    few = on_calibration(Calibration("x", 3, lambda: ({"x": np.array(i)} for i in range(3))))
    assert 3 == few.count == len(list(few.samples.samples()))


def test_an_engine_is_limited_to_the_recipe(model):
    """A search sees the ranges and repairs that were named and the steps that the processor has."""
    engine = registry.backend("litert").engine(model, None, silent)
    every = Limited(engine, Recipe("auto", "integer", steps=("int16x8", "float32")))
    assert (engine.ranges, engine.repairs, engine.steps) == (every.ranges, every.repairs, every.steps)
    some = Limited(engine, Recipe("auto", "integer", "mse", (), ("int16x8",)))
    assert (("mse",), (), ("int16x8",)) == (some.ranges, some.repairs, some.steps)
    assert engine.layers() == some.layers()


def test_a_journal_is_of_one_runtime(model):
    """What was measured for one runtime is not taken for another, whose kernels differ."""
    one = Calibration("x", 1, lambda: iter([{"image": np.zeros((1, 1, 8, 8), np.float32)}]))
    keys = [
        search_key.of(
            model,
            Limited(registry.backend(name).engine(model, None, silent), Recipe("auto", "integer")),
            one,
            on_calibration(one),
            open_metric("agreement", model),
            Goal(1.0),
            "integer",
        )
        for name in ("litert", "tflite")
    ]
    assert ["engine"] == [part for part in keys[0] if keys[0][part] != keys[1][part]]


def test_operators_that_the_processor_has_nothing_for(model):
    """A model with operators in a precision that the processor lacks is refused, with their reasons."""
    engine = registry.backend("litert").engine(model, None, silent)
    built = attrs.evolve(
        engine.build(Scheme("float32", "float")),
        fallbacks=(Fallback("t", "LSTM", "float32", "it has no integer form"),),
    )
    with pytest.raises(QuantizationError, match=r"1 operators.*LSTM 't': it has no integer form"):
        check_fallbacks(built, Scheme(), Recipe("int8", "integer"))
    check_fallbacks(built, Scheme(), Recipe("int8", "integer", steps=("float32",)))


def test_a_plan_that_was_carried_out_says_what_was_made(model):
    """Reasons of a plan that asked for a search name the precision each operator has in the end."""
    asked = plan(model, load_target("local"), recipe=Recipe("auto", "integer"))
    first = next(operator for operator in asked.operators if operator.processor is not None)
    assert "in what the search gives it" in first.reason
    made = carried_out(asked, Recipe("int8", "integer"), {first.name: "int16x8"})
    assert made.operators[first.index].reason.endswith("in int16x8")
    others = [one.reason for one in made.operators if one.name != first.name and one.processor is not None]
    assert all(reason.endswith("in int8") for reason in others)
    assert "int8" == made.recipe.precision
