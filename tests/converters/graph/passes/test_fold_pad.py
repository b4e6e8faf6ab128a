"""PAD before a convolution."""

import pytest

from converters.graph.passes.fold_pad import fold_pad
from converters.graph.passes.links import Links
from device_agent.bundle import Quantization


def _padded(b, tensor, amounts):
    shape = [size + sum(amount) for size, amount in zip(b.graph.tensors[tensor].shape, amounts, strict=True)]
    return b.add("PAD", [tensor, b.constant(value=amounts, dtype="int32")], shape)


@pytest.mark.parametrize(
    ("size", "stride", "amounts", "folds"),
    [
        (6, 1, (1, 1), True),
        (6, 2, (0, 1), True),
        (6, 2, (1, 0), False),
        (7, 2, (1, 1), True),
        (6, 1, (2, 2), False),
    ],
)
def test_same(build, rewrite, size, stride, amounts, folds):
    """Padding that is SAME's goes into the convolution; any other stays."""
    b = build((1, size, size, 3))
    padded = _padded(b, "x", [(0, 0), amounts, amounts, (0, 0)])
    graph = b.outputs(b.conv(padded, 4, stride=stride))
    expected = ({"fold_pad": 1, "remove_dead": 1}, ["CONV_2D"]) if folds else ({}, ["PAD", "CONV_2D"])
    assert expected == rewrite(graph)
    assert ((0, 1) if folds else (1,)) == graph.operators[-1].sources


def test_shared_padding(build, rewrite):
    """A PAD that something else reads stays for it."""
    b = build((1, 6, 6, 3))
    padded = _padded(b, "x", [(0, 0), (1, 1), (1, 1), (0, 0)])
    graph = b.outputs(b.conv(padded, 4), b.unary("RELU", padded))
    assert ({"fold_pad": 1}, ["PAD", "CONV_2D", "RELU"]) == rewrite(graph)


def test_padded_channels(build, rewrite):
    """Padding of channels is not SAME's."""
    b = build((1, 6, 6, 3))
    padded = _padded(b, "x", [(0, 0), (1, 1), (1, 1), (0, 1)])
    assert {} == rewrite(b.outputs(b.conv(padded, 4)))[0]


def test_integers_of_another_zero(build):
    """Where 0 is another integer behind the PAD than before it, the convolution would pad with it."""
    for padding_zero, folds in ((3, 1), (5, 0)):
        b = build((1, 6, 6, 3), "int8")
        padded = _padded(b, "x", [(0, 0), (1, 1), (1, 1), (0, 0)])
        b.graph.tensors["x"].quantization = Quantization((0.5,), (3,))
        b.graph.tensors[padded].quantization = Quantization((0.5,), (padding_zero,))
        assert folds == fold_pad(Links(b.outputs(b.conv(padded, 4))))


def test_open_axes(build):
    """What SAME pads depends on height and width, not on the batch."""
    b = build((1, 6, 6, 3))
    graph = b.outputs(b.conv(_padded(b, "x", [(0, 0), (1, 1), (1, 1), (0, 0)]), 4))
    assert 0 == fold_pad(Links(graph, fixed=False))
    assert 1 == fold_pad(Links(graph, fixed=False, fixed_inside=True))
