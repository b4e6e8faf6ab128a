"""Axis orders, against NumPy."""

import itertools

import numpy as np
import pytest

from converters.lowering import layout


@pytest.mark.parametrize("perm", list(itertools.permutations(range(3))))
def test_transposed(perm):
    """A transpose changes how a tensor is read, not the tensor."""
    value = np.arange(24).reshape(2, 3, 4)
    for order in itertools.permutations(range(3)):
        tensor = np.transpose(value, order)
        new = layout.transposed(order, perm)
        np.testing.assert_array_equal(tensor, np.transpose(np.transpose(value, perm), new))


@pytest.mark.parametrize(
    ("shape", "target"),
    [
        ((2, 3, 4, 5), (2, 3, 20)),
        ((2, 3, 4, 5), (2, 60)),
        ((2, 3, 4, 5), (6, 20)),
        ((1, 3, 4, 5), (3, 4, 5)),
        ((2, 3, 1, 1), (2, 3)),
        ((2, 3), (2, 1, 3, 1)),
        ((1, 1, 1), (1,)),
        ((2, 12), (2, 3, 4)),
        ((2, 6, 4), (2, 2, 3, 4)),
        ((4, 6), (6, 4)),
    ],
)
def test_reshaped(shape, target):
    """Wherever an order is given, the tensor's bytes hold the reshaped value in it."""
    value = np.arange(np.prod(shape)).reshape(shape)
    kept = 0
    for order in itertools.permutations(range(len(shape))):
        new = layout.reshaped(shape, order, target)
        if new is not None:
            kept += 1
            tensor = np.transpose(value, order).reshape(layout.physical(target, new))
            np.testing.assert_array_equal(tensor, np.transpose(value.reshape(target), new))
    assert kept > 0
    assert layout.reshaped(shape, layout.identity(len(shape)), target) is not None


def test_reshaped_refuses_what_must_move():
    """A channel-first flattening of a feature map in NHWC moves elements."""
    assert layout.reshaped((1, 3, 4, 5), (0, 2, 3, 1), (1, 60)) is None


def test_reshaped_keeps_space_apart():
    """Space is flattened where it lies, channels stay last."""
    assert (0, 2, 1) == layout.reshaped((2, 3, 4, 5), (0, 2, 3, 1), (2, 3, 20))


def test_padded():
    """Broadcasting puts its axes in front."""
    assert (0, 1, 3, 2) == layout.padded((1, 0), 4)
