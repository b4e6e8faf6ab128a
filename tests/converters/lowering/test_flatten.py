"""Nodes that stand for others: functions, If, Loop, Scan, Einsum, Det, Compress, CastLike."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

F, L, B = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def _value(name, shape, element=F):
    return helper.make_tensor_value_info(name, element, shape)


def test_function_of_the_schema(convert):
    """An operator that its schema gives a body is lowered as that, and the plan names the operator."""
    node = helper.make_node("MeanVarianceNormalization", ["x"], ["y"], axes=(0, 2, 3))
    made = convert([node], {"x": (2, 3, 4, 5)}, tolerance=1e-5)
    (verdict,) = made.verdicts
    assert "MeanVarianceNormalization" == verdict.operator
    assert "MEAN" in verdict.reason
    assert {(0,)} == {operator.sources for operator in made.graph.operators}


def test_refusal_inside_a_function(judge):
    """What refuses it names the operator within."""
    node = helper.make_node("HannWindow", ["n"], ["y"], name="window")
    (verdict,) = judge([node], {"n": np.array(8, np.int64)})
    assert ("HannWindow", "window") == (verdict.operator, verdict.place)
    assert "which it stands for" in verdict.reason


@pytest.mark.parametrize("condition", [True, False])
def test_if(convert, condition):
    """A constant condition leaves the branch that it takes, which reads values from around it."""
    half = numpy_helper.from_array(np.array(0.5, np.float32), "k")
    yes = helper.make_graph(
        [helper.make_node("Add", ["x", "k"], ["r"])], "yes", [], [_value("r", None)], [half]
    )
    no = helper.make_graph([helper.make_node("Neg", ["x"], ["r"])], "no", [], [_value("r", None)])
    node = helper.make_node("If", ["c"], ["y"], then_branch=yes, else_branch=no)
    made = convert([node], {"x": (2, 3)}, constants={"c": np.array(condition)})
    assert (["ADD"] if condition else ["NEG"]) == made.types


def test_if_that_is_not_known(judge):
    """A computed condition is refused."""
    branch = helper.make_graph([helper.make_node("Neg", ["x"], ["r"])], "b", [], [_value("r", [2, 3])])
    node = helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)
    (verdict,) = judge([node], {"x": (2, 3), "c": np.array(True)})
    assert "its condition is known only when the model runs" == verdict.reason
    assert "Bind the input that decides it to a constant." == verdict.help


def test_loop(convert):
    """A Loop of known trips is unrolled: what it carries, what it collects, and the trip's number."""
    body = helper.make_graph(
        [
            helper.make_node("Cast", ["i"], ["f"], to=F),
            helper.make_node("Add", ["v", "f"], ["w"]),
            helper.make_node("Mul", ["w", "x"], ["s"]),
            helper.make_node("Identity", ["c"], ["d"]),
        ],
        "body",
        [_value("i", [], L), _value("c", [], B), _value("v", [3])],
        [_value("d", [], B), _value("w", [3]), _value("s", [3])],
    )
    node = helper.make_node("Loop", ["n", ""], ["last", "all"], body=body)
    nodes = [helper.make_node("Neg", ["x"], ["v0"])]
    node.input.append("v0")
    inputs = {"x": np.array([1, 2, 3], np.float32)}
    constants = {"n": np.array(3, np.int64)}
    made = convert([*nodes, node], inputs, outputs=("last", "all"), constants=constants)
    assert 3 == made.types.count("MUL")


