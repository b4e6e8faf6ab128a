"""The OpenVINO runtime: its IR (an `.xml` with its weights in a `.bin`) on the processors that it has here.

openvino's telemetry, a thread that may reach for the network, is never started.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from device_agent.bundle import Execution, TensorSpec
from device_agent.errors import InvalidRequest, RuntimeMissing, WorkerFailed
from device_agent.protocol import OperatorTiming, Queried, QueriedDevice, RuntimeDevice
from device_agent.runtimes.base import DEFAULT, Options, check_inputs
from device_agent.runtimes.openvino_timings import RESOLUTION_NS, Timings
from device_agent.tensors import DTYPES, Tensor

if TYPE_CHECKING:
    import numpy as np

_TELEMETRY = "openvino_telemetry"
_MESSAGE_LENGTH = 500


class OpenVINO:
    """The runtime; see the module."""

    name = "openvino"

    @cache  # noqa: B019 - instances last as the process does, and under it nothing is installed
    def version(self) -> str | None:
        """The version of the installed distribution."""
        from importlib import metadata  # see LiteRT.version

        try:
            return metadata.version("openvino")
        except metadata.PackageNotFoundError:
            return None

    def load(self, path: Path, options: Options = DEFAULT) -> OpenVINOSession:
        """The model in an IR, compiled for the device of `options.execution`."""
        openvino = _openvino()
        execution = options.execution or Execution()
        weights = next((file for title, file in options.files.items() if title.endswith(".bin")), None)
        try:
            core = openvino.Core()
            model = core.read_model(str(path), "" if weights is None else str(weights))
            compiled = core.compile_model(model, execution.device, _properties(execution, options))
            return OpenVINOSession(openvino, compiled, execution.hint, profile=options.profile)
        except (RuntimeError, TypeError, ValueError) as e:
            raise WorkerFailed(
                "openvino refuses the model", where=path.name, got=str(e).strip()[-_MESSAGE_LENGTH:]
            ) from e

    def devices(self) -> tuple[RuntimeDevice, ...]:
        """The processors that OpenVINO finds here."""
        core = _openvino().Core()
        return tuple(
            RuntimeDevice(
                name,
                str(core.get_property(name, "FULL_DEVICE_NAME")),
                tuple(core.get_property(name, "OPTIMIZATION_CAPABILITIES")),
            )
            for name in core.available_devices
        )

    def query(self, path: Path, options: Options, devices: tuple[str, ...]) -> Queried:
        """Which operators of an IR each device can run, asked with `query_model`."""
        core = _openvino().Core()
        weights = next((file for title, file in options.files.items() if title.endswith(".bin")), None)
        model = core.read_model(str(path), "" if weights is None else str(weights))
        operators = tuple(node.get_friendly_name() for node in model.get_ordered_ops())
        found = []
        for device in devices:
            try:
                runs = core.query_model(model, device)
                found.append(QueriedDevice(device, tuple(name for name in operators if name in runs)))
            except RuntimeError as e:
                found.append(QueriedDevice(device, (), str(e).strip()[-_MESSAGE_LENGTH:]))
        return Queried(operators, tuple(found))


class OpenVINOSession:
    """A model that is loaded."""

    resolution_ns = RESOLUTION_NS

    def __init__(self, openvino: Any, compiled: Any, hint: str, *, profile: bool) -> None:
        self.hint = hint
        self._openvino = openvino
        self._compiled = compiled
        self._request = compiled.create_infer_request()
        self._tensors: list[Any] = []
        self._timings = None
        if profile:
            self._timings = Timings(self._request, {}, str(compiled.get_property("EXECUTION_DEVICES")[0]))
        self.inputs = tuple(_spec(port) for port in compiled.inputs)
        self.outputs = tuple(_spec(port) for port in compiled.outputs)

    def set_inputs(self, tensors: Mapping[str, Tensor]) -> None:
        """Put the inputs in place."""
        check_inputs(self.inputs, tensors)
        arrays = [_array(tensors[spec.name]) for spec in self.inputs]
        self._tensors = [self._openvino.Tensor(array, shared_memory=True) for array in arrays]
        for index, tensor in enumerate(self._tensors):
            self._request.set_input_tensor(index, tensor)

    def invoke(self) -> None:
        """Run the model once."""
        try:
            self._request.infer(share_outputs=True)  # by default it copies them
        except RuntimeError as e:
            raise _failed(e) from e
        if self._timings is not None:
            self._timings.ran()

    def latency_ns(self) -> int:
        """Of the last `invoke`, by openvino's clock."""
        latency_ms: float = self._request.latency
        return round(latency_ms * 1e6)

    def get_outputs(self) -> dict[str, Tensor]:
        """Copies of the outputs of the last `invoke`."""
        found = {}
        for index, spec in enumerate(self.outputs):
            array = self._request.get_output_tensor(index).data
            found[spec.name] = Tensor(array.dtype.name, tuple(array.shape), array.tobytes())
        return found

    def reset_timings(self) -> None:
        """Begin to count anew."""
        if self._timings is not None:
            self._timings.reset()

    def timings(self) -> tuple[OperatorTiming, ...]:
        """Means over the runs since then; empty where it was not loaded to count."""
        return () if self._timings is None else self._timings.means()

    def stream(self, seconds: float) -> float:
        """Runs per second, as many side by side as the compiled model has room for."""
        try:
            queue = self._openvino.AsyncInferQueue(self._compiled)
            for request in queue:
                for index, tensor in enumerate(self._tensors):
                    request.set_input_tensor(index, tensor)
            for _ in range(len(queue)):  # the first run of each is slower
                queue.start_async()
            queue.wait_all()
            count = 0
            begin = time.perf_counter_ns()
            while not count or time.perf_counter_ns() - begin < seconds * 1e9:
                queue.start_async()
                count += 1
            queue.wait_all()
        except RuntimeError as e:
            raise _failed(e) from e
        return count * 1e9 / (time.perf_counter_ns() - begin)


