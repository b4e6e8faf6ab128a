"""A model that OpenVINO has compiled, ready to run."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from attrs import frozen

from device_agent.bundle import TensorSpec
from device_agent.errors import WorkerFailed
from device_agent.protocol import OperatorTiming, Placement
from device_agent.runtimes.base import check_inputs
from device_agent.runtimes.openvino_package import said
from device_agent.runtimes.openvino_timings import RESOLUTION_NS, Timings
from device_agent.tensors import DTYPES, Tensor

# OpenVINO's names of types that have one of ours
_DTYPES = {
    **{
        f"{code}{bits}": f"{name}{bits}"
        for code, name in (("i", "int"), ("u", "uint"))
        for bits in (8, 16, 32, 64)
    },
    **{f"f{bits}": f"float{bits}" for bits in (16, 32, 64)},
    "boolean": "bool",
}


@frozen
class Compiled:
    """A compiled model, and how it came about; see `Keeping`."""

    model: Any
    homes: dict[str, str]  # node -> processor, under HETERO
    from_cache: bool = False
    first_load_ns: int | None = None


class OpenVINOSession:
    """A model that is loaded."""

    resolution_ns = RESOLUTION_NS

    def __init__(
        self, openvino: Any, compiled: Compiled, hint: str, placement: Placement, *, profile: bool
    ) -> None:
        self.hint = hint
        self.from_cache = compiled.from_cache
        self.first_load_ns = compiled.first_load_ns
        self._openvino = openvino
        self._compiled = compiled.model
        self._placement = placement
        self._request = self._compiled.create_infer_request()
        self._timings = None
        if profile:
            homes = {operator.name: operator.device for operator in placement.operators}
            self._timings = Timings(self._request, homes, next(iter(homes.values()), "CPU"))
        self.inputs = tuple(_spec(port) for port in self._compiled.inputs)
        self.outputs = tuple(_spec(port) for port in self._compiled.outputs)

    def set_inputs(self, tensors: Mapping[str, Tensor]) -> None:
        """Put the inputs in place: into the request's own memory, which a processor reads directly.

        So a run copies nothing. Memory of ours would not do better: OpenVINO shares none that is read only,
        as a message's is, and its own is aligned, and the processor's where that is a GPU or an NPU.
        """
        import numpy as np

        check_inputs(self.inputs, tensors)
        for index, spec in enumerate(self.inputs):
            given = tensors[spec.name]
            place = self._request.get_input_tensor(index)
            if tuple(place.shape) != given.shape:  # an open size: it takes what it is given
                place.shape = list(given.shape)
            place.data[...] = np.frombuffer(given.data, dtype=given.dtype).reshape(given.shape)

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
            found[spec.name] = Tensor(spec.dtype, tuple(array.shape), array.tobytes())
        return found

    def placement(self) -> Placement:
        """Where its operators run."""
        return self._placement

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
                for index in range(len(self.inputs)):
                    request.set_input_tensor(index, self._request.get_input_tensor(index))
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
    return WorkerFailed("openvino cannot run the model", got=said(error))


def _spec(port: Any) -> TensorSpec:
    name = min(port.get_names(), default=port.get_node().get_friendly_name())
    element = port.get_element_type().get_type_name()
    dtype = _DTYPES.get(element)
    if dtype is None:
        raise WorkerFailed(
            "a tensor's dtype is not supported", where=name, got=element, expected=", ".join(DTYPES)
        )
    shape = port.get_partial_shape()
    if shape.rank.is_dynamic:
        raise WorkerFailed("a tensor has no rank", where=name)
    return TensorSpec(name, dtype, tuple(-1 if size.is_dynamic else size.get_length() for size in shape))
