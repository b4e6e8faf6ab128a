"""Named tensors as bytes: the safetensors layout, read and written without NumPy.

Golden inputs and outputs in a bundle and the frames between agent and worker use it.
Layout: https://huggingface.co/docs/safetensors (8-byte little-endian header length, JSON header of
`{name: {dtype, shape, data_offsets}}`, then the data; little-endian, C order).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

from attrs import frozen

from device_agent import codec
from device_agent.errors import InvalidRequest

# NumPy's name of a dtype -> (safetensors name, Open Inference Protocol name, bytes per element)
DTYPES: dict[str, tuple[str, str, int]] = {
    "bool": ("BOOL", "BOOL", 1),
    "int8": ("I8", "INT8", 1),
    "uint8": ("U8", "UINT8", 1),
    "int16": ("I16", "INT16", 2),
    "uint16": ("U16", "UINT16", 2),
    "int32": ("I32", "INT32", 4),
    "uint32": ("U32", "UINT32", 4),
    "int64": ("I64", "INT64", 8),
    "uint64": ("U64", "UINT64", 8),
    "float16": ("F16", "FP16", 2),
    "float32": ("F32", "FP32", 4),
    "float64": ("F64", "FP64", 8),
}
_FROM_SAFETENSORS = {row[0]: name for name, row in DTYPES.items()}
MAX_HEADER_BYTES = 1 << 20


@frozen
class Tensor:
    """One tensor: `dtype` by NumPy's name, `shape`, and `data` little-endian in C order."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes

    def __attrs_post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise InvalidRequest("unknown tensor dtype", got=self.dtype, expected=", ".join(DTYPES))
        if any(size < 0 for size in self.shape):
            raise InvalidRequest("a tensor's shape is negative", got=str(list(self.shape)))
        expected = math.prod(self.shape) * DTYPES[self.dtype][2]
        if len(self.data) != expected:
            raise InvalidRequest(
                f"a {self.dtype}{list(self.shape)} tensor has the wrong number of bytes",
                got=str(len(self.data)),
                expected=str(expected),
            )


def pack(tensors: Mapping[str, Tensor]) -> bytes:
    """The tensors in the safetensors layout, in the mapping's order."""
    header: dict[str, object] = {}
    offset = 0
    for name, tensor in tensors.items():
        end = offset + len(tensor.data)
        header[name] = {
            "dtype": DTYPES[tensor.dtype][0],
            "shape": list(tensor.shape),
            "data_offsets": [offset, end],
        }
        offset = end
    head = json.dumps(header, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    return b"".join([len(head).to_bytes(8, "little"), head, *(t.data for t in tensors.values())])


def unpack(blob: bytes | memoryview) -> dict[str, Tensor]:
    """The tensors held in a safetensors blob.

    Raises:
        InvalidRequest: the blob is not in that layout, or an offset or size is wrong.
    """
    view = memoryview(blob)
    length = int.from_bytes(view[:8], "little")
    if len(view) < 8 or length > MAX_HEADER_BYTES or 8 + length > len(view):
        raise InvalidRequest("not a safetensors blob: bad header length", got=f"{len(view)} bytes")
    data = view[8 + length :]
    try:
        header = codec.loads(bytes(view[8 : 8 + length]), "safetensors header")
        found = {}
        for name, row in header.items():
            if name == "__metadata__":
                continue
            start, end = row["data_offsets"]
            if not 0 <= start <= end <= len(data):
                raise InvalidRequest("a tensor's offsets leave the blob", where=name, got=f"{start}..{end}")
            dtype = _FROM_SAFETENSORS[row["dtype"]]
            found[name] = Tensor(dtype, tuple(int(n) for n in row["shape"]), bytes(data[start:end]))
        return found
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as e:
        if isinstance(e, InvalidRequest):
            raise
        raise InvalidRequest("not a safetensors blob: bad header", got=repr(e)) from e
