"""Open Inference Protocol bodies, without a server."""

import json
import struct
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from device_agent import codec
from device_agent.bundle import Preprocessing
from device_agent.errors import InvalidRequest
from device_agent.oip import InferRequest, decode_request, encode_response, model_metadata
from device_agent.store import Generation
from device_agent.tensors import DTYPES, Tensor
from tests.device_agent.harness import make_bundle


@pytest.fixture
def generation(tmp_path: Path) -> Generation:
    """Generation 7 of a model called digits."""
    bundle = make_bundle(tmp_path)
    return Generation("digits", 7, tmp_path, bundle.manifest_digest, bundle.manifest, bundle.config)


def decode(head: Any, data: bytes = b"", *, binary: bool = True) -> InferRequest:
    text = json.dumps(head).encode()
    return decode_request(text + data, len(text) if binary else None)


def row(**changes: Any) -> dict[str, Any]:
    return {"name": "x", "shape": [2], "datatype": "INT16", "data": [1, -2], **changes}


def sized(size: Any) -> dict[str, Any]:
    return {"name": "x", "shape": [2], "datatype": "INT16", "parameters": {"binary_data_size": size}}


def test_json_tensor_flat_and_nested() -> None:
    """The data may be flat or nested as the shape is."""
    expected = Tensor("int16", (2, 2), struct.pack("<4h", 1, -2, 3, 4))
    for data in ([1, -2, 3, 4], [[1, -2], [3, 4]]):
        request = decode({"inputs": [row(shape=[2, 2], data=data)]}, binary=False)
        assert {"x": expected} == request.inputs


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_round_trips(dtype: str, generation: Generation) -> None:
    """A tensor sent as JSON and asked for as JSON keeps its values, for every dtype."""
    values = [True, False] if dtype == "bool" else [1, 0]
    request = decode({"inputs": [row(datatype=DTYPES[dtype][1], data=values)]}, binary=False)
    body, header_length = encode_response(request, generation, request.inputs)
    assert header_length is None
    assert values == json.loads(body)["outputs"][0]["data"]


def test_binary_tensors_both_ways(generation: Generation) -> None:
    """Bytes follow the JSON in its order; each output may be asked for either way."""
    head = {
        "id": "42",
        "inputs": [
            {"name": "a", "shape": [2], "datatype": "UINT8", "parameters": {"binary_data_size": 2}},
            row(),
            {"name": "b", "shape": [1], "datatype": "FP32", "parameters": {"binary_data_size": 4}},
        ],
        "outputs": [{"name": "b", "parameters": {"binary_data": True}}, {"name": "a"}],
    }
    request = decode(head, b"\x01\x02" + struct.pack("<f", 1.5))
    body, header_length = encode_response(request, generation, request.inputs)
    answer = json.loads(body[:header_length])
    assert ("42", "digits", "7") == (answer["id"], answer["model_name"], answer["model_version"])
    assert ["b", "a"] == [output["name"] for output in answer["outputs"]]
    assert struct.pack("<f", 1.5) == body[header_length:]
    assert [1, 2] == answer["outputs"][1]["data"]


def test_binary_by_default(generation: Generation) -> None:
    """`binary_data_output` makes every output binary."""
    request = decode({"inputs": [row()], "parameters": {"binary_data_output": True}}, binary=False)
    body, header_length = encode_response(request, generation, request.inputs)
    assert struct.pack("<2h", 1, -2) == body[header_length:]


