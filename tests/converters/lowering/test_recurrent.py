"""LSTM, GRU and RNN against ONNX Runtime."""

import numpy as np
import pytest
from onnx import helper

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
STEPS, BATCH, SIZE, HIDDEN = 4, 2, 3, 5


def _parameters(kind: str, directions: int) -> dict[str, np.ndarray]:
    generator, rows = np.random.default_rng(9), GATES[kind] * HIDDEN
    shapes = {"w": (directions, rows, SIZE), "r": (directions, rows, HIDDEN), "b": (directions, 2 * rows)}
    return {name: (generator.normal(size=shape) / 2).astype(np.float32) for name, shape in shapes.items()}


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("stateful", [False, True])
def test_directions_and_states(convert, kind, direction, stateful):
    """Every direction, with the state in and out."""
    directions = 2 if direction == "bidirectional" else 1
    names = ["x", "w", "r", "b", "", *(["h", "c"] if kind == "LSTM" else ["h"])]
    outputs = ("y", "yh", "yc") if kind == "LSTM" else ("y", "yh")
    node = helper.make_node(
        kind, names if stateful else names[:4], outputs, hidden_size=HIDDEN, direction=direction
    )
    state = dict.fromkeys(names[5:], (directions, BATCH, HIDDEN)) if stateful else {}
    inputs = {"x": (STEPS, BATCH, SIZE), **state}
    convert([node], inputs, outputs=outputs, constants=_parameters(kind, directions), tolerance=1e-5)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_lengths(convert, kind):
    """A shorter sample keeps its state, and its outputs are zeros behind its end."""
    outputs = ("y", "yh")
    node = helper.make_node(kind, ["x", "w", "r", "b", "n"], outputs, hidden_size=HIDDEN, direction="reverse")
    inputs = {"x": (STEPS, BATCH, SIZE), "n": np.array([2, 4], np.int32)}
    convert([node], inputs, outputs=outputs, constants=_parameters(kind, 1), tolerance=1e-5)


def test_peepholes_clip_and_coupled_gates(convert):
    """An LSTM with everything it may have."""
    parameters = _parameters("LSTM", 1)
    parameters["p"] = np.random.default_rng(1).normal(size=(1, 3 * HIDDEN)).astype(np.float32)
    node = helper.make_node(
        "LSTM",
        ["x", "w", "r", "b", "", "h", "c", "p"],
        ["y"],
        hidden_size=HIDDEN,
        clip=0.7,
        activations=["HardSigmoid", "Relu", "Tanh"],
    )
    state = dict.fromkeys("hc", (1, BATCH, HIDDEN))
    convert([node], {"x": (STEPS, BATCH, SIZE), **state}, constants=parameters, tolerance=1e-5)


@pytest.mark.parametrize("reset_after", [0, 1])
def test_gru_reset(convert, reset_after):
    """linear_before_reset resets the product with its bias instead of the state."""
    node = helper.make_node(
        "GRU", ["x", "w", "r", "b"], ["y"], hidden_size=HIDDEN, linear_before_reset=reset_after
    )
    convert([node], {"x": (STEPS, BATCH, SIZE)}, constants=_parameters("GRU", 1), tolerance=1e-5)


def test_too_long(judge):
    """A sequence of thousands of steps is refused."""
    node = helper.make_node("RNN", ["x", "w", "r"], ["y"], hidden_size=HIDDEN)
    parameters = _parameters("RNN", 1)
    (verdict,) = judge([node], {"x": (2000, 1, SIZE)}, constants={n: parameters[n] for n in "wr"})
    assert "too long" in verdict.reason
