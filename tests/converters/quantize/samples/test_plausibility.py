"""Samples out of a model's range, told by what it answers to them; good samples raise no note."""

from pathlib import Path

import numpy as np
import pytest

from converters.model import Model, Operator
from converters.quantize.samples import plausibility
from converters.quantize.samples.calibration import Calibration, load_calibration
from device_agent.bundle import TensorSpec

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (40, 8, 8, 3)).astype(np.float32)
WEIGHTS = RNG.normal(size=(192, 10)) * 0.3
BIAS = RNG.normal(size=10)


def model(*first: str, classes: int = 10) -> Model:
    operators = tuple(Operator(index, kind, kind) for index, kind in enumerate((*first, "Conv", "Relu")))
    ends = [(TensorSpec("x", "float32", (1, 8, 8, 3)),), (TensorSpec("y", "float32", (1, classes)),)]
    return Model(Path("m.onnx"), "onnx", "0" * 64, 1, *ends, operators, 0, None)


def logits(sample: dict[str, np.ndarray]) -> np.ndarray:
    """A network that was trained on pixels of -1 to 1."""
    return (sample["x"].reshape(1, -1) @ WEIGHTS + BIAS).astype(np.float32)


def softmax(sample: dict[str, np.ndarray]) -> np.ndarray:
    powers = np.exp(logits(sample) - logits(sample).max())
    return powers / powers.sum()


def noted(source: Model, data: Calibration, answer) -> tuple[str, ...]:
    return plausibility.notes(source, data, ({"y": answer(sample)} for sample in data.samples()))


def samples(x: np.ndarray) -> Calibration:
    return load_calibration(x.astype(np.float32), model())


@pytest.mark.parametrize("answer", [logits, softmax])
def test_good_samples(answer):
    """Samples as the model expects them raise no note."""
    assert () == noted(model(), samples(PIXELS / 127.5 - 1), answer)


def test_pixels_that_were_not_scaled():
    """0..255 given to a model of -1..1 saturates it: said, with what the input holds."""
    saturated, held = noted(model(), samples(PIXELS), softmax)
    assert "certain, to the last digit, of" in saturated
    assert "'x' holds whole numbers from 0 to 255" in held
    assert "0 to 1, or -1 to 1" in held


@pytest.mark.parametrize(("scale", "expected"), [(1, 2), (1.5, 0)])
def test_half_of_the_answers_certain(scale, expected):
    """So many certain answers are a sign where the inputs look like raw pixels, else a good model's."""

    def answer(sample: dict[str, np.ndarray]) -> np.ndarray:
        share = 1.0 if sample["x"][0, 0, 0, 0] > 127 * scale else 0.7
        return np.roll(np.float32([[share, 1 - share, *[0] * 8]]), int(sample["x"][0, 0, 0, 1]) % 10)

    assert expected == len(noted(model(), samples(PIXELS * scale), answer))


def test_inputs_that_are_far_too_large():
    """Other inputs than pixels that saturate nearly every answer are told of too."""
    (saturated,) = noted(model(), samples((PIXELS / 127.5 - 1) * 500), softmax)
    assert "certain, to the last digit, of" in saturated


@pytest.mark.parametrize("answer", [logits, softmax])
def test_inputs_that_are_far_too_small(answer):
    """Inputs of a hundredth leave the biases: the model answers the same to all of them."""
    same, held = noted(model(), samples((PIXELS / 127.5 - 1) / 100), answer)
    assert f"answers class {BIAS.argmax()} to all 40 samples" in same
    assert "are they prepared as the model expects? Are they of one class?" in same
    assert "0 to 255" in held


def test_an_output_that_does_not_change():
    """An output that is no class score and stays the same is told of."""
    (said, _) = noted(model(classes=1), samples(PIXELS), lambda _: np.array([[0.3]], np.float32))
    assert "output 'y' changes by nothing over 40 samples" in said


def test_quantities_are_no_classes():
    """A box whose last coordinate is always the greatest is no model that answers the same to all."""
    assert () == noted(
        model(classes=4),
        samples(PIXELS / 255),
        lambda sample: np.float32([[0, 0, 5, 9]]) + sample["x"].reshape(1, -1)[:, :1] * 50,
    )


@pytest.mark.parametrize(
    ("first", "answer", "expected"),
    [((), logits, 1), (("Mul",), logits, 0), (("Sub", "Div"), logits, 0), ((), softmax, 0)],
)
def test_whole_numbers_alone(first, answer, expected):
    """Raw pixels are asked about where neither the model's own scaling nor its answers speak for them."""
    found = noted(model(*first), samples(PIXELS), lambda sample: answer({"x": sample["x"] / 127.5 - 1}))
    assert expected == len(found)
    assert all("right only if the model scales them itself" in said for said in found)


def test_few_samples_say_nothing():
    """Of fewer samples than are enough, sameness is no sign."""
    assert () == noted(model(), samples((PIXELS[:19] / 127.5 - 1) / 100), softmax)