@pytest.mark.parametrize(
    ("head", "data"),
    [
        ([], b""),
        ({"inputs": 7}, b""),
        ({"inputs": [7]}, b""),
        ({"inputs": [{"name": 7}]}, b""),
        ({"inputs": [row(), row()]}, b""),
        ({"inputs": [row(datatype="BYTES")]}, b""),
        ({"inputs": [row(datatype=None)]}, b""),
        ({"inputs": [row(shape=None)]}, b""),
        ({"inputs": [row(shape=[-2])]}, b""),
        ({"inputs": [row(shape=[True, 2])]}, b""),
        ({"inputs": [row(shape=[1.0])]}, b""),
        ({"inputs": [row(shape=[1 << 70])]}, b""),
        ({"inputs": [row(shape=[1] * 100)]}, b""),
        ({"inputs": [row(data=[1])]}, b""),
        ({"inputs": [row(data=None)]}, b""),
        ({"inputs": [row(data=["1", "2"])]}, b""),
        ({"inputs": [row(data=[1.0, 2.0])]}, b""),
        ({"inputs": [row(data=[True, False])]}, b""),
        ({"inputs": [row(data=[1, 40000])]}, b""),
        ({"inputs": [row(datatype="UINT8", data=[1, -1])]}, b""),
        ({"inputs": [row(datatype="BOOL", data=[1, 0])]}, b""),
        ({"inputs": [row(datatype="FP16", data=[1e9, 0])]}, b""),
        ({"inputs": [row(datatype="FP64", data=[10**400, 0])]}, b""),
        ({"inputs": [row(parameters=7)]}, b""),
        ({"inputs": [row(parameters={"binary_data_size": 4})]}, b"1234"),
        (
            {"inputs": [sized(4)]},
            b"12",
        ),
        (
            {"inputs": [sized(-4)]},
            b"",
        ),
        (
            {"inputs": [sized("4")]},
            b"1234",
        ),
        ({"inputs": [row()]}, b"left over"),
        ({"inputs": [row()], "outputs": [{"name": "y", "parameters": {"classification": 3}}]}, b""),
        ({"inputs": [row()], "id": 7}, b""),
        ({"inputs": [row()], "parameters": []}, b""),
    ],
)
def test_nonsense_is_refused(head: Any, data: bytes) -> None:
    """Whatever a client sends, it is an InvalidRequest and nothing else."""
    with pytest.raises(InvalidRequest):
        decode(head, data)


@pytest.mark.parametrize(
    "body", [b"", b"\xff", b"[" * 200_000, b'{"inputs":' + b"[" * 200_000, b"nan", b"1" * 9999]
)
def test_bodies_that_are_not_json(body: bytes) -> None:
    """What is not JSON, or nested beyond reason, is refused."""
    with pytest.raises(InvalidRequest):
        decode_request(body, None)


def test_header_length_beyond_the_body() -> None:
    """A JSON part longer than the body is refused."""
    with pytest.raises(InvalidRequest, match="too long"):
        decode_request(b"{}", 3)


def test_unknown_output_and_nan(generation: Generation) -> None:
    """An output that is not there, or that JSON cannot hold, is refused with what would help."""
    request = decode({"inputs": [row()], "outputs": [{"name": "y"}]}, binary=False)
    with pytest.raises(InvalidRequest, match="no such output"):
        encode_response(request, generation, request.inputs)
    nan = {"x": Tensor("float32", (1,), struct.pack("<f", float("nan")))}
    request = decode({"inputs": [row()]}, binary=False)
    with pytest.raises(InvalidRequest, match="Ask for it in binary"):
        encode_response(request, generation, nan)


def test_metadata(generation: Generation) -> None:
    """Inputs and outputs are described with the protocol's datatypes."""
    metadata = model_metadata(generation)
    assert ("digits", ["7"], "edge_null") == (metadata["name"], metadata["versions"], metadata["platform"])
    assert [{"name": "image", "datatype": "UINT8", "shape": [1, 4, 4, 3]}] == metadata["inputs"]
    assert [{"name": "scores1", "datatype": "FP32", "shape": [1, 10]}] == metadata["outputs"]


def test_metadata_of_a_model_that_takes_images(generation: Generation) -> None:
    """How images become the input stands in the model's parameters, and only where it is known."""
    assert "parameters" not in model_metadata(generation)
    how = Preprocessing(width=4, height=4, channels="rgb", layout="NHWC", scale=1 / 255)
    told = model_metadata(evolve(generation, config=evolve(generation.config, preprocessing=how)))
    assert how == codec.from_json(told["parameters"]["preprocessing"], Preprocessing, where="metadata")
    json.dumps(told)
