"""The backend for tflite-runtime, which cannot do all that LiteRT can."""

from pathlib import Path

from converters import registry
from converters.backends import litert
from converters.graph.read import read
from converters.partition.types import Recipe
from converters.quantize.calibration import load_calibration

DIGITS = Path(__file__).resolve().parents[3] / "examples/digits"


def scales(backend: litert.LiteRTBackend) -> dict[str, set[int]]:
    """How many scales the weights of each kind of operator have."""
    model = registry.reader("onnx").read(DIGITS / "digits.onnx", batch=1)
    calibration = load_calibration(DIGITS / "calibration.npz", model, limit=20)
    artifact = backend.compile(model, Recipe("int8", "integer"), calibration, lambda *_: None)
    graph = read(artifact.data, where=artifact.title)
    found: dict[str, set[int]] = {}
    for operator in graph.operators:
        if operator.type in ("FULLY_CONNECTED", "CONV_2D"):
            quantization = graph.tensors[operator.inputs[1]].quantization
            found.setdefault(operator.type, set()).add(len(quantization.scale))
    return found


def test_dense_weights_have_one_scale() -> None:
    """tflite-runtime 2.14 takes the first scale of a FULLY_CONNECTED for all channels: it is given one."""
    older, newer = scales(litert.tflite), scales(litert.backend)
    assert {1} == older["FULLY_CONNECTED"]
    assert 1 not in newer["FULLY_CONNECTED"]
    assert older["CONV_2D"] == newer["CONV_2D"]
