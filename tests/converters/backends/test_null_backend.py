"""The null backend: takes everything, needs nothing."""

from pathlib import Path

from converters import registry
from converters.partition.types import Recipe
from converters.shaping import Shaping
from device_agent.runtimes import get

DIGITS = Path(__file__).resolve().parents[3] / "examples/digits/digits.onnx"


def test_it_takes_every_operator():
    """Every verdict is a yes that says nothing is computed."""
    model = registry.reader("onnx").read(DIGITS, Shaping())
    verdicts = registry.backend("null").judge(model)
    assert all(verdict.ok and "without computing" in verdict.reason for verdict in verdicts)


def test_int8_needs_no_calibration(tmp_path):
    """There is nothing to quantise; the artifact is a null model with the source's inputs and outputs."""
    model = registry.reader("onnx").read(DIGITS, Shaping())
    artifact = registry.backend("null").compile(model, Recipe("int8", "integer"), None, lambda *_: None)
    (tmp_path / artifact.title).write_bytes(artifact.data)
    session = get("null").load(tmp_path / artifact.title)
    assert ("digits.null.json", model.inputs, model.outputs) == (
        artifact.title,
        session.inputs,
        session.outputs,
    )
