"""How images become a model's input: a TOML description, and the folder of images it is applied to.

    resize = "crop"        # "stretch", "crop" (fill, cut what sticks out) or "none" (must fit already)
    width = 96             # pixels; the model's own where absent
    height = 96
    channels = "rgb"       # "rgb", "bgr" or "gray"; by the model's number of channels where absent
    layout = "NHWC"        # or "NCHW"; by the model's shape where absent
    scale = 0.00392156863  # x = (pixel * scale - mean) / std, pixels are 0..255
    mean = [0.485, 0.456, 0.406]
    std = [0.229, 0.224, 0.225]

`mean` and `std` are one number or one per channel. Every key may be left out.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import evolve

from device_agent import codec
from device_agent.bundle import Preprocessing
from device_agent.errors import CalibrationError, FileMissing, InvalidRequest

if TYPE_CHECKING:
    import numpy as np

    from converters.model import Model
    from device_agent.bundle import TensorSpec

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")
FILE_NAME = "preprocessing.toml"
CHOICES = {
    "resize": ("stretch", "crop", "none"),
    "channels": ("rgb", "bgr", "gray"),
    "layout": ("NHWC", "NCHW"),
}
EXAMPLE = 'resize = "crop"\nchannels = "rgb"\nscale = 0.00392156863  # 1/255\nmean = [0.0]\nstd = [1.0]'


def load_preprocessing(path: Path) -> Preprocessing:
    """The description in a TOML file.

    Raises:
        FileMissing: no such file.
        InvalidRequest: not TOML, an unknown key (near ones are named), or a value out of its range.
    """
    if not path.is_file():
        raise FileMissing("no such preprocessing description", where=str(path))
    try:
        data = tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise InvalidRequest("not valid TOML", where=str(path), got=str(e)) from e
    defaults = codec.to_json(Preprocessing())
    for key in data.keys() - defaults.keys():
        near = difflib.get_close_matches(key, defaults, n=1)
        expected = " or ".join(near) or ", ".join(defaults)
        raise InvalidRequest("unknown key", where=str(path), got=repr(key), expected=expected)
    for key in ("mean", "std"):
        if isinstance(data.get(key), (int, float)):
            data[key] = [data[key]]
    found = codec.from_json({**defaults, **data}, Preprocessing, where=str(path))
    for key, known in CHOICES.items():
        value = getattr(found, key)
        if value is not None and value not in known:
            raise InvalidRequest(
                f"unknown {key}", where=str(path), got=repr(value), expected=" or ".join(known)
            )
    if 0 in found.std or found.width < 0 or found.height < 0:
        raise InvalidRequest("std must not be 0, width and height not negative", where=str(path))
    return found


def open_folder(
    folder: Path, model: Model, description: Path | None
) -> Callable[[], Iterator[Mapping[str, np.ndarray]]]:
    """The images of a folder and its subfolders in sorted order, decoded one at a time on every pass.

    Args:
        folder: with .jpg, .jpeg, .png or .bmp files somewhere below it.
        model: of one input, an image.
        description: the preprocessing file; `preprocessing.toml` in the folder if None.

    Raises:
        CalibrationError: no images, no description, or the model's input is no image; an image that
            cannot be read is named when its turn comes.
    """
    images = images_in(folder)
    how = described(folder, model, description)
    spec = model.inputs[0]
    return lambda: ({spec.name: decode(image, how, spec.dtype)[None]} for image in images)


def images_in(folder: Path) -> list[Path]:
    """The images of a folder and its subfolders in sorted order; CalibrationError where there are none."""
    images = sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
    if not images:
        raise CalibrationError(
            "the folder holds no images", where=str(folder), expected=" or ".join(SUFFIXES) + " files"
        )
    return images


def described(folder: Path, model: Model, description: Path | None) -> Preprocessing:
    """How the images of a folder become the model's input: see `open_folder`."""
    if len(model.inputs) != 1 or len(model.inputs[0].shape) != 4:
        raise CalibrationError(
            "a folder of images needs a model whose one input is an image",
            where=str(folder),
            got=", ".join(f"{spec.name}{list(spec.shape)}" for spec in model.inputs),
            expected="one input [N, H, W, C] or [N, C, H, W]",
            next_step="Give an .npz file with an array per input instead.",
        )
    if description is None:
        description = folder / FILE_NAME
        if not description.is_file():
            raise CalibrationError(
                "images need a description of how they become the model's input",
                where=str(folder),
                next_step=f"Write {description}, or name one with `--preprocessing`, such as:\n{EXAMPLE}",
            )
    return completed(load_preprocessing(description), model.inputs[0], str(description))


