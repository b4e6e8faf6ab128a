"""Which files OpenVINO is given of a model: its own form first, then the TFLite graph made of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from converters import registry
from converters.readers import onnx

if TYPE_CHECKING:
    import numpy as np

    from converters.model import Model

_FROM_CHANNELS_FIRST = (0, 2, 3, 1)  # an axis of NHWC -> the same in NCHW


@frozen
class Road:
    """A file that OpenVINO is to read, and what is to be made of its ends.

    `name` says which form of the model it is. `known` are the names that inputs and outputs have in the file
    where they differ from the model's. `images` are ends that the file has as NCHW and the model as NHWC.
    `shapes` are the file's inputs', -1 where they stay open; `bound` inputs become constants.
    """

    name: str
    path: str
    shapes: Mapping[str, tuple[int, ...]]
    bound: Mapping[str, np.ndarray] = field(factory=dict, repr=False, eq=False)
    known: Mapping[str, str] = field(factory=dict)
    images: frozenset[str] = frozenset()
    lowered: bool = False  # through our own graph, where OpenVINO refuses the model's own form

    def request(self, model: Model) -> dict[str, Any]:
        """What the child is asked."""
        return {
            "kind": "open",
            "path": self.path,
            "inputs": [
                [spec.name, self.known.get(spec.name, spec.name), spec.dtype, list(self.shapes[spec.name])]
                for spec in model.inputs
            ],
            "outputs": [
                [spec.name, self.known.get(spec.name, spec.name), spec.dtype, list(spec.shape)]
                for spec in model.outputs
            ],
            "images": sorted(self.images),
        }


def of(model: Model, folder: Path) -> Iterator[Road]:
    """The roads of a model, in the order they are to be tried.

    Args:
        model: from a reader.
        folder: where files may be made; they are needed until the road was taken.
    """
    yield from _own(model, folder)
    lowered = _lowered(model, folder)
    if lowered is not None:
        yield lowered


def _own(model: Model, folder: Path) -> Iterator[Road]:
    """The model's own form, where OpenVINO reads that."""
    match model.format:
        case "onnx":
            yield _onnx("its ONNX file", model)
        case "torch":  # through the ONNX form that its reader made: see ADR 26
            yield _onnx("its ONNX form", model.payload.onnx)
        case "openvino":
            yield Road("its IR", str(model.payload.path), _shapes(model))
        case "saved_model":
            path = model.payload.job.path
            yield Road("its SavedModel", path, _shapes(model), model.shaping.bind)
        case "keras" if not model.dynamic:  # its SavedModel is traced for these sizes
            path = str(_exported(model, folder))
            yield Road("its SavedModel", path, _shapes(model), known=_numbered(model))
        case "tflite" if not model.dynamic:  # in its constants are these sizes
            from converters.readers.tflite import graph_of

            path = folder / "own.tflite"
            path.write_bytes(model.payload.data)
            graph = graph_of(model)
            yield Road("its TFLite file", str(path), _shapes(model), known=graph.inputs | graph.outputs)


def _onnx(name: str, model: Model) -> Road:
    return Road(
        name, str(model.path.absolute()), _shapes(model), model.shaping.bind, images=onnx.images(model)
    )


def _exported(model: Model, folder: Path) -> Path:
    """The Keras model as a SavedModel with the sizes and constants of its inputs, made by TensorFlow."""
    from converters.tensorflow.process import tensorflow
    from device_agent import tensors

    job = model.payload.job
    made = folder / "saved_model"
    head = {"kind": "export", "to": str(made), **job.head()}
    tensorflow.ask(head, tensors.pack(job.payload({})), about=job.path)
    return made


def _numbered(model: Model) -> dict[str, str]:
    """The names that `Opened.export` gives to the ends, by the model's: Keras's are no identifiers."""
    inputs = {spec.name: f"input_{index:04}" for index, spec in enumerate(model.inputs)}
    return inputs | {spec.name: f"output_{index:04}" for index, spec in enumerate(model.outputs)}


def _lowered(model: Model, folder: Path) -> Road | None:
    """The TFLite graph that becomes of it here, if one does."""
    from converters import resizing
    from converters.backends.litert import rewrite
    from converters.graph.write import write

    if model.dynamic:
        graph = resizing.opened(model).graph
    else:
        graph, _ = registry.reader(model.format).lower(model)
        if graph is not None:
            rewrite(graph, model)
    if graph is None:
        return None
    path = folder / "lowered.tflite"
    path.write_bytes(write(graph))
    images = {spec.name for spec in model.inputs if spec.layout == "NHWC" and model.shaping.layout == "nhwc"}
    shapes = {
        name: tuple(shape[_FROM_CHANNELS_FIRST[axis]] for axis in range(4)) if name in images else shape
        for name, shape in _shapes(model).items()
    }
    return Road(
        "the TFLite graph made of it", str(path), shapes, known=graph.inputs | graph.outputs, lowered=True
    )


def _shapes(model: Model) -> dict[str, tuple[int, ...]]:
    """The shapes of the inputs as the source's axes lie, -1 where they stay open."""
    open_axes = {place for axis in model.dynamic for place in axis.places}
    found = {}
    for spec in model.inputs:
        sizes = model.shaping.input_shapes.get(spec.name, spec.shape)
        found[spec.name] = tuple(
            -1 if (spec.name, axis) in open_axes else size for axis, size in enumerate(sizes)
        )
    return found
