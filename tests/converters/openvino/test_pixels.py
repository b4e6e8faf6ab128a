"""Preprocessing folded into a model: the same images as pixels give the same answers."""

from pathlib import Path

import numpy as np
import pytest
from onnx import helper
from PIL import Image

import edge_sdk
from converters.convert import Conversion
from device_agent.bundle import Preprocessing, TensorSpec
from device_agent.errors import InvalidRequest
from device_agent.tensors import Tensor, unpack
from tests.converters import onnx_files
from tests.converters.onnx_files import weights

HOW = 'channels = "bgr"\nscale = 0.5\nmean = [3.0, 2.0, 1.0]\nstd = [0.5, 0.25, 0.5]\n'


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    """Four images of noise, and how they become inputs."""
    folder = tmp_path_factory.mktemp("images")
    generator = np.random.default_rng(0)
    for index in range(4):
        pixels = generator.integers(0, 256, (6, 5, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    (folder / "preprocessing.toml").write_text(HOW)
    return folder


@pytest.fixture(scope="module")
def network(tmp_path_factory) -> Path:
    """A convolution over x[1, 3, 6, 5]."""
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"])]
    path = tmp_path_factory.mktemp("network") / "net.onnx"
    return onnx_files.save(path, nodes, {"x": [1, 3, 6, 5]}, {"y": 4}, {"w": weights(4, 3, 3, 3)})


def converted(network: Path, images: Path | None, *, runtime: str = "openvino", fold: bool) -> Conversion:
    model = edge_sdk.load(network)
    plan = edge_sdk.plan(model, "local", precision="float32", runtime=runtime)
    return edge_sdk.convert(model, plan, calibration=images, fold_preprocessing=fold)


def array(tensor: Tensor) -> np.ndarray:
    return np.frombuffer(tensor.data, tensor.dtype).reshape(tensor.shape)


def test_folded(network, images):
    """Channels, scale, mean and standard deviation are in the model; golden inputs are the images' pixels."""
    plain, folded = converted(network, images, fold=False), converted(network, images, fold=True)
    assert (TensorSpec("x", "uint8", (1, 6, 5, 3), "NHWC"),) == folded.artifact.inputs
    assert Preprocessing("stretch", 5, 6, "rgb", "NHWC") == folded.preprocessing
    pixels = unpack(folded.golden_inputs)
    for index in range(folded.golden_samples):
        expected = np.asarray(Image.open(images / f"{index}.png"))
        np.testing.assert_array_equal(expected[None], array(pixels[f"{index}/x"]))
    before, after = unpack(plain.golden_outputs), unpack(folded.golden_outputs)
    assert before.keys() == after.keys()
    for name in before:
        np.testing.assert_allclose(array(before[name]), array(after[name]), rtol=1e-5, atol=1e-3)
    added = len(folded.artifact.operators) - len(plain.artifact.operators)
    assert added > 0
    assert "preprocessing folded into the model" in folded.artifact.rewrites


def test_refusals(network, images, tmp_path):
    """Another runtime, samples that nobody described, and samples that are no images are refused by name."""
    with pytest.raises(InvalidRequest, match="got the runtime litert, expected openvino"):
        converted(network, images, runtime="litert", fold=True)
    with pytest.raises(InvalidRequest, match="how images become the model's input is not known"):
        converted(network, None, fold=True)
