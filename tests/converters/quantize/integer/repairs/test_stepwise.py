"""Running a graph from operator to operator: the same values as at once, and what is past is let go of."""

import numpy as np
import pytest

from converters.quantize.integer.repairs.stepwise import Stepwise, most_samples
from tests.converters.quantize.integer.repairs.conftest import outputs


def test_the_values_are_those_of_the_whole_graph(tower, seeded):
    """In whatever steps, the last layer reads what it reads in the whole graph."""
    data = seeded(tower, 3)
    samples = list(data.samples())
    last = tower.operators[-1].inputs[0]
    tower.outputs = {"read": last}
    expected = outputs(tower, data)
    for steps in ((4,), (1, 2, 3, 4), (0, 3, 3, 4)):
        run = Stepwise(tower, samples)
        for end in steps:
            run.run(end)
        np.testing.assert_allclose(expected, np.array(run.values(last)), rtol=1e-5, atol=1e-5)


def test_what_is_past_is_let_go_of(tower, seeded):
    """A tensor that no later operator reads is no longer held."""
    run = Stepwise(tower, list(seeded(tower, 2).samples()))
    run.run(2)
    assert 2 == len(run.values(tower.operators[1].outputs[0]))
    for gone in ("x", tower.operators[0].outputs[0]):
        with pytest.raises(KeyError):
            run.values(gone)


def test_a_constant_may_change_on_the_way(tower, seeded):
    """Operators that have not run yet see constants that were changed."""
    run = Stepwise(tower, list(seeded(tower, 2).samples()))
    run.run(1)
    weights = tower.tensors[tower.operators[1].inputs[1]]
    weights.data = np.zeros_like(weights.data)
    run.run(2)
    values = np.array(run.values(tower.operators[1].outputs[0]))
    bias = tower.tensors[tower.operators[1].inputs[2]].data
    np.testing.assert_allclose(np.broadcast_to(np.maximum(bias, 0), values.shape), values, rtol=1e-6)


def test_samples_are_bounded_by_what_is_held(tower):
    """The budget is divided by the most that is held at once: here 64 positions of 16 + 16 values."""
    assert 10 == most_samples(tower, 10 * 4 * 64 * 32)
    assert 1 == most_samples(tower, 1)
