"""A `.tflite` file rewritten, compared with itself, and what is refused."""

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from converters import trial
from converters.graph import details, passes
from converters.graph.ir import Graph, GraphOperator, GraphTensor
from converters.graph.options import complete
from converters.graph.read import listed, read
from converters.graph.write import Buffer, pack, write
from converters.optimize import optimize
from device_agent.bundle import Quantization
from device_agent.errors import FidelityError, FileMissing, InvalidModel
from device_agent.tensors import Tensor


def network(*, custom=False):
    """x -> FULLY_CONNECTED -> MUL -> RESHAPE to the same shape (-> CUSTOM) -> y."""
    generator = np.random.default_rng(0)
    tensors = {
        "in": GraphTensor("in", (1, 5), "float32"),
        "w": GraphTensor("w", (3, 5), "float32", generator.normal(size=(3, 5)).astype(np.float32)),
        "b": GraphTensor("b", (3,), "float32", generator.normal(size=3).astype(np.float32)),
        "c": GraphTensor("c", (3,), "float32", generator.normal(size=3).astype(np.float32)),
        "s": GraphTensor("s", (2,), "int32", np.array([-1, 3], np.int32)),
        "h": GraphTensor("h", (1, 3), "float32"),
        "m": GraphTensor("m", (1, 3), "float32"),
        "out": GraphTensor("out", (1, 3), "float32"),
    }
    operators = [
        GraphOperator("FULLY_CONNECTED", ["in", "w", "b"], ["h"], complete("FULLY_CONNECTED", {})),
        GraphOperator("MUL", ["h", "c"], ["m"], complete("MUL", {})),
        GraphOperator("RESHAPE", ["m", "s"], ["out"], complete("RESHAPE", {"newShape": [-1, 3]})),
    ]
    outputs = {"y": "out"}
    if custom:
        tensors["made"] = GraphTensor("made", (1, 3), "float32")
        operators.append(
            GraphOperator("CUSTOM", ["out"], ["made"], {"customCode": "Mine", "customOptions": b"ab"})
        )
        outputs = {"y": "made"}
    return Graph(tensors, operators, {"x": "in"}, outputs)


def edited(change, **options):
    """The file of `network`, changed through the schema's object API."""
    model = details.parse(write(network(**options)))
    change(model)
    model.buffers = [details.aligned(buffer) for buffer in model.buffers]
    return pack(model)


@pytest.fixture
def at(tmp_path):
    """Keeps bytes as a model file."""

    def at(data):
        path = tmp_path / "model.tflite"
        path.write_bytes(data)
        return path

    return at


def test_a_file_is_rewritten(at):
    """Fewer operators, fewer bytes, the same outputs; the account adds up."""
    made = optimize(at(write(network())))
    assert made.changed
    assert ["FULLY_CONNECTED"] == [op.type for op in read(made.data, where="made").operators]
    account = made.account
    assert (3, 1) == (account.before.operators, account.after.operators)
    for field in ("operators", "macs", "constant_bytes"):
        change = getattr(account.after, field) - getattr(account.before, field)
        assert change == sum(getattr(row, field) for row in account.applied)
    assert made.after.file_bytes == len(made.data) < made.before.file_bytes == len(made.source)
    assert made.comparison.max_abs_diff < 1e-6


def test_a_lean_file_stays_as_it_is(at):
    """Where nothing applies not a byte changes."""
    graph = network()
    passes.run(graph)
    data = write(graph)
    made = optimize(at(data))
    assert not made.changed
    assert data == made.data
    assert made.comparison.exact


def test_what_lies_beside_the_graph_survives(at):
    """Metadata, description, names, ranges, versions of operators."""

    def change(model):
        model.description, model.subgraphs[0].name = b"mine", b"net"
        model.signatureDefs[0].signatureKey = b"predict"
        metadata = schema.MetadataT()
        metadata.name, metadata.buffer = b"TFLITE_METADATA", len(model.buffers)
        model.metadata.append(metadata)
        buffer = Buffer()
        buffer.data = b"labels and so on"
        model.buffers.append(buffer)
        for code in model.operatorCodes:
            code.version = 9 if code.builtinCode == schema.BuiltinOperator.FULLY_CONNECTED else code.version
        ranges = schema.QuantizationParametersT()
        ranges.min, ranges.max = np.array([-2], np.float32), np.array([2], np.float32)
        model.subgraphs[0].tensors[0].quantization = ranges

    made = details.parse(optimize(at(edited(change))).data)
    (subgraph,) = made.subgraphs
    assert (b"mine", b"net", b"predict") == (
        made.description,
        subgraph.name,
        made.signatureDefs[0].signatureKey,
    )
    kept = {item.name: bytes(bytearray(made.buffers[item.buffer].data)) for item in made.metadata}
    assert b"labels and so on" == kept[b"TFLITE_METADATA"]
    assert b"min_runtime_version" in kept
    assert [9] == [code.version for code in made.operatorCodes]
    assert [-2] == subgraph.tensors[subgraph.inputs[0]].quantization.min.tolist()


def test_names_without_a_signature_survive(at):
    """A file that names its ends by their tensors still does, though what made the output is gone."""

    def change(model):
        model.signatureDefs = None

    data = optimize(at(edited(change))).data
    interpreter = Interpreter(model_content=data)
    assert {} == interpreter.get_signature_list()
    assert ["in"] == [row["name"] for row in interpreter.get_input_details()]
    assert ["out"] == [row["name"] for row in interpreter.get_output_details()]


