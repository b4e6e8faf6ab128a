"""Differential fuzzing: what LiteRT computes of a converted graph against ONNX Runtime on the source."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from ai_edge_litert.interpreter import Interpreter
from attrs import frozen
from onnx import numpy_helper

from converters.graph import passes
from converters.graph.write import write
from converters.readers.onnx import reader
from converters.shaping import Shaping
from device_agent.errors import EdgeError

TOLERANCE = 1e-4  # of an output's greatest magnitude
HUGE = 1e15


@frozen
class Outcome:
    """`kind`: equal, refused, unrunnable (ONNX Runtime does not take it), steep, wrong."""

    kind: str
    why: str = ""


def compare(proto: onnx.ModelProto, inputs: Mapping[str, np.ndarray], folder: Path) -> Outcome:
    """Convert a model and compare every output, before and after the rewrites."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    names = [value.name for value in proto.graph.output]
    feeds = {value.name: inputs[value.name] for value in proto.graph.input if value.name in inputs}
    try:
        session = onnxruntime.InferenceSession(proto.SerializeToString(), options, ["CPUExecutionProvider"])
        expected = session.run(names, feeds)
    except Exception as e:  # noqa: BLE001 - its exceptions have no base of their own
        return Outcome("unrunnable", str(e)[:200])
    path = folder / "random.onnx"
    path.write_bytes(proto.SerializeToString())
    try:
        model = reader.read(path, Shaping())
        graph, verdicts = reader.lower(model)
    except EdgeError as e:
        return Outcome("refused", str(e))
    if graph is None:
        return Outcome("refused", "; ".join(str(verdict) for verdict in verdicts if not verdict.ok))
    if any(feeds[spec.name].shape != spec.shape for spec in model.inputs):
        return Outcome("unrunnable", "an open dimension became another than the inputs have")
    weights = [numpy_helper.to_array(tensor) for tensor in proto.graph.initializer]
    if not all(_tame(array) for array in weights if array.dtype.kind == "f"):
        return Outcome("steep", "the weights overflow")
    for stage in ("lowered", "rewritten"):
        if stage == "rewritten":
            passes.run(graph)
        got = run(write(graph), feeds)
        for name, wanted in zip(names, expected, strict=True):
            if wanted.dtype.kind == "f" and not _tame(wanted):
                continue
            why = difference(wanted, got[name])
            if why and not _steep(session, names, feeds, names.index(name), wanted):
                return Outcome("wrong", f"{stage}: output {name}: {why}")
            if why:
                return Outcome("steep", why)
    return Outcome("equal")


def _tame(array: np.ndarray) -> bool:
    """Whether all of it is finite and of ordinary size: what overflows on the way is no fault."""
    return bool((np.abs(array) < HUGE).all())


def run(data: bytes, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The outputs of a TFLite file."""
    interpreter = Interpreter(model_content=data, num_threads=1)
    interpreter.allocate_tensors()
    runner = interpreter.get_signature_runner("serving_default")
    return dict(runner(**{name: feeds[name] for name in runner.get_input_details()}))


def difference(wanted: np.ndarray, got: np.ndarray) -> str:
    """What is not equal; "" where both are, to within `TOLERANCE`."""
    if wanted.shape != got.shape or wanted.dtype != got.dtype:
        return f"{got.dtype}{list(got.shape)}, not {wanted.dtype}{list(wanted.shape)}"
    if wanted.dtype.kind != "f":
        return "" if np.array_equal(wanted, got) else f"{np.sum(wanted != got)} of {wanted.size} differ"
    finite = np.isfinite(wanted)
    if not np.array_equal(finite, np.isfinite(got)):
        return "NaN or Inf elsewhere"
    if not np.array_equal(wanted[~finite], got[~finite], equal_nan=True):
        return "another kind of NaN or Inf"
    scale = float(np.abs(wanted[finite]).max(initial=1e-3))
    off = float(np.abs(wanted[finite].astype(np.float64) - got[finite]).max(initial=0))
    return "" if off <= TOLERANCE * scale else f"off by {off:.3g} of {scale:.3g}"


def _steep(
    session: onnxruntime.InferenceSession,
    names: list[str],
    feeds: Mapping[str, np.ndarray],
    place: int,
    wanted: np.ndarray,
) -> bool:
    """Whether the source's own output changes as much when its inputs change in the last places."""
    generator = np.random.default_rng(1)
    for _ in range(8):
        moved = {
            name: (array * (1 + generator.uniform(-1e-6, 1e-6, array.shape))).astype(array.dtype)
            for name, array in feeds.items()
        }
        if difference(wanted, session.run(names, moved)[place]):
            return True
    return False