def _failed(error: RuntimeError) -> WorkerFailed:
    return WorkerFailed("openvino cannot run the model", got=str(error).strip()[-_MESSAGE_LENGTH:])


def _openvino() -> Any:
    """The package, imported without its telemetry."""
    hidden = _TELEMETRY not in sys.modules
    if hidden:
        sys.modules[_TELEMETRY] = None  # type: ignore[assignment]  # an import of it fails: that is allowed for
    try:
        import openvino
    except ImportError as e:
        raise RuntimeMissing(
            "the runtime cannot be imported",
            where="openvino",
            got=str(e),
            next_step="Install openvino on the device.",
        ) from e
    finally:
        if hidden:
            del sys.modules[_TELEMETRY]
    return openvino


def _properties(execution: Execution, options: Options) -> dict[str, Any]:
    found: dict[str, Any] = {"PERFORMANCE_HINT": execution.hint.upper()}
    if execution.device == "CPU":
        found["INFERENCE_NUM_THREADS"] = options.threads
        if execution.precision is not None:
            found["INFERENCE_PRECISION_HINT"] = execution.precision
    if execution.streams is not None:
        found["NUM_STREAMS"] = execution.streams
    if options.profile:
        found["PERF_COUNT"] = True
    return found


def _spec(port: Any) -> TensorSpec:
    name = min(port.get_names(), default=port.get_node().get_friendly_name())
    dtype = port.get_element_type().to_dtype().name
    if dtype not in DTYPES:
        raise WorkerFailed("a tensor's dtype is not supported", where=name, got=dtype)
    shape = port.get_partial_shape()
    if shape.rank.is_dynamic:
        raise WorkerFailed("a tensor has no rank", where=name)
    return TensorSpec(name, dtype, tuple(-1 if size.is_dynamic else size.get_length() for size in shape))


def _array(tensor: Tensor) -> np.ndarray[Any, Any]:
    import numpy as np

    try:
        # a copy: openvino shares only what can be written to
        return np.frombuffer(tensor.data, dtype=tensor.dtype).reshape(tensor.shape).copy()
    except ValueError as e:
        raise InvalidRequest("a tensor's bytes do not fill its shape", got=str(e)) from e
