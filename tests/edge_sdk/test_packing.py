"""Bundles of conversions: what of the data they were made with travels in them."""

import json

import pytest
from PIL import Image

import edge_sdk
from device_agent.bundle import Preprocessing, read_bundle


@pytest.fixture
def photos(tmp_path):
    """A folder of two images and how they become inputs."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(2):
        Image.new("RGB", (12, 8), (number * 200, 10, 10)).save(folder / f"{number}.png")
    (folder / "preprocessing.toml").write_text(
        'resize = "crop"\nscale = 0.00392156863\nmean = [0.5, 0.4, 0.3]'
    )
    return folder


@pytest.fixture
def image_model(tmp_path):
    """A null model that takes an image."""
    path = tmp_path / "camera.null.json"
    shape = [1, 8, 8, 3]
    model = {
        "inputs": [{"name": "x", "dtype": "float32", "shape": shape, "layout": "NHWC"}],
        "outputs": [{"name": "y", "dtype": "int8", "shape": [1, 10]}],
    }
    path.write_text(json.dumps(model))
    return path


def test_how_images_become_inputs_travels(tmp_path, image_model, photos):
    """The bundle says how an image becomes the model's input, with nothing left open."""
    model = edge_sdk.load(image_model)
    plan = edge_sdk.plan(model, target="null", precision="int8")
    made = edge_sdk.convert(model, plan, calibration=photos)
    edge_sdk.pack(made, tmp_path / "bundle")
    expected = Preprocessing("crop", 8, 8, "rgb", "NHWC", 0.00392156863, (0.5, 0.4, 0.3), (1.0,))
    assert expected == read_bundle(tmp_path / "bundle").config.preprocessing
