"""Runs in a process of its own, the only one that imports openvino: describes models of the IR and runs them.

    declare   {path}          -> declared {inputs}    an open size is null
    describe  {path, shapes}  -> described {outputs, operators, parameters}
    open      {path, shapes}  -> opened {version}
    run       payload: inputs -> outputs, payload: outputs

`import openvino` starts a thread of its telemetry, which may reach for the network: not here, and not in the
user's process.
"""

from __future__ import annotations

import math
import sys
from typing import Any

sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # an import of it fails, which is allowed for

import openvino  # noqa: E402 - after the line above

from converters.readers import child  # noqa: E402
from device_agent.errors import EdgeError, InvalidModel  # noqa: E402
from device_agent.frames import Frame  # noqa: E402

_NO_OPERATORS = ("Parameter", "Result", "Constant")
_F32 = {"INFERENCE_PRECISION_HINT": "f32"}  # on some processors the default is bfloat16


class _Models:
    """The model that was opened, and the answers to all requests."""

    def __init__(self) -> None:
        self._core = openvino.Core()
        self._compiled: Any = None
        self._names: tuple[list[str], list[str]] = ([], [])

    def declare(self, frame: Frame) -> Frame:
        """The inputs as the file declares them."""
        model = self._core.read_model(frame.head["path"])
        ports = zip(_names(model.inputs), model.inputs, strict=True)
        return Frame({"kind": "declared", "inputs": [(name, *_declared(name, port)) for name, port in ports]})

    def describe(self, frame: Frame) -> Frame:
        """Outputs, operators and parameters of a model, its inputs shaped."""
        model = self._read(frame)
        outputs = _names(model.outputs)
        operators = model.get_ordered_ops()
        constants = [node for node in operators if node.get_type_name() == "Constant"]
        head = {
            "kind": "described",
            "outputs": [_spec(port, name) for port, name in zip(model.outputs, outputs, strict=True)],
            "operators": [
                (node.get_type_name(), node.get_friendly_name())
                for node in operators
                if node.get_type_name() not in _NO_OPERATORS
            ],
            "parameters": sum(math.prod(node.get_output_shape(0)) for node in constants),
        }
        return Frame(head)

    def open(self, frame: Frame) -> Frame:
        """Compile a model for the CPU, in float32."""
        model = self._read(frame)
        self._names = _names(model.inputs), _names(model.outputs)
        self._compiled = self._core.compile_model(model, "CPU", _F32)
        return Frame({"kind": "opened", "version": openvino.__version__.partition("-")[0]})

    def run(self, frame: Frame) -> Frame:
        """Run the model once."""
        given = child.unpack(frame.payload)
        names, answers = self._names
        found = self._compiled([given[name] for name in names])
        return Frame({"kind": "outputs"}, child.pack({name: found[i] for i, name in enumerate(answers)}))

    def _read(self, frame: Frame) -> Any:
        model = self._core.read_model(frame.head["path"])
        shapes = {
            port: frame.head["shapes"][name]
            for name, port in zip(_names(model.inputs), model.inputs, strict=True)
        }
        if shapes:
            model.reshape(shapes)
        return model


def _names(ports: Any) -> list[str]:
    """A name per port: of its tensor's names the least, or the node's."""
    found: list[str] = []
    for port in ports:
        node = port.get_node()
        if node.get_type_name() == "Result":
            node = node.input_value(0).get_node()
        name = min(port.get_names(), default=node.get_friendly_name())
        number = found.count(name)
        found.append(f"{name}_{number}" if number else name)
    return found


def _declared(name: str, port: Any) -> tuple[str, list[int | None]]:
    """Dtype and sizes of an input."""
    shape = port.get_partial_shape()
    if shape.rank.is_dynamic:
        raise InvalidModel(
            "an input has no shape",
            got=repr(name),
            expected="a tensor of known rank",
            next_step="Convert the model with the shapes of its inputs.",
        )
    return _dtype(port), [size.get_length() if size.is_static else None for size in shape]


def _spec(port: Any, name: str) -> tuple[str, str, list[int]]:
    """Name, dtype and shape of an input or output, now that the inputs are fixed."""
    shape = port.get_partial_shape()
    if shape.is_dynamic:
        raise InvalidModel("the shape of an output depends on values", got=f"{name!r}: {shape}")
    return name, _dtype(port), [size.get_length() for size in shape]


def _dtype(port: Any) -> str:
    try:
        found: str = port.get_element_type().to_dtype().name
    except RuntimeError:  # a type that NumPy has not, as bfloat16
        found = port.get_element_type().get_type_name()
    return found


def _failed(frame: Frame, cause: Exception) -> EdgeError:
    """What OpenVINO's errors mean; lines that only name its own source files say nothing."""
    own = ("Exception from", "Check '")
    lines = [line for line in str(cause).splitlines() if line.strip() and not line.startswith(own)]
    what = {
        "declare": "this is no OpenVINO IR, or a damaged one",
        "describe": "OpenVINO cannot give its inputs these shapes",
        "open": "OpenVINO cannot compile it for the CPU",
        "run": "OpenVINO cannot run it",
    }[frame.kind]
    return InvalidModel(
        what,
        got=" ".join(" ".join(lines).split())[:300] or type(cause).__name__,
        next_step="Convert the model anew with openvino.save_model.",
    )


if __name__ == "__main__":
    models = _Models()
    child.serve(
        {"declare": models.declare, "describe": models.describe, "open": models.open, "run": models.run},
        _failed,
    )
