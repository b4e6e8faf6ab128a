"""Open Inference Protocol v2 bodies with binary tensors: pure functions, bytes in and out.

The binary form is KServe's binary tensor data extension: a JSON header, whose length stands in the HTTP
header `Inference-Header-Content-Length`, then the tensors' bytes in the header's order.
https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/binary_tensor_data_extension.md
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from device_agent.errors import InvalidRequest, ProtocolError
from device_agent.tensors import DTYPES, Tensor

HEADER_LENGTH = "Inference-Header-Content-Length"
_FROM_OIP = {row[1]: name for name, row in DTYPES.items()}


def encode_request(tensors: Mapping[str, Tensor]) -> tuple[bytes, int]:
    """An inference request that asks for binary outputs.

    Returns:
        The body, and the length of its JSON header in bytes.
    """
    header = {
        "inputs": [
            {
                "name": name,
                "shape": list(tensor.shape),
                "datatype": DTYPES[tensor.dtype][1],
                "parameters": {"binary_data_size": len(tensor.data)},
            }
            for name, tensor in tensors.items()
        ],
        "parameters": {"binary_data_output": True},
    }
    head = json.dumps(header, separators=(",", ":")).encode()
    return b"".join([head, *(tensor.data for tensor in tensors.values())]), len(head)


def decode_response(body: bytes, header_length: int) -> dict[str, Tensor]:
    """The outputs of an inference response whose tensors are binary.

    Raises:
        ProtocolError: the body is not such a response.
    """
    try:
        outputs = json.loads(body[:header_length])["outputs"]
        found: dict[str, Tensor] = {}
        offset = header_length
        for output in outputs:
            end = offset + output["parameters"]["binary_data_size"]
            dtype = _FROM_OIP[output["datatype"]]
            found[output["name"]] = Tensor(dtype, tuple(output["shape"]), body[offset:end])
            offset = end
    except (ValueError, KeyError, TypeError, InvalidRequest) as e:
        raise ProtocolError("not an inference response with binary outputs", got=repr(e)) from e
    if offset != len(body):
        raise ProtocolError("bytes are left over after the outputs", got=str(len(body)), expected=str(offset))
    return found
