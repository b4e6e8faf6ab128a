"""A job on its way to the TensorFlow process."""

from pathlib import Path

import numpy as np

from converters.shaping import Shaping
from converters.tensorflow.job import Job


def job(shaping: Shaping) -> Job:
    return Job.of("keras", Path("net.keras"), "00", shaping)


def test_a_job_crosses_the_pipe():
    """What a job is made of arrives as it was, and what belongs to one run beside it."""
    sent = job(Shaping(2, {"x": (1, 4, 7)}, {"n": np.array([3, 4], np.int32)}))
    run = {"x": sent.bound[0][1]}
    received, inputs = Job.parse(sent.head(), sent.payload(run))
    assert (sent, run) == (received, inputs)
    np.testing.assert_array_equal([3, 4], received.shaping().bind["n"])
    assert {"x": (1, 4, 7)} == received.shaping().input_shapes
    assert sent != job(Shaping())
