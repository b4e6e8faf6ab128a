"""Static shapes: the batch, whole shapes, bound inputs, and what does not fit."""

from pathlib import Path

import numpy as np
import pytest

from converters.shaping import Shaping
from converters.tensorflow.job import Job, array_of
from converters.tensorflow.shapes import End, static_shapes
from device_agent.errors import InvalidModel, InvalidRequest

INPUTS = (End("x", (None, 4, None), "float32"), End("n", (2,), "int32"))


def job(shaping: Shaping) -> Job:
    return Job.of("keras", Path("net.keras"), "00", shaping)


@pytest.mark.parametrize(
    ("shaping", "shapes"),
    [
        (Shaping(input_shapes={"x": (1, 4, 7)}), [(1, 4, 7), (2,)]),
        (Shaping(5, input_shapes={"x": (1, 4, 7)}), [(1, 4, 7), (2,)]),
        (Shaping(bind={"x": np.zeros((3, 4, 2), np.float32)}), [(3, 4, 2), (2,)]),
    ],
)
def test_shapes(shaping, shapes):
    """A whole shape goes before the batch; a bound input has that of its value."""
    assert shapes == static_shapes(INPUTS, job(shaping))


def test_batch():
    """An open first axis becomes the batch, a fixed one stays."""
    ends = (End("x", (None, 3), "float32"), End("y", (2, 3), "float32"))
    assert [(5, 3), (2, 3)] == static_shapes(ends, job(Shaping(5)))


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (End("x", (None, 4, None), "float32"), r"input 'x', axis 2.*--input-shape x=1,4,\?"),
        (End("x", None, "float32"), "no shape"),
        (End("x", (None,), "string"), "dtype"),
    ],
)
def test_what_stays_open(end, words):
    """An axis beside the batch, an unknown rank and a dtype of no runtime are errors of the model."""
    with pytest.raises(InvalidModel, match=words):
        static_shapes((end,), job(Shaping()))


@pytest.mark.parametrize(
    ("shaping", "words"),
    [
        (Shaping(input_shapes={"z": (1,)}), "no such input: got z, expected x, n"),
        (Shaping(input_shapes={"x": (1, 5, 7)}), r"got \[1, 5, 7\], expected \[any, 4, any\]"),
        (Shaping(input_shapes={"x": (1, 4)}), r"got \[1, 4\]"),
        (Shaping(bind={"n": np.zeros(2, np.float32), "x": np.zeros((1, 4, 1), np.float32)}), "another dtype"),
    ],
)
def test_what_does_not_fit(shaping, words):
    """Names and shapes that the model has not are errors of the request."""
    with pytest.raises(InvalidRequest, match=words):
        static_shapes(INPUTS, job(shaping))


def test_a_job_crosses_the_pipe():
    """What a job is made of arrives as it was, and what belongs to one run beside it."""
    sent = job(Shaping(2, {"x": (1, 4, 7)}, {"n": np.array([3, 4], np.int32)}))
    run = {"x": sent.bound[0][1]}
    received, inputs = Job.parse(sent.head(), sent.payload(run))
    assert (sent, run) == (received, inputs)
    np.testing.assert_array_equal([3, 4], array_of(received.bound[0][1]))
    assert sent != job(Shaping())
