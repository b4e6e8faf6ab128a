"""Bad ONNX files: every one is refused with what, where and what next, and never with a traceback."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from attrs import frozen
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper

from converters.readers import onnx_file
from converters.readers.onnx import reader
from converters.shaping import Shaping
from device_agent.errors import InvalidModel
from edge_sdk.cli.main import edge

FLOAT = TensorProto.FLOAT


@frozen
class Told:
    """What `edge inspect` and `edge plan` said of a file: exit code and the error's parts."""

    code: int
    error: dict[str, str]


@pytest.fixture
def told(tmp_path: Path) -> Callable[..., Told]:
    """Writes a model and gives what a command says of it; a traceback or an unexpected error fails."""

    def told(content: bytes | onnx.ModelProto, command: str = "inspect", name: str = "net.onnx") -> Told:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.SerializeToString())
        words = [command, str(path), "--json", "-"]
        result = CliRunner().invoke(edge, words + (["--target", "rpi4"] if command == "plan" else []))
        assert "Traceback" not in result.stderr
        assert result.exit_code not in (1, 70), result.output
        if result.exit_code not in (0, 5):  # a plan that refuses is shown as a plan
            assert result.stderr.removeprefix("read the model ...\n").startswith("error: ")
            assert "Traceback" not in result.stdout
        return Told(result.exit_code, json.loads(result.stdout))

    return told


