"""Open Inference Protocol bodies."""

import json

import pytest

from device_agent.errors import ProtocolError
from device_agent.tensors import Tensor
from edge_sdk.devices import oip

ONE = Tensor("int8", (1, 3), b"\x01\x02\x03")
TWO = Tensor("float32", (2,), b"\x00" * 8)


def test_request_is_a_header_and_the_tensors_bytes() -> None:
    """The JSON header names each input in the order of the bytes behind it."""
    body, length = oip.encode_request({"a": ONE, "b": TWO})
    header = json.loads(body[:length])
    assert [("a", [1, 3], "INT8", 3), ("b", [2], "FP32", 8)] == [
        (i["name"], i["shape"], i["datatype"], i["parameters"]["binary_data_size"]) for i in header["inputs"]
    ]
    assert header["parameters"]["binary_data_output"] is True
    assert ONE.data + TWO.data == body[length:]


def test_response_gives_the_tensors_back() -> None:
    """Outputs come back by name with their dtype, shape and bytes."""
    body, length = _response([("y", ONE), ("z", TWO)])
    assert {"y": ONE, "z": TWO} == oip.decode_response(body, length)


@pytest.mark.parametrize("cut", [slice(None, -1), slice(None, 10), slice(0, 0)])
def test_truncated_response_is_refused(cut: slice) -> None:
    """A response with bytes missing is a protocol error, whatever is missing."""
    body, length = _response([("y", ONE)])
    with pytest.raises(ProtocolError):
        oip.decode_response(body[cut], length)


def test_bytes_left_over_are_refused() -> None:
    """A response that is longer than its outputs is a protocol error."""
    body, length = _response([("y", ONE)])
    with pytest.raises(ProtocolError, match="left over"):
        oip.decode_response(body + b"x", length)


def _response(outputs: list[tuple[str, Tensor]]) -> tuple[bytes, int]:
    request, length = oip.encode_request(dict(outputs))
    header = json.dumps({"outputs": json.loads(request[:length])["inputs"]}).encode()
    return header + request[length:], len(header)
