"""The LiteRT runtime (`ai-edge-litert`): TFLite flatbuffers on the CPU.

Public tensor names are those of the signature `serving_default` where the model has one, otherwise the
tensors' own.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from device_agent.bundle import Quantization, TensorSpec
from device_agent.errors import InvalidRequest, RuntimeMissing, WorkerFailed
from device_agent.protocol import Queried, RuntimeDevice
from device_agent.runtimes.base import DEFAULT, Options, check_inputs
from device_agent.tensors import DTYPES, Tensor

if TYPE_CHECKING:
    import numpy as np

SIGNATURE = "serving_default"


class LiteRT:
    """The runtime; see the module."""

    name = "litert"
    distribution = "ai-edge-litert"

    @cache  # noqa: B019 - instances last as the process does, and under it nothing is installed
    def version(self) -> str | None:
        """The version of the installed distribution."""
        from importlib import metadata  # asked for by a request; the agent is up a twentieth earlier without

        try:
            return metadata.version(self.distribution)
        except metadata.PackageNotFoundError:
            return None

    def load(self, path: Path, options: Options = DEFAULT) -> LiteRTSession:
        """The model in a `.tflite` file, its tensors allocated."""
        try:
            interpreter_class = self.interpreter()
        except ImportError as e:
            raise RuntimeMissing(
                "the runtime cannot be imported",
                where=self.distribution,
                got=str(e),
                next_step=f"Install {self.distribution} on the device.",
            ) from e
        try:
            interpreter = interpreter_class(model_path=str(path), num_threads=options.threads)
            interpreter.allocate_tensors()
            return LiteRTSession(interpreter)
        except (ValueError, RuntimeError, TypeError) as e:  # what the C++ side's refusals come out as
            raise WorkerFailed(
                f"{self.distribution} refuses the model", where=path.name, got=str(e).strip()[:500]
            ) from e

    def devices(self) -> tuple[RuntimeDevice, ...]:
        """The CPU: all that its interpreter runs on."""
        from device_agent import system  # which tells of the runtimes, too

        return (RuntimeDevice("CPU", system.cpu(), ("FP32", "INT8")),)

    def query(self, path: Path, options: Options, devices: tuple[str, ...]) -> Queried:  # noqa: ARG002 - it has no answer
        """There is no choice between processors: an InvalidRequest says so."""
        raise InvalidRequest(
            "the runtime has one processor, which runs every operator of a model that it loads",
            where=self.name,
            got=", ".join(devices),
            next_step="Load the model: an operator that it cannot run is named then.",
        )

    def interpreter(self) -> Any:
        """The class that runs models; ImportError where it is missing, or something that it needs."""
        from ai_edge_litert.interpreter import Interpreter

        return Interpreter


class LiteRTSession:
    """A loaded TFLite model."""

    def __init__(self, interpreter: Any) -> None:  # its class may only be named where it is imported
        self._interpreter = interpreter
        inputs, outputs = _public_details(interpreter)
        self._input_index = {name: int(row["index"]) for name, row in inputs.items()}
        self._output_index = {name: int(row["index"]) for name, row in outputs.items()}
        self.inputs = tuple(_spec(name, row) for name, row in inputs.items())
        self.outputs = tuple(_spec(name, row) for name, row in outputs.items())
        self._shapes = {name: tuple(int(n) for n in row["shape"]) for name, row in inputs.items()}

    def set_inputs(self, tensors: Mapping[str, Tensor]) -> None:
        """Put the inputs in place; an input with an open dimension takes the shape it is given."""
        check_inputs(self.inputs, tensors)
        shapes = {name: tensor.shape for name, tensor in tensors.items()}
        if shapes != self._shapes:
            self._resize(shapes)
        for name, tensor in tensors.items():
            self._interpreter.set_tensor(self._input_index[name], _array(tensor))

    def _resize(self, shapes: dict[str, tuple[int, ...]]) -> None:
        self._shapes = {}  # until it has worked: the interpreter cannot run in between
        try:
            for name, shape in shapes.items():
                self._interpreter.resize_tensor_input(self._input_index[name], shape, strict=True)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as e:
            raise InvalidRequest(
                "the model cannot take inputs of these shapes", got=f"{shapes}: {str(e).strip()[:300]}"
            ) from e
        self._shapes = shapes

    def invoke(self) -> None:
        """Run the model once."""
        try:
            self._interpreter.invoke()
        except (ValueError, RuntimeError) as e:
            raise WorkerFailed("LiteRT cannot run the model", got=str(e).strip()[:500]) from e

    def get_outputs(self) -> dict[str, Tensor]:
        """Copies of the outputs of the last `invoke`."""
        found = {}
        for name, index in self._output_index.items():
            array = self._interpreter.get_tensor(index)
            found[name] = Tensor(array.dtype.name, tuple(array.shape), array.tobytes())
        return found


def _public_details(interpreter: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """LiteRT's descriptions of the inputs and outputs by public name."""
    inputs = {row["name"]: row for row in interpreter.get_input_details()}
    outputs = {row["name"]: row for row in interpreter.get_output_details()}
    if SIGNATURE not in interpreter.get_signature_list():
        return inputs, outputs
    runner = interpreter.get_signature_runner(SIGNATURE)
    named_inputs, named_outputs = runner.get_input_details(), runner.get_output_details()

    def indices(rows: Mapping[str, Any]) -> set[int]:
        return {int(row["index"]) for row in rows.values()}

    # a signature may belong to another subgraph than the one that `invoke` runs
    if indices(named_inputs) == indices(inputs) and indices(named_outputs) <= indices(outputs):
        return named_inputs, named_outputs
    return inputs, outputs


def _spec(name: str, row: Mapping[str, Any]) -> TensorSpec:
    dtype = str(row["dtype"].__name__)
    dtype = {"bool_": "bool"}.get(dtype, dtype)
    if dtype not in DTYPES:
        raise WorkerFailed(
            "a tensor's dtype is not supported", where=name, got=dtype, expected=", ".join(DTYPES)
        )
    # LiteRT gives an empty signature shape where no dimension is open
    shape = row["shape_signature"] if len(row["shape_signature"]) else row["shape"]
    parameters = row["quantization_parameters"]
    quantization = None
    if len(parameters["scales"]):
        quantization = Quantization(
            scale=tuple(float(value) for value in parameters["scales"]),
            zero_point=tuple(int(value) for value in parameters["zero_points"]),
            axis=int(parameters["quantized_dimension"]),
        )
    return TensorSpec(name, dtype, tuple(int(size) for size in shape), None, quantization)


def _array(tensor: Tensor) -> np.ndarray[Any, Any]:
    import numpy as np

    return np.frombuffer(tensor.data, dtype=tensor.dtype).reshape(tensor.shape)