@pytest.mark.parametrize("direction", [0, 1])
def test_scan(convert, direction):
    """A Scan is unrolled in either direction."""
    body = helper.make_graph(
        [helper.make_node("Add", ["s", "e"], ["t"]), helper.make_node("Identity", ["t"], ["o"])],
        "body",
        [_value("s", [3]), _value("e", [3])],
        [_value("t", [3]), _value("o", [3])],
    )
    node = helper.make_node(
        "Scan", ["s0", "x"], ["y", "z"], body=body, num_scan_inputs=1, scan_input_directions=[direction]
    )
    convert([node], {"s0": (3,), "x": (4, 3)}, outputs=("y", "z"))


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("ij->ji", [(2, 3)]),
        ("ij->i", [(2, 3)]),
        ("ij,jk->ik", [(2, 3), (3, 4)]),
        ("bij,bjk->bki", [(2, 3, 4), (2, 4, 5)]),
        ("bhid,bhjd->bhij", [(1, 2, 3, 4), (1, 2, 5, 4)]),
        ("i,j->ij", [(2,), (3,)]),
        ("bi,bi->b", [(2, 3), (2, 3)]),
        ("...ij,...jk->...ik", [(2, 3, 4), (2, 4, 5)]),
        ("ij,jk,kl", [(2, 3), (3, 4), (4, 2)]),
        ("ijk,jk->i", [(2, 3, 4), (3, 4)]),
    ],
)
def test_einsum(convert, equation, shapes):
    """Products, sums, transpositions, batches and ellipses."""
    names = [f"x{place}" for place in range(len(shapes))]
    node = helper.make_node("Einsum", names, ["y"], equation=equation)
    convert([node], dict(zip(names, shapes, strict=True)), tolerance=1e-5)


def test_einsum_of_a_diagonal(judge):
    """A label twice in one operand has no lowering."""
    (verdict,) = judge([helper.make_node("Einsum", ["x"], ["y"], equation="ii->i")], {"x": (3, 3)})
    assert "no lowering" in verdict.reason


@pytest.mark.parametrize("shape", [(2, 2), (4, 3, 3)])
def test_det(convert, shape):
    """Determinants of two and three rows."""
    convert([helper.make_node("Det", ["x"], ["y"])], {"x": shape}, tolerance=1e-5)


@pytest.mark.parametrize("attributes", [{}, {"axis": 1}])
def test_compress(convert, attributes):
    """By a constant condition it is a GATHER."""
    node = helper.make_node("Compress", ["x", "c"], ["y"], **attributes)
    made = convert([node], {"x": (2, 3)}, constants={"c": np.array([False, True, True])})
    assert "GATHER" in made.types


def test_cast_like(convert):
    """Only the dtype of its second operand matters."""
    node = helper.make_node("CastLike", ["x", "k"], ["y"])
    constants = {"k": np.array(0, np.int32)}
    made = convert([node], {"x": (2, 3)}, constants=constants, output_dtype="int32", opset=15)
    assert ["CAST"] == made.types


def test_float16(convert):
    """A float16 model is computed in float32 between its ends."""
    nodes = [helper.make_node("Mul", ["x", "k"], ["m"]), helper.make_node("Sqrt", ["m"], ["y"])]
    inputs = {"x": np.array([1, 2, 3], np.float16)}
    constants = {"k": np.array(2, np.float16)}
    made = convert(nodes, inputs, constants=constants, dtype="float16", tolerance=1e-3)
    assert ["CAST", "MUL", "SQRT", "CAST"] == made.types


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16"])
def test_small_integers_wrap_around(dtype):
    """Sums of small integers are computed in int32 and keep their low bits."""
    from ai_edge_litert.interpreter import Interpreter

    from converters.graph.write import write
    from converters.lowering.driver import lower

    element = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    ends = [_value(name, [3], element) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Add", ["x", "x"], ["y"])], "sum", ends[:1], ends[1:])
    made, _ = lower(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]))
    values = np.array([np.iinfo(dtype).max, 1, 3], dtype)
    actual = Interpreter(model_content=write(made)).get_signature_runner()(x=values)["y"]
    assert ["CAST", "ADD", "CAST"] == [operator.type for operator in made.operators]
    assert (values + values).tolist() == actual.tolist()


def test_operands_without_elements(convert):
    """An empty list of axes that is an input of the model is known, since it has no elements."""
    node = helper.make_node("ReduceSum", ["x", "a"], ["y"])
    made = convert([node], {"x": (2, 3), "a": np.zeros(0, np.int64)})
    assert "SUM" in made.types
