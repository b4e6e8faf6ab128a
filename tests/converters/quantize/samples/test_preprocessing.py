"""From images to inputs: the description, its errors, and the pixels that come out."""

from pathlib import Path

import numpy as np
import pytest
from attrs import evolve
from PIL import Image

from converters.model import Model
from converters.quantize.samples.preprocessing import (
    Preprocessing,
    completed,
    decode,
    load_preprocessing,
    open_folder,
)
from device_agent.bundle import TensorSpec
from device_agent.errors import CalibrationError, FileMissing, InvalidRequest

NHWC = TensorSpec("image", "float32", (1, 4, 6, 3))


def model(spec: TensorSpec = NHWC) -> Model:
    return Model(Path("m.onnx"), "onnx", "0" * 64, 1, (spec,), (spec,), (), 0, None)


def described(tmp_path: Path, text: str) -> Preprocessing:
    file = tmp_path / "p.toml"
    file.write_text(text)
    return load_preprocessing(file)


def picture(tmp_path: Path, size: tuple[int, int] = (6, 4), name: str = "a.png") -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / name)
    return tmp_path / name


def test_defaults_come_from_the_model(tmp_path):
    """An empty description stretches to the model's size and leaves 0..255 as they are."""
    how = completed(described(tmp_path, ""), NHWC, "p.toml")
    assert (6, 4, "rgb", "NHWC") == (how.width, how.height, how.channels, how.layout)
    file = picture(tmp_path)
    with Image.open(file) as image:
        np.testing.assert_array_equal(np.asarray(image, np.float32), decode(file, how, "float32"))


def test_scale_mean_std_and_bgr(tmp_path):
    """x = (pixel * scale - mean) / std, per channel in the order of the channels."""
    text = 'channels = "bgr"\nscale = 0.5\nmean = [1, 2, 3]\nstd = 2'
    file = picture(tmp_path)
    got = decode(file, completed(described(tmp_path, text), NHWC, "p.toml"), "float32")
    with Image.open(file) as image:
        pixels = np.asarray(image, np.float32)
    np.testing.assert_allclose((pixels[..., ::-1] * 0.5 - [1, 2, 3]) / 2, got, rtol=1e-6)


def test_channels_first_and_gray(tmp_path):
    """A channel-first model gets [C, H, W]; one channel is gray."""
    spec = TensorSpec("image", "float32", (1, 1, 4, 6))
    got = decode(picture(tmp_path), completed(Preprocessing(), spec, "p"), "float32")
    assert (1, 4, 6) == got.shape


def test_crop_keeps_proportions(tmp_path):
    """Crop fills the input and cuts what sticks out: the middle of a wide image stays."""
    image = Image.new("RGB", (24, 4), (0, 0, 0))
    image.paste((255, 0, 0), (9, 0, 15, 4))
    image.save(tmp_path / "wide.png")
    how = completed(Preprocessing(resize="crop"), NHWC, "p")
    assert (255.0, 0.0) == (
        decode(tmp_path / "wide.png", how, "float32")[..., 0].min(),
        decode(tmp_path / "wide.png", how, "float32")[..., 1].max(),
    )


def test_integer_inputs_are_rounded(tmp_path):
    """An integer input gets whole numbers."""
    how = completed(Preprocessing(scale=0.5), TensorSpec("i", "uint8", (1, 4, 6, 3)), "p")
    got = decode(picture(tmp_path), how, "uint8")
    assert np.uint8 == got.dtype


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("scael = 1.0", ["unknown key", "'scael'", "scale"]),
        ('resize = "squeeze"', ["resize", "'squeeze'", "stretch or crop or none"]),
        ('layout = "HWC"', ["layout", "NHWC or NCHW"]),
        ("std = [1.0, 0.0, 1.0]", ["std must not be 0"]),
        ("width = 'a'", ["width"]),
        ("width = ", ["not valid TOML"]),
    ],
)
def test_bad_descriptions(tmp_path, text, words):
    """Each names the file and the key."""
    with pytest.raises(InvalidRequest) as caught:
        described(tmp_path, text)
    for word in ["p.toml", *words]:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("how", "spec", "words"),
    [
        (Preprocessing(width=7), NHWC, "width 7.*width 6"),
        (Preprocessing(channels="gray"), NHWC, "1 channels.*3 channels"),
        (Preprocessing(mean=(1.0, 2.0)), NHWC, "mean.*2.*1 or 3"),
        (Preprocessing(), TensorSpec("i", "float32", (1, 3, 8, 3)), "layout"),
        (Preprocessing(), TensorSpec("i", "float32", (1, 8, 8, 8)), "layout"),
        (Preprocessing(layout="NCHW"), TensorSpec("i", "float32", (1, 4, 4, 3), "NHWC"), "NCHW.*NHWC"),
    ],
)
def test_descriptions_that_do_not_make_the_input(how, spec, words):
    """What the description makes is compared with the model's input."""
    with pytest.raises(InvalidRequest, match=words):
        completed(how, spec, "p.toml")


def test_the_layout_is_the_inputs(tmp_path):
    """An input that says how it lies decides, also where its shape would say otherwise."""
    spec = TensorSpec("i", "float32", (1, 3, 8, 8), "NHWC")
    assert (
        "NHWC"
        == completed(
            described(tmp_path, 'channels = "gray"\nwidth = 8'), evolve(spec, shape=(1, 3, 8, 1)), "p"
        ).layout
    )


def test_a_missing_description_is_shown_by_example(tmp_path):
    """Without a description, the error shows one to write."""
    picture(tmp_path)
    with pytest.raises(CalibrationError, match=r"preprocessing\.toml") as caught:
        open_folder(tmp_path, model(), None)
    assert 'resize = "crop"' in str(caught.value)
    with pytest.raises(FileMissing, match=r"other\.toml"):
        open_folder(tmp_path, model(), tmp_path / "other.toml")


def test_the_example_is_valid(tmp_path):
    """What the error shows works as it stands."""
    from converters.quantize.samples.preprocessing import EXAMPLE

    assert "crop" == described(tmp_path, EXAMPLE).resize


def test_folders_without_images(tmp_path):
    """A folder with nothing to decode is refused."""
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(CalibrationError, match="no images"):
        open_folder(tmp_path, model(), None)


def test_models_without_an_image_input(tmp_path):
    """Images do not fit a model whose input is none."""
    picture(tmp_path)
    with pytest.raises(CalibrationError, match=r"x\[1, 10\]"):
        open_folder(tmp_path, model(TensorSpec("x", "float32", (1, 10))), None)


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n" + b"\0" * 40])
def test_unreadable_images_are_named(tmp_path, content):
    """A broken image is named, not skipped."""
    (tmp_path / "preprocessing.toml").write_text("")
    (tmp_path / "broken.png").write_bytes(content)
    with pytest.raises(CalibrationError, match=r"broken\.png.*cannot be read"):
        next(open_folder(tmp_path, model(), None)())


def test_truncated_images_are_named(tmp_path):
    """An image that was cut off is named."""
    file = picture(tmp_path, (64, 64), "cut.jpg")
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(CalibrationError, match=r"cut\.jpg"):
        decode(file, completed(Preprocessing(), NHWC, "p"), "float32")


def test_resize_none_wants_the_exact_size(tmp_path):
    """With resize none, an image of another size is refused by name."""
    file = picture(tmp_path, (7, 4))
    with pytest.raises(CalibrationError, match=r"a\.png.*7x4.*6x4"):
        decode(file, completed(Preprocessing(resize="none"), NHWC, "p"), "float32")
