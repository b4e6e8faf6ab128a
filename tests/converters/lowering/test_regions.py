"""RoiAlign and DeformConv against ONNX Runtime."""

import numpy as np
import onnx
import pytest
from onnx import helper

ROIS = np.array([[0, 0, 9, 7], [1.5, 2, 6, 6.25], [-3, -2, 4, 5], [5, 4, 14, 12], [3, 3, 3, 3]], np.float32)


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("mode", ["half_pixel", "output_half_pixel"])
@pytest.mark.parametrize("count", [1, 3])
def test_roi_align(convert, batch, mode, count):
    """Regions inside, across the edge and empty, of one image or several."""
    node = helper.make_node(
        "RoiAlign", ["x", "r", "b"], ["y"], output_height=3, output_width=2, sampling_ratio=count,
        spatial_scale=0.75, coordinate_transformation_mode=mode,
    )  # fmt: skip
    which = np.arange(len(ROIS), dtype=np.int64) % batch
    made = convert([node], {"x": (batch, 4, 7, 9), "r": ROIS, "b": which}, tolerance=1e-5)
    assert 1 <= made.types.count("BATCH_MATMUL") <= 2
    assert batch - 1 == made.types.count("GATHER")


@pytest.mark.parametrize("attributes", [{"mode": "max", "sampling_ratio": 2}, {"sampling_ratio": 0}])
def test_roi_align_refused(judge, attributes):
    """Maxima, and as many samples as a region asks for, are refused."""
    node = helper.make_node("RoiAlign", ["x", "r", "b"], ["y"], output_height=2, output_width=2, **attributes)
    (verdict,) = judge([node], {"x": (1, 2, 7, 9), "r": ROIS, "b": np.zeros(len(ROIS), np.int64)})
    assert not verdict.ok
    assert "max" in str(verdict) if "mode" in attributes else "sampling_ratio" in str(verdict)


@pytest.mark.parametrize(
    ("groups", "offset_groups", "masked", "attributes"),
    [
        (1, 1, False, {"pads": [1, 1, 1, 1]}),
        (1, 2, True, {"pads": [1, 0, 2, 1], "strides": [2, 1]}),
        (2, 1, True, {"dilations": [1, 2]}),
    ],
)
def test_deform_conv(convert, groups, offset_groups, masked, attributes):
    """Offsets into, between and outside the elements; in groups, with masks, strides and dilations."""
    inputs = ["x", "w", "o", "b", *(["m"] if masked else [])]
    node = helper.make_node(
        "DeformConv", inputs, ["y"], group=groups, offset_group=offset_groups, **attributes
    )
    x = np.zeros((2, 4, 6, 7), np.float32)
    weights = np.random.default_rng(1).normal(size=(6, 4 // groups, 3, 3)).astype(np.float32)
    plain = helper.make_node("Conv", ["x", "w"], ["y"], group=groups, **attributes)
    sizes = _shape(plain, {"x": x, "w": weights})[2:]
    generator = np.random.default_rng(2)
    offsets = generator.uniform(-2.5, 2.5, (2, offset_groups * 18, *sizes)).astype(np.float32)
    mask = generator.uniform(0, 1, (2, offset_groups * 9, *sizes)).astype(np.float32)
    given = {"x": x.shape, "o": offsets, **({"m": mask} if masked else {})}
    constants = {"w": weights, "b": generator.normal(size=6).astype(np.float32)}
    made = convert([node], given, constants=constants, opset=19, tolerance=1e-5)
    assert 1 == made.types.count("GATHER")


def _shape(node, arrays):
    """The shape of a node's output for these inputs."""
    types = {
        name: helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, a.shape) for name, a in arrays.items()
    }
    made = onnx.shape_inference.infer_node_outputs(onnx.defs.get_schema("Conv"), node, types)
    return [d.dim_value for d in made["y"].tensor_type.shape.dim]
