"""Attention and its kin, against ONNX Runtime where it has them, else against ONNX's reference."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from converters.readers.onnx import reader
from converters.shaping import Shaping


@pytest.mark.parametrize("attributes", [{}, {"is_causal": 1}, {"scale": 0.3}, {"softcap": 2.0}])
@pytest.mark.parametrize("heads", [2, 4])
def test_attention(convert, attributes, heads):
    """Several query heads may share a key; what is masked for certain is a constant."""
    node = helper.make_node("Attention", ["q", "k", "v"], ["y"], **attributes)
    inputs = {"q": (2, 4, 5, 8), "k": (2, heads, 6, 8), "v": (2, heads, 6, 3)}
    made = convert([node], inputs, opset=23, tolerance=1e-5)
    assert 2 == made.types.count("BATCH_MATMUL")
    assert ("ADD" in made.types) == ("is_causal" in attributes)
    assert "SELECT_V2" not in made.types


def test_attention_of_three_axes(convert):
    """Heads that lie side by side are taken apart."""
    node = helper.make_node("Attention", ["q", "k", "v"], ["y"], q_num_heads=3, kv_num_heads=3)
    convert([node], {"q": (2, 4, 12), "k": (2, 5, 12), "v": (2, 5, 9)}, opset=23, tolerance=1e-5)


def test_attention_with_a_cache(convert):
    """Past keys go before the new ones, and both come out again."""
    node = helper.make_node("Attention", ["q", "k", "v", "", "pk", "pv"], ["y", "nk", "nv"])
    inputs = dict.fromkeys(("q", "k", "v", "pk", "pv"), (1, 2, 3, 4))
    convert([node], inputs, outputs=("y", "nk", "nv"), opset=23, tolerance=1e-5)


def test_a_query_that_sees_nothing(convert):
    """Its row is zeros, not NaN."""
    mask = np.array([[True, False, True], [False, False, False]])
    node = helper.make_node("Attention", ["q", "k", "v", "m"], ["y"])
    inputs = {"q": (1, 2, 2, 4), "k": (1, 2, 3, 4), "v": (1, 2, 3, 4), "m": mask}
    convert([node], inputs, opset=24, tolerance=1e-5)


@pytest.mark.parametrize("interleaved", [0, 1])
@pytest.mark.parametrize("dim", [0, 4])
def test_rotary_embedding(convert, interleaved, dim):
    """Halves or neighbours are turned, the whole head or the beginning of it."""
    node = helper.make_node(
        "RotaryEmbedding", ["x", "c", "s", "p"], ["y"], interleaved=interleaved, rotary_embedding_dim=dim
    )
    angles = np.random.default_rng(1).normal(size=(9, (dim or 8) // 2))
    constants = {"c": np.cos(angles).astype(np.float32), "s": np.sin(angles).astype(np.float32)}
    places = np.array([[0, 3, 8], [1, 2, 5]], np.int64)
    convert([node], {"x": (2, 2, 3, 8), "p": places}, constants=constants, opset=23, tolerance=1e-5)


def test_masked_scores_shown(tmp_path):
    """Scores that are shown are minus infinity where masked, whatever a runtime's ADD makes of that.

    ONNX Runtime shows the lowest float there, and so does the ADD of tflite-runtime 2.14; the node tests of
    onnx want minus infinity.
    """
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, 2, 4, size)) for name, size in
            (("q", 8), ("k", 8), ("v", 8), ("y", 8), ("s", 4))]  # fmt: skip
    node = helper.make_node(
        "Attention", ["q", "k", "v"], ["y", "", "", "s"], qk_matmul_output_mode=2, is_causal=1
    )
    model = helper.make_model(
        helper.make_graph([node], "attention", ends[:3], ends[3:]),
        opset_imports=[helper.make_opsetid("", 24)],
        ir_version=10,
    )
    file = tmp_path / "attention.onnx"
    onnx.save(model, file)
    graph, _ = reader.lower(reader.read(file, Shaping()))
    shown = graph.producer(graph.outputs["s"])
    assert "SELECT_V2" == shown.type
    assert -np.inf == graph.constant(shown.inputs[1])
