"""Open Inference Protocol v2 bodies: pure functions between HTTP's bytes and our tensors.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md and its
binary tensor data extension (binary_tensor_data_extension.md beside it): a JSON header, whose length
stands in the HTTP header `Inference-Header-Content-Length`, then the tensors' bytes in its order.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from typing import Any

from attrs import frozen

import device_agent
from device_agent import codec
from device_agent.bundle import TensorSpec
from device_agent.elements import bytes_of, values_of
from device_agent.errors import InvalidRequest
from device_agent.store import Generation
from device_agent.tensors import DTYPES, Tensor
from device_agent.web import parse_object

HEADER_LENGTH = "Inference-Header-Content-Length"
MAX_HEADER_BYTES = 16 << 20
MAX_DIMENSIONS = 32
_FROM_OIP = {row[1]: name for name, row in DTYPES.items()}


@frozen
class InferRequest:
    """A decoded request: `outputs` maps the outputs asked for to whether they shall be binary."""

    id: str
    inputs: dict[str, Tensor]
    outputs: dict[str, bool]
    binary_by_default: bool


def server_metadata() -> dict[str, Any]:
    """The answer to `GET /v2`."""
    return {
        "name": "edge-agent",
        "version": device_agent.__version__,
        "extensions": ["binary_tensor_data"],
    }


def model_metadata(generation: Generation) -> dict[str, Any]:
    """The answer to `GET /v2/models/{name}`.

    `parameters` of a tensor hold its quantisation, those of the model how images become its input, if it was
    made with images.
    """
    config = generation.config
    found: dict[str, Any] = {
        "name": generation.name,
        "versions": [str(generation.number)],
        "platform": f"edge_{config.runtime}",
        "inputs": [_tensor_metadata(spec) for spec in config.inputs],
        "outputs": [_tensor_metadata(spec) for spec in config.outputs],
    }
    if config.preprocessing is not None:
        found["parameters"] = {"preprocessing": codec.to_json(config.preprocessing)}
    return found


def _tensor_metadata(spec: TensorSpec) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": spec.name,
        "datatype": DTYPES[spec.dtype][1],
        "shape": list(spec.shape),
    }
    if spec.quantization is not None:
        found["parameters"] = {
            "scale": list(spec.quantization.scale),
            "zero_point": list(spec.quantization.zero_point),
            "axis": spec.quantization.axis,
        }
    return found


def decode_request(body: bytes | bytearray, header_length: int | None) -> InferRequest:
    """An inference request.

    Args:
        body: of the HTTP request.
        header_length: of its JSON part; None where all of it is JSON.

    Raises:
        InvalidRequest: it is not one; says where.
    """
    end = len(body) if header_length is None else header_length
    if end > min(len(body), MAX_HEADER_BYTES):
        raise InvalidRequest(
            "the JSON part is too long", where=HEADER_LENGTH, got=str(end), expected=f"<= {len(body)}"
        )
    head = parse_object(bytes(body[:end]), "request body")
    parameters = _object(head, "parameters")
    data = memoryview(body)[end:]
    inputs: dict[str, Tensor] = {}
    for row in _rows(head, "inputs"):
        tensor, data = _decode_input(row, data)
        if row["name"] in inputs:
            raise InvalidRequest("an input stands there twice", where=row["name"])
        inputs[row["name"]] = tensor
    if len(data):
        raise InvalidRequest("bytes are left over after the inputs", got=str(len(data)))
    by_default = parameters.get("binary_data_output") is True
    outputs = {}
    for row in _rows(head, "outputs"):
        wanted = _object(row, "parameters")
        if "classification" in wanted:
            raise InvalidRequest("the classification extension is not offered", where=row["name"])
        outputs[row["name"]] = wanted.get("binary_data", by_default) is True
    request_id = head.get("id", "")
    if not isinstance(request_id, str):
        raise InvalidRequest("the id must be a string", where="id")
    return InferRequest(request_id, inputs, outputs, by_default)


def encode_response(
    request: InferRequest, generation: Generation, outputs: Mapping[str, Tensor]
) -> tuple[bytes, int | None]:
    """An inference response.

    Returns:
        The body, and the length of its JSON part where binary tensors follow it.

    Raises:
        InvalidRequest: an output was asked for that the model does not have, or that JSON cannot hold.
    """
    wanted = request.outputs or dict.fromkeys(outputs, request.binary_by_default)
    rows, blobs = [], []
    for name, binary in wanted.items():
        if name not in outputs:
            raise InvalidRequest(
                "the model has no such output", where=name[:200], expected=", ".join(sorted(outputs))
            )
        tensor = outputs[name]
        row: dict[str, Any] = {
            "name": name,
            "datatype": DTYPES[tensor.dtype][1],
            "shape": list(tensor.shape),
        }
        if binary:
            row["parameters"] = {"binary_data_size": len(tensor.data)}
            blobs.append(tensor.data)
        else:
            row["data"] = _json_values(name, tensor)
        rows.append(row)
    head: dict[str, Any] = {"model_name": generation.name, "model_version": str(generation.number)}
    if request.id:
        head["id"] = request.id
    head["outputs"] = rows
    text = json.dumps(head, separators=(",", ":"), allow_nan=False).encode()
    return b"".join([text, *blobs]), len(text) if blobs else None


def _decode_input(row: dict[str, Any], data: memoryview) -> tuple[Tensor, memoryview]:
    """One input, and what is left of the binary data after it."""
    name, shape = row["name"], row.get("shape")
    dtype = _FROM_OIP.get(str(row.get("datatype")))
    if dtype is None:
        raise InvalidRequest(
            "unknown datatype", where=name, got=str(row.get("datatype"))[:40], expected=", ".join(_FROM_OIP)
        )
    if not isinstance(shape, list) or len(shape) > MAX_DIMENSIONS or not all(map(_is_size, shape)):
        raise InvalidRequest("a shape must be a list of sizes", where=name, got=repr(shape)[:80])
    size = _object(row, "parameters").get("binary_data_size")
    if size is None:
        return Tensor(dtype, tuple(shape), _from_values(name, dtype, row.get("data"))), data
    if not _is_size(size) or size > len(data) or "data" in row:
        raise InvalidRequest(
            "wrong binary_data_size",
            where=name,
            got=repr(size)[:40],
            expected=f"<= {len(data)}, and no `data`",
        )
    return Tensor(dtype, tuple(shape), bytes(data[:size])), data[size:]


def _rows(head: dict[str, Any], key: str) -> list[dict[str, Any]]:
    """The objects, each with a name, in the list `head[key]`."""
    rows = head.get(key, [])
    named = isinstance(rows, list) and all(
        isinstance(row, dict) and isinstance(row.get("name"), str) for row in rows
    )
    if not named:
        raise InvalidRequest("must be a list of named tensors", where=key, got=repr(rows)[:80])
    return list(rows)


def _object(row: dict[str, Any], key: str) -> dict[str, Any]:
    found = row.get(key, {})
    if not isinstance(found, dict):
        raise InvalidRequest("must be an object", where=key, got=repr(found)[:80])
    return found


def _is_size(value: object) -> bool:
    return type(value) is int and 0 <= value < 1 << 63


def _from_values(name: str, dtype: str, values: object) -> bytes:
    """Numbers, flat or nested, as a tensor's bytes."""
    flat: list[Any] = []
    pending = [values]
    while pending:
        value = pending.pop()
        if isinstance(value, list):
            pending += reversed(value)
        else:
            flat.append(value)
    kinds = {"bool": (bool,)}.get(dtype, (int, float) if dtype.startswith("float") else (int,))
    strangers = [value for value in flat if type(value) not in kinds]
    if strangers:
        raise InvalidRequest(f"the data does not fit {dtype}", where=name, got=repr(strangers[0])[:40])
    try:
        return bytes_of(dtype, flat)
    except (OverflowError, struct.error) as e:
        raise InvalidRequest(f"the data does not fit {dtype}", where=name, got=str(e)) from e


def _json_values(name: str, tensor: Tensor) -> list[Any]:
    values: list[Any] = list(values_of(tensor))
    if tensor.dtype == "bool":
        return [bool(value) for value in values]
    if tensor.dtype.startswith("float") and not all(map(math.isfinite, values)):
        raise InvalidRequest(
            "the output holds a NaN or an infinity, which JSON cannot",
            where=name,
            next_step="Ask for it in binary.",
        )
    return values
