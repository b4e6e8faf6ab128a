"""A conversion whose model takes raw pixels: what made images its input is folded into the model.

Resizing stays with the caller: OpenVINO's has no filter against aliasing, and the model was calibrated on
images that were resized with one.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import evolve, frozen

from converters.artifact import opened
from converters.openvino.opened import MODULE, SAVE_SECONDS, Files, files_in
from converters.readers import child
from converters.readers.child import Child
from device_agent.bundle import Preprocessing, TensorSpec
from device_agent.errors import InvalidRequest
from device_agent.tensors import Tensor, pack, unpack

if TYPE_CHECKING:
    import numpy as np

    from converters.convert import Conversion

_NEAR = 0.01  # of a pixel's step: how far a golden input may be from one that was made of whole pixels


@frozen
class Folded:
    """An IR that takes pixels, and the types of the operators that prepare them, all in floating point."""

    files: Files
    added: tuple[str, ...]


def folded(files: Files, spec: TensorSpec, how: Preprocessing) -> Folded:
    """The IR with preprocessing before its input `spec`.

    Args:
        files: an IR.
        spec: the input that images become.
        how: complete, as `completed` makes it.

    Raises:
        InvalidModel: OpenVINO cannot do it.
        MissingDependency: openvino is not installed.
    """
    child.require("openvino", extra="openvino")
    with Child(MODULE, "OpenVINO") as process, tempfile.TemporaryDirectory(prefix="edge-") as folder:
        place = Path(folder)
        (place / "model.xml").write_bytes(files.xml)
        (place / "model.bin").write_bytes(files.weights)
        request = {
            "kind": "fold",
            "folder": folder,
            "input": spec.name,
            "channels": how.channels,
            "layout": how.layout,
            "mean": [value / how.scale for value in how.mean],
            "std": [value / how.scale for value in how.std],
        }
        answer = process.ask(request, where=spec.name, seconds=SAVE_SECONDS)
        return Folded(files_in(place), tuple(answer.head["added"]))


def taking_pixels(conversion: Conversion) -> Conversion:
    """A conversion for OpenVINO with its preprocessing folded in: `uint8[N, H, W, C]`, RGB or gray.

    Its golden inputs are the same images as pixels, its golden outputs what the new model gives of them.

    Raises:
        InvalidRequest: another runtime; how images become inputs is not known; the input takes integers; or
            golden inputs are no images.
    """
    artifact, how = conversion.artifact, conversion.preprocessing
    check(artifact.runtime, how, conversion.plan.model)
    (spec,) = artifact.inputs
    if how is None or not spec.dtype.startswith("float"):
        raise InvalidRequest(
            "the model takes integers already",
            where=artifact.title,
            got=spec.dtype,
            expected="an input in floating point",
        )
    ((_, weights),) = artifact.files.items()
    made = folded(Files(artifact.data, weights), spec, how)
    batch = spec.shape[0]
    raw = TensorSpec(spec.name, "uint8", (batch, how.height, how.width, _depth(how)), "NHWC")
    artifact = evolve(
        artifact,
        data=made.files.xml,
        files=dict.fromkeys(artifact.files, made.files.weights),
        inputs=(raw,),
        operators=(*made.added, *artifact.operators),
        float_operators=(*made.added, *artifact.float_operators),
        rewrites={**artifact.rewrites, "preprocessing folded into the model": 1},
    )
    session = opened(artifact)
    inputs, outputs = {}, {}
    for name, tensor in unpack(conversion.golden_inputs).items():
        sample = name.partition("/")[0]
        inputs[name] = _pixels(tensor, how)
        session.set_inputs({spec.name: inputs[name]})
        session.invoke()
        outputs.update({f"{sample}/{key}": value for key, value in session.get_outputs().items()})
    left = Preprocessing(how.resize, how.width, how.height, "gray" if _depth(how) == 1 else "rgb", "NHWC")
    return evolve(
        conversion,
        artifact=artifact,
        golden_inputs=pack(inputs),
        golden_outputs=pack(outputs),
        preprocessing=left,
    )


def check(runtime: str, how: Preprocessing | None, model: str) -> None:
    """Refuse what has no preprocessing to fold, before anything is made.

    Args:
        runtime: that is to run the model.
        how: images become inputs; None where nobody said.
        model: its file, for errors.

    Raises:
        InvalidRequest: another runtime than OpenVINO, or `how` is None.
    """
    if runtime != "openvino":
        raise InvalidRequest(
            "only a model for OpenVINO can hold its preprocessing",
            where=model,
            got=f"the runtime {runtime}",
            expected="openvino",
            next_step="Choose it with `--runtime openvino`, or prepare images as the bundle's metadata says.",
        )
    if how is None:
        raise InvalidRequest(
            "how images become the model's input is not known, so it cannot be folded into the model",
            where=model,
            next_step="Give a folder of images with `--calibration`, and a description of them.",
        )


def _depth(how: Preprocessing) -> int:
    return 1 if how.channels == "gray" else 3


def _pixels(tensor: Tensor, how: Preprocessing) -> Tensor:
    """The pixels that a golden input was made of."""
    import numpy as np

    values: np.ndarray = np.frombuffer(tensor.data, tensor.dtype).reshape(tensor.shape).astype(np.float64)
    if how.layout == "NCHW":
        values = values.transpose(0, 2, 3, 1)
    exact = (values * np.asarray(how.std) + np.asarray(how.mean)) / how.scale
    if how.channels == "bgr":
        exact = exact[..., ::-1]
    whole = np.rint(exact)
    if np.abs(exact - whole).max() > _NEAR or whole.min() < 0 or whole.max() > 255:
        raise InvalidRequest(
            "the calibration samples are no images that were prepared as described",
            got=f"{exact.flat[0]:g} where a pixel is expected",
            next_step="Give a folder of images with `--calibration`.",
        )
    return Tensor("uint8", whole.shape, whole.astype(np.uint8).tobytes())
