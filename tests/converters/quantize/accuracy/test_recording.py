"""What the source computes is kept and given back with the samples it belongs to."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from converters.quantize.accuracy.recording import recorded
from converters.quantize.samples.calibration import load_calibration
from converters.readers.onnx import reader
from converters.shaping import Shaping
from tests.converters import onnx_files


def test_pairs(tmp_path: Path):
    """Every pass gives the samples, spread over all of them, with the source's outputs of each."""
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 2]) for name in ("x", "y", "z")]
    nodes = [helper.make_node("Neg", ["x"], ["y"]), helper.make_node("Abs", ["x"], ["z"])]
    graph = helper.make_graph(nodes, "test", ends[:1], ends[1:])
    path = tmp_path / "net.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    model = reader.read(path, Shaping())
    rows = np.arange(16, dtype=np.float32).reshape(8, 2) - 4
    data = load_calibration(rows, model)
    found = recorded(model, data, 4)
    assert found.reference.startswith("onnxruntime ")
    for _ in range(2):
        pairs = list(found.pairs(data))
        assert rows[::2].tolist() == [sample["x"][0].tolist() for sample, _ in pairs]
        for sample, outputs in pairs:
            np.testing.assert_array_equal(-sample["x"], outputs["y"])
            np.testing.assert_array_equal(np.abs(sample["x"]), outputs["z"])


def test_a_scalar_stays_one(tmp_path: Path):
    """An output without axes is compared with one without axes."""
    nodes = [helper.make_node("ReduceSum", ["x"], ["y"], keepdims=0)]
    model = reader.read(onnx_files.save(tmp_path / "net.onnx", nodes, {"x": ["n", 2]}, {"y": 0}), Shaping())
    data = load_calibration(np.arange(2, dtype=np.float32)[None], model)
    ((_, outputs),) = recorded(model, data, 1).pairs(data)
    assert () == outputs["y"].shape
