"""ONNX models in ONNX Runtime, their large weights handed over as they are read from their files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from converters.readers.onnx_file import INSTALL, invalid
from device_agent.errors import MissingDependency

if TYPE_CHECKING:
    import numpy as np
    import onnx

    from converters.readers.base import Arrays

LARGE = 1 << 26  # bytes of weights, from where on copies of them cost more than faster kernels gain


def name() -> str:
    """The runtime and its version."""
    return f"onnxruntime {_runtime().__version__}"


def runner(
    proto: onnx.ModelProto, outputs: Sequence[str], path: Path
) -> Callable[[Arrays], dict[str, np.ndarray]]:
    """A function that runs one sample on the CPU and gives these values, outputs of the model or not.

    Raises:
        InvalidModel: ONNX Runtime cannot load the model; the function raises it where it cannot run it.
        MissingDependency: ONNX Runtime is not installed.
    """
    made = _with_outputs(proto, outputs)
    weights = _weights(proto)  # `run` keeps them: the session does not own their memory
    session = _session(made, weights, path)
    wanted = list(outputs)

    def run(inputs: Arrays, _kept: object = weights) -> dict[str, np.ndarray]:
        try:
            return dict(zip(wanted, session.run(wanted, dict(inputs)), strict=True))
        except Exception as e:  # onnxruntime's exceptions have no common base of its own
            raise invalid(path, "ONNX Runtime cannot run it", e) from e

    return run


def _runtime() -> Any:
    try:
        import onnxruntime
    except ImportError as e:
        raise MissingDependency("onnxruntime is missing", next_step=INSTALL) from e
    return onnxruntime


def _with_outputs(proto: onnx.ModelProto, outputs: Sequence[str]) -> onnx.ModelProto:
    """A copy whose weights in files are named by place only, and that gives these values too."""
    import onnx

    from converters.lowering.weights import is_external

    made = onnx.ModelProto()
    made.CopyFrom(proto)
    for tensor in made.graph.initializer:
        if is_external(tensor):  # the file is named for form's sake: the values are handed over
            kept = [entry for entry in tensor.external_data if entry.key in ("offset", "length")]
            del tensor.external_data[:]
            tensor.external_data.extend(kept)
            tensor.external_data.add(key="location", value="weights")
    given = {value.name for value in made.graph.output}
    made.graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs if name not in given)
    return made


def _weights(proto: onnx.ModelProto) -> dict[str, Any]:
    """The weights that lie in files, as ONNX Runtime takes them: over the memory of their arrays."""
    from converters.lowering.weights import array_of, is_external

    make = _runtime().OrtValue.ortvalue_from_numpy
    external = [tensor for tensor in proto.graph.initializer if is_external(tensor)]
    return {tensor.name: make(array_of(tensor)) for tensor in external}


def _session(made: onnx.ModelProto, weights: dict[str, Any], path: Path) -> Any:
    runtime = _runtime()
    options = runtime.SessionOptions()
    options.log_severity_level = 4  # its warnings are about the file, and we judge that ourselves
    # its threads would keep the processor busy between two samples, while the compiled model runs
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if sum(value.tensor_size_in_bytes() for value in weights.values()) >= LARGE:
        options.add_session_config_entry("session.disable_prepacking", "1")
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    try:
        if weights:
            options.add_external_initializers(list(weights), list(weights.values()))
        data = made.SerializeToString()
        return runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as e:  # onnxruntime's exceptions have no common base of its own
        raise invalid(path, "ONNX Runtime cannot load it", e) from e