def model(
    nodes: list[onnx.NodeProto] | None = None,
    *,
    inputs: dict[str, list] | None = None,
    outputs: dict[str, list] | None = None,
    weights: dict[str, np.ndarray] | None = None,
    opset: int = 17,
) -> onnx.ModelProto:
    """x -> Relu -> y, but for what is given."""
    nodes = [helper.make_node("Relu", ["x"], ["y"], name="only")] if nodes is None else nodes
    ends = [
        [helper.make_tensor_value_info(name, FLOAT, shape) for name, shape in given.items()]
        for given in (
            {"x": [1, 4]} if inputs is None else inputs,
            {"y": [1, 4]} if outputs is None else outputs,
        )
    ]
    constants = [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()]
    graph = helper.make_graph(nodes, "test", *ends, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


FORMATS = {
    "TFLite": bytes(4) + b"TFL3" + bytes(50),
    "HDF5": b"\x89HDF\r\n\x1a\n" + bytes(50),
    "zip": b"PK\x03\x04" + bytes(50),
    "pickle": b"\x80\x02}q\x00.",
    "Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n",
    "XML": b'<?xml version="1.0"?>\n<net name="m"/>',
    "web page": b"<!DOCTYPE html><html></html>",
    "gzip": b"\x1f\x8b\x08" + bytes(30),
    "NumPy": b"\x93NUMPY\x01\x00" + bytes(30),
}


@pytest.mark.parametrize("name", FORMATS)
def test_another_format_is_named(told, name):
    """A file of another format under the name of ONNX is told by its first bytes."""
    found = told(FORMATS[name])
    assert 4 == found.code
    assert name in found.error["got"]
    assert "not an ONNX file" in found.error["what"]
    assert found.error["next_step"]


def test_empty_file(told):
    """A file of no bytes is called empty."""
    assert "it is empty" in told(b"").error["what"]


@pytest.mark.parametrize("command", ["inspect", "plan"])
def test_truncated(told, command):
    """A file that ends too early is refused wherever it ends."""
    data = model(weights={"w": np.ones(40000, np.float32)}).SerializeToString()
    for length in (1, 30, 200, len(data) // 2, len(data) - 1):
        assert 4 == told(data[:length], command).code


REFUSED = {
    "cycle": (
        lambda: model(
            [helper.make_node("Relu", ["b"], ["a"], "one"), helper.make_node("Relu", ["a"], ["b"])],
            outputs={"b": [1, 4]},
        ),
        "'b' of node",
    ),
    "duplicate value": (
        lambda: model([helper.make_node("Relu", ["x"], ["y"], "one"), helper.make_node("Neg", ["x"], ["y"])]),
        "'y' has been used",
    ),
    "duplicate initializer": (
        lambda: _doubled(
            model([helper.make_node("Add", ["x", "w"], ["y"])], weights={"w": np.ones(4, np.float32)})
        ),
        "w",
    ),
    "unknown value": (lambda: model([helper.make_node("Add", ["x", "nowhere"], ["y"])]), "nowhere"),
    "unknown operator": (lambda: model([helper.make_node("Frobnicate", ["x"], ["y"])]), "Frobnicate"),
    "unknown domain": (lambda: model([helper.make_node("Relu", ["x"], ["y"], domain="mine")]), "mine"),
    "contradicting shapes": (
        lambda: model(
            [helper.make_node("MatMul", ["x", "w"], ["y"], "product")],
            weights={"w": np.ones((3, 2), np.float32)},
        ),
        "product",
    ),
    "newer operator set": (lambda: model(opset=999), "999"),
    "newer format": (lambda: _with(model(), ir_version=99), "99"),
    "no operator set": (lambda: _without_opset(model()), "opset"),
    "no nodes": (lambda: model([], outputs={"y": [1, 4]}), "y"),
    "no output": (lambda: model(outputs={}), "no output"),
    "sequence output": (
        lambda: _sequence(model([helper.make_node("SequenceConstruct", ["x"], ["y"], "collect")])),
        "y",
    ),
    "string weights": (
        lambda: model([helper.make_node("Identity", ["w"], ["y"])], weights={"w": np.array(["a"], object)}),
        "str",
    ),
    "negative dimension": (
        lambda: _negative(
            model([helper.make_node("Add", ["x", "w"], ["y"])], weights={"w": np.ones(4, np.float32)})
        ),
        "'w'",
    ),
}


def _with(proto: onnx.ModelProto, **fields: int) -> onnx.ModelProto:
    for name, value in fields.items():
        setattr(proto, name, value)
    return proto


def _doubled(proto: onnx.ModelProto) -> onnx.ModelProto:
    proto.graph.initializer.append(proto.graph.initializer[0])
    return proto


def _without_opset(proto: onnx.ModelProto) -> onnx.ModelProto:
    del proto.opset_import[:]
    return proto


def _sequence(proto: onnx.ModelProto) -> onnx.ModelProto:
    proto.graph.output[0].type.CopyFrom(
        helper.make_sequence_type_proto(helper.make_tensor_type_proto(FLOAT, [1, 4]))
    )
    return proto


def _negative(proto: onnx.ModelProto) -> onnx.ModelProto:
    proto.graph.initializer[0].dims[0] = -4
    return proto


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("command", ["inspect", "plan"])
def test_refused(told, name, command):
    """Each is an invalid model; the message names the node, tensor or version."""
    make, named = REFUSED[name]
    found = told(make(), command)
    assert 4 == found.code
    assert named in found.error["error"]
    assert "net.onnx" in found.error["where"]


@pytest.mark.parametrize(
    ("domain", "operator"), [("com.microsoft", "Nothing"), ("ai.onnx.ml", "Scaler"), ("mine", "Own")]
)
def test_operators_of_other_domains(told, domain, operator):
    """An operator of another set, where the file imports that set, is refused by the plan, by name."""
    proto = model([helper.make_node(operator, ["x"], ["y"], "other", domain=domain)])
    proto.opset_import.append(helper.make_opsetid(domain, 1))
    assert 0 == told(proto).code
    found = told(proto, "plan")
    assert 5 == found.code
    assert f"{domain}.{operator}" in json.dumps(found.error)
    assert "other" in json.dumps(found.error)


ACCEPTED = {
    "output is an input": lambda: model(
        [helper.make_node("Relu", ["x"], ["y"])], outputs={"y": [1, 4], "x": [1, 4]}
    ),
    "output is an initializer": lambda: model(
        [helper.make_node("Relu", ["x"], ["y"])],
        outputs={"y": [1, 4], "w": [2]},
        weights={"w": np.ones(2, np.float32)},
    ),
    "duplicate node names": lambda: model(
        [helper.make_node("Relu", ["x"], ["a"], "same"), helper.make_node("Neg", ["a"], ["y"], "same")]
    ),
    "NaN weights": lambda: model(
        [helper.make_node("Add", ["x", "w"], ["y"])],
        weights={"w": np.array([np.nan, np.inf, 0, 1], np.float32)},
    ),
    "subgraph that captures": lambda: _branching(),
}


def _branching() -> onnx.ModelProto:
    """An If, whose condition is constant, with branches that read a value from outside."""
    branches = {
        f"{name}_branch": helper.make_graph(
            [helper.make_node(operator, ["x"], [name])],
            name,
            [],
            [helper.make_tensor_value_info(name, FLOAT, [1, 4])],
        )
        for name, operator in (("then", "Relu"), ("else", "Neg"))
    }
    return model([helper.make_node("If", ["c"], ["y"], **branches)], weights={"c": np.array(True)})


@pytest.mark.parametrize("name", ACCEPTED)
def test_odd_but_valid(told, name):
    """What is unusual and valid converts, and computes what ONNX Runtime does (`convert` compares)."""
    assert 0 == told(ACCEPTED[name]()).code
    found = told(ACCEPTED[name](), "plan")
    assert 0 == found.code, found.error


def test_sparse_weights(told):
    """Sparse initializers are refused by name, where they are read."""
    proto = model([helper.make_node("Add", ["x", "w"], ["y"], "sum")])
    values = numpy_helper.from_array(np.ones(1, np.float32), "w")
    indices = numpy_helper.from_array(np.zeros(1, np.int64), "")
    proto.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [4]))
    found = told(proto, "plan")
    assert found.code in (4, 5)
    assert "'w'" in json.dumps(found.error) or "sparse" in json.dumps(found.error)


def test_no_elements(told):
    """An input without elements is refused by the plan, or folded away."""
    found = told(model(inputs={"x": [2, 0]}, outputs={"y": [2, 0]}), "plan")
    assert found.code in (0, 5)