def open_batch(model):
    for tensor in model.subgraphs[0].tensors:
        shape = listed(tensor.shape)
        if len(shape) == 2 and shape[0] == 1:
            tensor.shapeSignature = np.array([-1, *shape[1:]], np.int32)


def test_an_open_axis_stays_open(at):
    """Nothing is built on its size, and the rewritten file is compared at another one."""
    made = optimize(at(edited(open_batch)))
    assert "open axes compared at 2 too" in made.comparison.notes
    assert ["FULLY_CONNECTED", "RESHAPE"] == [op.type for op in read(made.data, where="made").operators]
    interpreter = Interpreter(model_content=made.data)
    assert [-1, 5] == interpreter.get_input_details()[0]["shape_signature"].tolist()
    interpreter.resize_tensor_input(0, [4, 5])
    interpreter.allocate_tensors()


def test_an_open_axis_may_be_fixed(at):
    """Asked to, it becomes what the file states, and one operator less is needed."""
    made = optimize(at(edited(open_batch)), fix_shapes=True)
    assert ["FULLY_CONNECTED"] == [op.type for op in read(made.data, where="made").operators]
    assert [1, 5] == Interpreter(model_content=made.data).get_input_details()[0]["shape_signature"].tolist()


def test_custom_operators_stay(at):
    """What cannot be run here is kept with its options; what goes into it is compared."""
    made = optimize(at(write(network(custom=True))))
    *_, custom = read(made.data, where="made").operators
    assert {"customCode": "Mine", "customOptions": b"ab"} == custom.options
    assert 2 == made.account.after.operators
    assert made.comparison.notes[0].startswith("custom operators were not run")
    assert [] == made.inputs


def two_signatures(model):
    model.signatureDefs.append(model.signatureDefs[0])


def sparse(model):
    model.subgraphs[0].tensors[1].sparsity = schema.SparsityParametersT()


def two_subgraphs(model):
    model.subgraphs.append(model.subgraphs[0])


@pytest.mark.parametrize(
    ("change", "reason"),
    [(two_signatures, "2 signatures"), (sparse, "stored sparse"), (two_subgraphs, "one subgraph")],
)
def test_what_would_be_lost_is_refused(at, change, reason):
    """With the reason, before anything else is done."""
    with pytest.raises(InvalidModel, match=reason):
        optimize(at(edited(change)))


def test_no_file(tmp_path):
    """A missing file is said to be missing, a text to be none of ours."""
    with pytest.raises(FileMissing):
        optimize(tmp_path / "none.tflite")
    text = tmp_path / "text.tflite"
    text.write_text("hello, world")
    with pytest.raises(InvalidModel, match="not a TFLite file"):
        optimize(text)


def test_a_wrong_rewrite_is_found(at, monkeypatch):
    """The comparison is what stands between a fault of ours and the user's device."""
    run = passes.optimize

    def wrong(graph, **shapes):
        account = run(graph, **shapes)
        weights = graph.operators[0].inputs[1]
        graph.tensors[weights].data = graph.tensors[weights].data * np.float32(1.01)
        return account

    monkeypatch.setattr(passes, "optimize", wrong)
    with pytest.raises(FidelityError, match="'y'"):
        optimize(at(write(network())))


def test_a_crash_stays_in_its_process(tmp_path, monkeypatch):
    """A model that ends its process, and one that is refused, are errors with the reason."""
    feed = [{"x": Tensor("float32", (1, 5), bytes(20))}]
    broken = network()
    broken.operators[0].options["weightsFormat"] = "SHUFFLED4x16INT8"
    with pytest.raises(InvalidModel, match="cannot run the model"):
        trial.run(write(broken), feed, where="broken.tflite")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    crash = tmp_path / "sitecustomize.py"
    crash.write_text("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)\n")
    with pytest.raises(InvalidModel, match="signal 11"):
        trial.run(write(network()), feed, where="net.tflite")


def test_quantised_operators_are_left_alone(at):
    """Integer arithmetic with the same look as what folds in float is not touched."""
    eighth, wide = Quantization((0.125,), (0,)), Quantization((0.5,), (3,))
    tensors = {
        "x": GraphTensor("x", (1, 4), "int8", None, eighth),
        "one": GraphTensor("one", (1,), "int8", np.array([8], np.int8), eighth),
        "zero": GraphTensor("zero", (1,), "int8", np.array([0], np.int8), eighth),
        "m": GraphTensor("m", (1, 4), "int8", None, wide),
        "a": GraphTensor("a", (1, 4), "int8", None, eighth),
        "r": GraphTensor("r", (1, 4), "int8", None, wide),
    }
    operators = [
        GraphOperator("MUL", ["x", "one"], ["m"], complete("MUL", {})),
        GraphOperator("ADD", ["m", "zero"], ["a"], complete("ADD", {})),
        GraphOperator("RELU", ["a"], ["r"], {}),
    ]
    made = optimize(at(write(Graph(tensors, operators, {"x": "x"}, {"y": "r"}))))
    assert not made.changed
    assert made.comparison.exact
    assert made.after.least_runtime == made.before.least_runtime


@pytest.mark.zoo
@pytest.mark.parametrize(
    "name",
    [
        "mlperf-tiny/kws_ref_model",
        "coral/keras_lstm_mnist_ptq",
        "tflm/trained_lstm",
    ],
)
def test_zoo(zoo, name):
    """Files of others come out with no more operators, and the same outputs."""
    made = optimize(zoo / f"models/{name}.tflite")
    assert made.account.after.operators <= made.account.before.operators
    assert made.comparison.exact or not name.endswith(("ptq", "quant", "quantized", "ref_model"))
