"""The reader of OpenVINO's IR: an `.xml` of operators with a `.bin` of weights beside it.

openvino is never imported here: `openvino_child` does it behind `child.Child`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from attrs import evolve, frozen

from converters.model import Model, Operator
from converters.readers import child
from converters.readers.child import Child
from converters.shaping import Declared, resolve
from converters.verdict import Verdict
from device_agent.bundle import TensorSpec
from device_agent.errors import InvalidModel, InvalidRequest
from device_agent.tensors import DTYPES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    import numpy as np

    from converters.graph.ir import Graph
    from converters.readers.base import Arrays
    from converters.shaping import Shaping

READ_SECONDS = 300.0
RUN_SECONDS = 300.0
_MODULE = "converters.readers.openvino_child"
_REFUSAL = "OpenVINO IR runs on OpenVINO only"
_HELP = (
    "Choose `--runtime openvino`, or give the model the IR was made of, as ONNX, Keras, PyTorch or TFLite."
)


@frozen
class OpenVinoSource:
    """The payload of an IR model: its file, and the shapes of its inputs."""

    path: Path
    shapes: dict[str, tuple[int, ...]]

    def request(self, kind: str) -> dict[str, Any]:
        """What the child is asked."""
        return {"kind": kind, "path": str(self.path), "shapes": self.shapes}


@frozen
class OpenVinoReader:
    """Reads OpenVINO's IR; see `readers.base.Reader`. The payload of its models is an `OpenVinoSource`."""

    name: str = "openvino"
    suffixes: tuple[str, ...] = (".xml",)
    folders: tuple[str, ...] = ()

    def read(self, path: Path, shaping: Shaping) -> Model:
        """The model in an IR; its digest is that of the `.xml` and the `.bin`, one after the other.

        Raises:
            FileMissing: there is no such file.
            InvalidModel: no IR, a damaged one, no `.bin` beside it, or a dimension stays open.
            InvalidRequest: an input is to be bound, or a layout changed.
            MissingDependency: openvino is not installed.
        """
        if shaping.bind or shaping.dynamic or shaping.layout != "keep":
            raise InvalidRequest(
                "inputs of an OpenVINO IR can be given shapes, nothing else",
                where=str(path),
                next_step=_HELP,
            )
        sha256, size_bytes = child.digest(path, *filter(Path.exists, [_weights(path)]))
        child.require("openvino", extra="openvino")
        where = str(path)
        with Child(_MODULE, "OpenVINO") as process, child.at(path):
            inputs = _declared(process, path)
            resolved = resolve(inputs, shaping, where)
            source = OpenVinoSource(path.absolute(), resolved.shapes)
            head = process.ask(source.request("describe"), where=where, seconds=READ_SECONDS).head
        if not head["operators"] or not head["outputs"]:
            raise InvalidModel("the model computes nothing", where=where, got="no operators or outputs")
        return Model(
            path=path,
            format=self.name,
            sha256=sha256,
            size_bytes=size_bytes,
            inputs=tuple(_spec(path, one.name, one.dtype, resolved.shapes[one.name]) for one in inputs),
            outputs=tuple(_spec(path, *spec) for spec in head["outputs"]),
            operators=tuple(
                Operator(index, kind, name) for index, (kind, name) in enumerate(head["operators"])
            ),
            parameters=head["parameters"],
            payload=source,
            shaping=evolve(shaping, input_shapes=resolved.shapes),
        )

    def lower(self, model: Model) -> tuple[Graph | None, tuple[Verdict, ...]]:
        """Always a refusal: an IR is compiled by OpenVINO, it does not become a TFLite graph."""
        return None, tuple(
            Verdict.no(_REFUSAL, operator=operator.type, place=operator.name, help=_HELP)
            for operator in model.operators
        )

    def reference(self, model: Model) -> tuple[str, Callable[[Arrays], dict[str, np.ndarray]]]:
        """OpenVINO on the CPU in float32, in a process that ends with the last reference to the function.

        Raises:
            InvalidModel: OpenVINO cannot compile or run it.
            MissingDependency: it is not installed.
        """
        child.require("openvino", extra="openvino")
        process = Child(_MODULE, "OpenVINO")
        where = str(model.path)
        with child.at(model.path):
            opened = process.ask(model.payload.request("open"), where=where, seconds=READ_SECONDS)

        def run(inputs: Arrays) -> dict[str, np.ndarray]:
            with child.at(model.path):
                answer = process.ask({"kind": "run"}, child.pack(inputs), where=where, seconds=RUN_SECONDS)
            return child.unpack(answer.payload)

        return f"openvino {opened.head['version']}", run


def _declared(process: Child, path: Path) -> list[Declared]:
    """The inputs of an IR; where it cannot be read and has no weights, that is the likely cause."""
    request = {"kind": "declare", "path": str(path.absolute())}
    try:
        head = process.ask(request, where=str(path), seconds=READ_SECONDS).head
    except InvalidModel as e:
        if _weights(path).exists() or not e.what.startswith("this is no OpenVINO IR"):
            raise
        raise InvalidModel(
            "its weights are missing, or it is no OpenVINO IR",
            where=str(path),
            got=e.got,
            expected=f"{_weights(path).name} beside it",
            next_step="Copy both files that openvino.save_model wrote.",
        ) from e
    return [Declared(name, dtype, tuple(sizes)) for name, dtype, sizes in head["inputs"]]


def _weights(path: Path) -> Path:
    return path.with_suffix(".bin")


def _spec(path: Path, name: str, dtype: str, shape: Sequence[int]) -> TensorSpec:
    if dtype not in DTYPES:
        raise InvalidModel(
            "an input or output has a dtype that cannot be carried",
            where=f"{path}: {name!r}",
            got=dtype,
            expected=", ".join(DTYPES),
        )
    return TensorSpec(name, dtype, tuple(shape))


reader = OpenVinoReader()