def test_enormous_shapes(told):
    """A shape that no array could have is an error, also where one of its sizes is zero."""
    for shape in ([1 << 40, 1 << 40], [0, 1 << 40, 1 << 40]):
        nodes = [helper.make_node("Shape", ["x"], ["y"])]
        proto = model(nodes, inputs={"x": shape}, outputs={"y": [len(shape)]})
        proto.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
        assert "larger than anything could hold" in told(proto).error["what"]


def test_old_operator_set(told):
    """A model of operator set 6 is brought up to 7 by onnx's own converter."""
    proto = model(
        [helper.make_node("Add", ["x", "w"], ["y"], axis=1, broadcast=1)],
        weights={"w": np.ones(4, np.float32)},
        opset=6,
    )
    assert 0 == told(proto, "plan").code


def test_too_old_operator_set(told):
    """What onnx's converter cannot bring up is refused with the version."""
    proto = model(
        [helper.make_node("Pad", ["x"], ["y"], paddings=[0, 0, 0, 0, 0, 0, 2, 2])],
        inputs={"x": [1, 1, 2, 2]},
        outputs={"y": [1, 1, 4, 4]},
        opset=1,
    )
    found = told(proto)
    assert 4 == found.code
    assert "operator set" in found.error["error"]


# --- external data


@pytest.fixture
def external(tmp_path: Path) -> onnx.ModelProto:
    """x -> Add(w) -> y whose w lies in weights.bin; the message, with the data file written."""
    path = tmp_path / "net.onnx"
    made = model([helper.make_node("Add", ["x", "w"], ["y"])], weights={"w": np.arange(4, dtype=np.float32)})
    onnx.save(made, path, save_as_external_data=True, size_threshold=0, location="weights.bin")
    return onnx.load(path, load_external_data=False)


def _place(proto: onnx.ModelProto, **values: str) -> onnx.ModelProto:
    for entry in proto.graph.initializer[0].external_data:
        entry.value = values.get(entry.key, entry.value)
    return proto


def test_external_data_is_read_where_it_is(told, external, tmp_path):
    """External weights are read when they are asked for; a file that has changed since is refused."""
    assert 0 == told(external, "plan").code
    found = reader.read(tmp_path / "net.onnx", Shaping())
    _, run = reader.reference(found)
    np.testing.assert_array_equal([[0, 1, 2, 3]], run({"x": np.zeros((1, 4), np.float32)})["y"])
    (tmp_path / "weights.bin").write_bytes(np.full(4, 9, np.float32).tobytes())
    with pytest.raises(InvalidModel, match=r"weights\.bin: a file of the model was changed"):
        reader.lower(found)


def test_missing_external_data(told, external, tmp_path):
    """A data file that is not there is named."""
    (tmp_path / "weights.bin").unlink()
    found = told(external)
    assert 4 == found.code
    assert "weights.bin" in found.error["got"]
    assert "'w'" in found.error["where"]


@pytest.mark.parametrize("where", ["../weights.bin", "/etc/passwd", "sub/../../x", ""])
def test_external_data_outside(told, external, where):
    """A path that leaves the model's folder is refused, whether it is there or not."""
    found = told(_place(external, location=where))
    assert 4 == found.code
    assert "outside the model's folder" in found.error["what"]


def test_external_data_behind_a_link(told, external, tmp_path_factory, tmp_path):
    """Nor does a link lead out of the folder."""
    other = tmp_path_factory.mktemp("other") / "weights.bin"
    (tmp_path / "weights.bin").rename(other)
    (tmp_path / "weights.bin").symlink_to(other)
    assert "outside the model's folder" in told(external).error["what"]


@pytest.mark.parametrize(
    "values", [{"offset": "8"}, {"length": "400"}, {"length": "8"}, {"offset": "-4"}, {"offset": "nine"}]
)
def test_external_data_that_does_not_fit(told, external, values):
    """Offsets and lengths that are not what the shape needs are refused."""
    found = told(_place(external, **values))
    assert 4 == found.code
    assert "external data" in found.error["what"]


def test_too_many_weights(told, external, tmp_path):
    """Weights of more than two gigabytes are refused by name, without being read."""
    external.graph.initializer[0].dims[:] = [700_000_000]
    size = 2_800_000_000
    with (tmp_path / "weights.bin").open("wb") as file:
        file.truncate(size)  # sparse: it takes no room
    found = told(_place(external, offset="0", length=str(size)))
    assert 4 == found.code
    assert "larger than a TFLite file can hold" in found.error["what"]
    assert f"{size} bytes" == found.error["got"]


def test_too_large_a_file(tmp_path):
    """A file above two gigabytes is refused before it is read."""
    path = tmp_path / "net.onnx"
    with path.open("wb") as file:
        file.truncate((1 << 31) + 10)
    with pytest.raises(InvalidModel, match="cannot be larger than two gigabytes"):
        onnx_file.open_file(path)
