"""The reader of OpenVINO's IR: an `.xml` of operators with a `.bin` of weights beside it.

openvino is never imported here: `openvino_child` does it behind `child.Child`.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

from converters.model import Model, Operator
from converters.readers import child
from converters.readers.child import Child
from converters.verdict import Verdict
from device_agent.bundle import TensorSpec
from device_agent.errors import InvalidModel, InvalidRequest
from device_agent.tensors import DTYPES

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    import numpy as np

    from converters.graph.ir import Graph
    from converters.readers.base import Arrays
    from converters.shaping import Shaping

READ_SECONDS = 300.0
RUN_SECONDS = 300.0
_MODULE = "converters.readers.openvino_child"
_REFUSAL = "OpenVINO IR runs on the OpenVINO backend only, and there is none yet"
_HELP = "For TFLite give the model the IR was made of, as ONNX, Keras, PyTorch or TFLite."


@frozen
class OpenVinoSource:
    """The payload of an IR model: its file, and how its inputs are shaped there."""

    path: Path
    batch: int
    shapes: dict[str, list[int]]

    def request(self, kind: str) -> dict[str, Any]:
        """What the child is asked."""
        return {"kind": kind, "path": str(self.path), "batch": self.batch, "shapes": self.shapes}


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
        if shaping.bind or shaping.layout != "keep":
            raise InvalidRequest(
                "inputs of an OpenVINO IR cannot be bound, nor their layout changed",
                where=str(path),
                next_step=_HELP,
            )
        sha256, size_bytes = child.digest(path, *filter(Path.exists, [_weights(path)]))
        child.require("openvino", extra="openvino")
        shapes = {name: list(shape) for name, shape in shaping.input_shapes.items()}
        source = OpenVinoSource(path.absolute(), shaping.batch, shapes)
        with Child(_MODULE, "OpenVINO") as process, child.at(path):
            try:
                head = process.ask(source.request("describe"), where=str(path), seconds=READ_SECONDS).head
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
        if not head["operators"] or not head["outputs"]:
            raise InvalidModel("the model computes nothing", where=str(path), got="no operators or outputs")
        return Model(
            path=path,
            format=self.name,
            sha256=sha256,
            size_bytes=size_bytes,
            inputs=tuple(_spec(path, *spec) for spec in head["inputs"]),
            outputs=tuple(_spec(path, *spec) for spec in head["outputs"]),
            operators=tuple(
                Operator(index, kind, name) for index, (kind, name) in enumerate(head["operators"])
            ),
            parameters=head["parameters"],
            payload=source,
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


def _weights(path: Path) -> Path:
    return path.with_suffix(".bin")


def _spec(path: Path, name: str, dtype: str, shape: list[int]) -> TensorSpec:
    if dtype not in DTYPES:
        raise InvalidModel(
            "an input or output has a dtype that cannot be carried",
            where=f"{path}: {name!r}",
            got=dtype,
            expected=", ".join(DTYPES),
        )
    return TensorSpec(name, dtype, tuple(shape))


reader = OpenVinoReader()
