"""DFT and STFT against ONNX Runtime, Pad in its modes."""

import numpy as np
import pytest
from onnx import helper


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize("inverse", [0, 1])
def test_dft(convert, parts, axis, inverse):
    """Real and complex signals along any axis."""
    node = helper.make_node("DFT", ["x"], ["y"], axis=axis, inverse=inverse)
    made = convert([node], {"x": (2, 6, 5, parts)}, opset=17, tolerance=1e-5)
    assert 1 == made.types.count("FULLY_CONNECTED")


@pytest.mark.parametrize("length", [4, 8, 11])
def test_dft_of_another_length(convert, length):
    """A signal is cut or filled with zeros; half of the transform is enough of a real one."""
    node = helper.make_node("DFT", ["x", "n"], ["y"], axis=1, onesided=1)
    constants = {"n": np.array(length, np.int64)}
    convert([node], {"x": (2, 8, 1)}, constants=constants, opset=17, tolerance=1e-5)


@pytest.mark.parametrize("constant", [True, False])
def test_stft(convert, constant):
    """A spectrogram is one convolution."""
    window = {"w": np.hanning(16).astype(np.float32)}
    constants = {"s": np.array(8, np.int64), **(window if constant else {})}
    node = helper.make_node("STFT", ["x", "s", "w"], ["y"])
    inputs = {"x": (2, 100, 1), **({} if constant else window)}
    made = convert([node], inputs, constants=constants, opset=17, tolerance=1e-5)
    assert 1 == made.types.count("CONV_2D")


@pytest.mark.parametrize("mode", ["edge", "wrap", "reflect", "constant"])
@pytest.mark.parametrize("pads", [(0, 1, 2, 0, 0, 1), (1, 2, 1, 1, 0, 3)])
def test_pad_modes(convert, mode, pads):
    """Every mode is exact."""
    node = helper.make_node("Pad", ["x", "p"], ["y"], mode=mode)
    convert([node], {"x": (2, 4, 5)}, constants={"p": np.array(pads, np.int64)}, opset=19, tolerance=0)


def test_negative_pads_and_a_computed_value(convert):
    """A negative amount crops; what is padded with may be computed."""
    node = helper.make_node("Pad", ["x", "p", "v"], ["y"])
    constants = {"p": np.array([-1, 2, 1, -2], np.int64)}
    inputs = {"x": (4, 5), "v": np.array(1.5, np.float32)}
    made = convert([node], inputs, constants=constants, tolerance=0)
    assert ["SLICE", "PADV2"] == made.types


def test_affine_grid(convert):
    """A constant grid by a computed matrix."""
    node = helper.make_node("AffineGrid", ["t", "n"], ["y"], align_corners=1)
    constants = {"n": np.array([2, 3, 4, 5], np.int64)}
    convert([node], {"t": (2, 2, 3)}, constants=constants, opset=20, tolerance=1e-5)
