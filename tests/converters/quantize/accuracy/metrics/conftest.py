"""Models without a file, for what only looks at their inputs and outputs."""

from collections.abc import Callable
from pathlib import Path

import pytest

from converters.model import Model
from device_agent.bundle import TensorSpec


def _model(
    *outputs: tuple[int, ...], inputs: tuple[tuple[int, ...], ...] = ((1, 8),), dtype: str = "float32"
) -> Model:
    """A model with float inputs x0, x1, ... and outputs y0, y1, ... of these shapes."""
    ins = tuple(TensorSpec(f"x{index}", "float32", shape) for index, shape in enumerate(inputs))
    outs = tuple(TensorSpec(f"y{index}", dtype, shape) for index, shape in enumerate(outputs))
    return Model(Path("m.onnx"), "onnx", "0" * 64, 1, ins, outs, (), 0, None)


@pytest.fixture(scope="session")
def model_of() -> Callable[..., Model]:
    return _model