def completed(how: Preprocessing, spec: TensorSpec, where: str) -> Preprocessing:
    """`how` with everything it leaves open taken from the model's input, and checked against it."""
    shape = spec.shape[1:]
    layout = how.layout
    if layout is not None and spec.layout in CHOICES["layout"] and layout != spec.layout:
        raise InvalidRequest(
            "the description says another layout than the model's input has",
            where=where,
            got=f'layout = "{layout}"',
            expected=f"{spec.layout}: {list(spec.shape)}",
            next_step="Leave `layout` out: the images are laid as the input is.",
        )
    if layout is None and spec.layout in CHOICES["layout"]:
        layout = spec.layout
    if layout is None:
        last, first = shape[2] in (1, 3), shape[0] in (1, 3)
        if last == first:
            raise InvalidRequest(
                "the layout does not show in the model's shape",
                where=where,
                got=str(list(spec.shape)),
                expected='layout = "NHWC" or layout = "NCHW"',
            )
        layout = "NHWC" if last else "NCHW"
    height, width, depth = shape if layout == "NHWC" else (shape[1], shape[2], shape[0])
    channels = how.channels or {1: "gray", 3: "rgb"}.get(depth)
    got = (how.height or height, how.width or width, {"gray": 1}.get(channels or "", 3))
    if got != (height, width, depth):
        raise InvalidRequest(
            "the description does not make the model's input",
            where=where,
            got=f"height {got[0]}, width {got[1]}, {got[2]} channels",
            expected=f"height {height}, width {width}, {depth} channels",
        )
    for key in ("mean", "std"):
        if len(getattr(how, key)) not in (1, depth):
            raise InvalidRequest(
                f"{key} has the wrong length",
                where=where,
                got=str(len(getattr(how, key))),
                expected=f"1 or {depth}",
            )
    return evolve(how, width=width, height=height, channels=channels, layout=layout)


def decode(path: Path, how: Preprocessing, dtype: str) -> np.ndarray:
    """One image as the model's input without its batch: `dtype[H, W, C]` or `dtype[C, H, W]`.

    Raises:
        CalibrationError: the file is no image that can be read, or has the wrong size and `resize` is none.
    """
    import numpy as np
    from PIL import Image, ImageOps

    size = (how.width, how.height)
    try:
        with Image.open(path) as file:
            image = file.convert("L" if how.channels == "gray" else "RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as e:  # SyntaxError: broken PNG
        raise CalibrationError("the image cannot be read", where=str(path), got=str(e)) from e
    if image.size != size:
        if how.resize == "none":
            raise CalibrationError(
                'the image has another size, and resize is "none"',
                where=str(path),
                got="{}x{}".format(*image.size),
                expected="{}x{}".format(*size),
            )
        bilinear = Image.Resampling.BILINEAR
        crop = how.resize == "crop"
        image = ImageOps.fit(image, size, bilinear) if crop else image.resize(size, bilinear)
    pixels = np.asarray(image, np.float32)
    pixels = pixels[..., None] if how.channels == "gray" else pixels
    if how.channels == "bgr":
        pixels = pixels[..., ::-1]
    values = (pixels * np.float32(how.scale) - np.asarray(how.mean, np.float32)) / np.asarray(
        how.std, np.float32
    )
    if how.layout == "NCHW":
        values = values.transpose(2, 0, 1)
    if not dtype.startswith("float"):
        limits = np.iinfo(dtype)
        values = np.clip(np.rint(values), limits.min, limits.max)
    return np.ascontiguousarray(values, dtype)
