"""Resize in all its modes, against ONNX Runtime."""

import numpy as np
import pytest
from onnx import helper


def _resize(**attributes: object) -> list:
    return [helper.make_node("Resize", ["x", "", "s"], ["y"], **attributes)]


def _scales(*scales: float) -> dict[str, np.ndarray]:
    return {"s": np.array(scales, np.float32)}


@pytest.mark.parametrize("coordinates", ["half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel"])
@pytest.mark.parametrize("mode", ["linear", "cubic"])
@pytest.mark.parametrize("scales", [(2, 2), (0.6, 0.5), (1, 3)])
def test_interpolation(convert, coordinates, mode, scales):
    """Larger and smaller, by every mapping of places."""
    nodes = _resize(mode=mode, coordinate_transformation_mode=coordinates)
    convert(nodes, {"x": (1, 3, 5, 8)}, constants=_scales(1, 1, *scales), tolerance=1e-5)


@pytest.mark.parametrize("coordinates", ["half_pixel", "align_corners", "asymmetric"])
@pytest.mark.parametrize("rounding", ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
@pytest.mark.parametrize("scales", [(2, 2), (0.5, 0.5), (1.5, 3)])
def test_nearest(convert, coordinates, rounding, scales):
    """Every rounding is exact."""
    nodes = _resize(mode="nearest", coordinate_transformation_mode=coordinates, nearest_mode=rounding)
    convert(nodes, {"x": (1, 3, 6, 8)}, constants=_scales(1, 1, *scales), tolerance=0)


@pytest.mark.parametrize(
    ("mode", "coordinates", "rounding", "builtin"),
    [
        ("linear", "half_pixel", "floor", "RESIZE_BILINEAR"),
        ("linear", "align_corners", "floor", "RESIZE_BILINEAR"),
        ("linear", "asymmetric", "floor", "RESIZE_BILINEAR"),
        ("nearest", "asymmetric", "floor", "RESIZE_NEAREST_NEIGHBOR"),
        ("nearest", "half_pixel", "round_prefer_floor", "RESIZE_NEAREST_NEIGHBOR"),
    ],
)
def test_builtins(convert, mode, coordinates, rounding, builtin):
    """What the builtins compute is left to them."""
    nodes = _resize(mode=mode, coordinate_transformation_mode=coordinates, nearest_mode=rounding)
    made = convert(nodes, {"x": (1, 3, 6, 8)}, constants=_scales(1, 1, 2, 2), tolerance=1e-5)
    assert ["TRANSPOSE", builtin, "TRANSPOSE"] == made.types


def test_sizes_of_named_axes(convert):
    """Operator set 18 names the axes; the aspect ratio may be kept."""
    node = helper.make_node(
        "Resize", ["x", "", "", "n"], ["y"], axes=(3, 2), keep_aspect_ratio_policy="not_larger", mode="linear"
    )
    constants = {"n": np.array([9, 7], np.int64)}
    convert([node], {"x": (1, 2, 4, 6)}, constants=constants, opset=18, tolerance=1e-5)


def test_one_axis_of_three(convert):
    """A sequence is resized along its axis alone."""
    nodes = _resize(mode="linear")
    convert(nodes, {"x": (2, 3, 7)}, constants=_scales(1, 1, 2.5), tolerance=1e-5)


@pytest.mark.parametrize("value", [0.0, 7.5])
def test_crop(convert, value):
    """Outside of the input is the extrapolation value."""
    node = helper.make_node(
        "Resize",
        ["x", "r", "", "n"],
        ["y"],
        mode="linear",
        coordinate_transformation_mode="tf_crop_and_resize",
        extrapolation_value=value,
    )
    constants = {
        "r": np.array([0, 0, 0.2, 0.5, 1, 1, 0.9, 1.3], np.float32),
        "n": np.array([1, 1, 4, 5], np.int64),
    }
    convert([node], {"x": (1, 1, 6, 7)}, constants=constants, tolerance=1e-5)


def test_computed_scales(judge):
    """Scales that the model computes are refused."""
    node = helper.make_node("Resize", ["x", "", "s"], ["y"])
    (verdict,) = judge([node], {"x": (1, 1, 4, 4), "s": (4,)})
    assert not verdict.ok


@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("align", [0, 1])
def test_grid_sample(convert, mode, padding, align):
    """Places inside and outside of the image, computed when the model runs."""
    grid = np.random.default_rng(6).uniform(-1.6, 1.6, (2, 4, 3, 2)).astype(np.float32)
    node = helper.make_node(
        "GridSample", ["x", "g"], ["y"], mode=mode, padding_mode=padding, align_corners=align
    )
    made = convert([node], {"x": (2, 3, 5, 6), "g": grid}, tolerance=1e-4)
    assert 1 == made.types.count("GATHER")
