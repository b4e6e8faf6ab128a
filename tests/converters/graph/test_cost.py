"""What a graph costs, by hand and against the runtime's own arena."""

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from converters.graph import cost
from converters.graph.ir import Graph, GraphOperator, GraphTensor
from converters.graph.read import read


def one(builtin, shapes, output, variable=(), **options):
    """A graph of one operator; its first input is the graph's, the others are constants."""
    tensors = {}
    for place, shape in enumerate(shapes):
        data = np.zeros(shape, np.float32) if place and place not in variable else None
        name = f"i{place}"
        tensors[name] = GraphTensor(name, tuple(shape), "float32", data, variable=place in variable)
    tensors["y"] = GraphTensor("y", tuple(output), "float32")
    operator = GraphOperator(builtin, [f"i{place}" for place in range(len(shapes))], ["y"], options)
    return Graph(tensors, [operator], {"x": "i0"}, {"y": "y"})


@pytest.mark.parametrize(
    ("builtin", "shapes", "output", "expected"),
    [
        ("CONV_2D", [(1, 8, 8, 4), (6, 3, 3, 4), (6,)], (1, 6, 6, 6), 6 * 6 * 6 * 3 * 3 * 4),
        ("CONV_2D", [(1, 8, 8, 4), (6, 3, 3, 2), (6,)], (1, 6, 6, 6), 6 * 6 * 6 * 3 * 3 * 2),
        ("DEPTHWISE_CONV_2D", [(1, 8, 8, 4), (1, 3, 3, 8), (8,)], (1, 6, 6, 8), 6 * 6 * 8 * 3 * 3),
        ("TRANSPOSE_CONV", [(4,), (6, 3, 3, 4), (1, 5, 5, 4)], (1, 10, 10, 6), 5 * 5 * 4 * 3 * 3 * 6),
        ("CONV_3D", [(1, 4, 4, 4, 2), (3, 3, 3, 2, 5)], (1, 2, 2, 2, 5), 8 * 5 * 27 * 2),
        ("FULLY_CONNECTED", [(3, 10), (7, 10), (7,)], (3, 7), 3 * 7 * 10),
        ("BATCH_MATMUL", [(2, 3, 4), (2, 4, 5)], (2, 3, 5), 2 * 3 * 5 * 4),
        ("SVDF", [(2, 10), (6, 10), (6, 4)], (2, 6), 2 * (60 + 24)),
        ("ADD", [(3, 10), (3, 10)], (3, 10), 0),
    ],
)
def test_macs(builtin, shapes, output, expected):
    """One multiply-accumulate for each weight that each output element takes; none for arithmetic."""
    graph = one(builtin, shapes, output)
    assert expected == cost.macs_of(graph, graph.operators[0]) == cost.macs(graph)


def test_macs_of_a_transposed_operand():
    """The axis that is summed is the one that the options say."""
    graph = one("BATCH_MATMUL", [(2, 4, 3), (2, 4, 5)], (2, 3, 5), adjX=True)
    assert 2 * 3 * 5 * 4 == cost.macs(graph)


def test_macs_of_a_recurrent_cell():
    """Each step uses each weight once; the state is no weight."""
    graph = one("UNIDIRECTIONAL_SEQUENCE_RNN", [(2, 7, 10), (5, 10), (5, 5), (5,), (2, 5)], (2, 7, 5), (4,))
    assert 2 * 7 * (50 + 25) == cost.macs(graph)


def test_constants_that_share_a_buffer_count_once():
    """As the file holds them."""
    graph = one("ADD", [(3,), (3,)], (3,))
    graph.tensors["other"] = GraphTensor("other", (3,), "float32", np.zeros(3, np.float32))
    assert 12 == cost.constant_bytes(graph)
    graph.tensors["other"].data = np.ones(3, np.float32)
    assert 24 == cost.constant_bytes(graph)


def test_packed_dtypes():
    """Two int4 lie in a byte; a string's size is not known."""
    assert 3 == cost.tensor_bytes(GraphTensor("t", (5,), "int4"))
    assert 0 == cost.tensor_bytes(GraphTensor("t", (5,), "str"))


def chain(*sizes):
    """A chain of operators with outputs of so many bytes."""
    tensors = {f"t{n}": GraphTensor(f"t{n}", (size,), "int8") for n, size in enumerate(sizes)}
    operators = [GraphOperator("ABS", [f"t{n}"], [f"t{n + 1}"]) for n in range(len(sizes) - 1)]
    return Graph(tensors, operators, {"x": "t0"}, {"y": f"t{len(sizes) - 1}"})


def test_arena_reuses_what_is_read_no_more():
    """Inputs and outputs stay; of the others those that live at the same time lie side by side."""
    assert 64 + 1024 + 64 == cost.arena_bytes(chain(10, 1024, 10))
    assert 64 + 1024 + 2048 == cost.arena_bytes(chain(10, 1024, 2048, 1024, 10))


def test_variables_lie_apart():
    """A state is kept from run to run."""
    graph = chain(10, 1024, 10)
    graph.tensors["state"] = GraphTensor("state", (100,), "int8", variable=True)
    assert 64 + 1024 + 64 + 128 == cost.arena_bytes(graph)


@pytest.mark.zoo
@pytest.mark.parametrize(
    "name",
    [
        "mlperf-tiny/ad01_fp32",
        "mlperf-tiny/kws_ref_model",
        "mlperf-tiny/str_ww_ref_model",
        "coral/deeplabv3_mnv2_dm05_pascal_quant",
        "coral/movenet_single_pose_lightning_ptq",
    ],
)
def test_arena_against_the_runtime(zoo, name):
    """Where kernels take no scratch, the runtime's tensors span just these bytes."""
    data = (zoo / f"models/{name}.tflite").read_bytes()
    graph = read(data, where=name)
    interpreter = Interpreter(
        model_content=data, experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    )
    interpreter.allocate_tensors()
    made = {*graph.inputs.values(), *(output for op in graph.operators for output in op.outputs)}
    spans = []
    for index, tensor in enumerate(graph.tensors):
        if tensor in made:
            value = interpreter.tensor(index)()
            spans.append((value.__array_interface__["data"][0], value.nbytes))
    least = min(start for start, _ in spans)
    span = max(start + size for start, size in spans) - least
    assert span <= cost.arena_bytes(graph) < span + cost.ALIGNMENT
