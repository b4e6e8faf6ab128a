"""Tensor elements as Python numbers and back, without NumPy."""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Iterator, Sequence

from device_agent.tensors import Tensor

_ARRAY_CODES = {
    "bool": "B",
    "int8": "b",
    "uint8": "B",
    "int16": "h",
    "uint16": "H",
    "int32": "i",
    "uint32": "I",
    "int64": "q",
    "uint64": "Q",
    "float32": "f",
    "float64": "d",
}


def values_of(tensor: Tensor) -> Iterator[float]:
    """A tensor's elements in C order; a bool is 0 or 1."""
    if tensor.dtype == "float16":
        return (value for (value,) in struct.iter_unpack("<e", tensor.data))
    values = array(_ARRAY_CODES[tensor.dtype])
    values.frombytes(tensor.data)
    if sys.byteorder == "big":
        values.byteswap()
    return iter(values)


def bytes_of(dtype: str, values: Sequence[float]) -> bytes:
    """Numbers as the bytes of a tensor of that dtype.

    Raises:
        TypeError, OverflowError, struct.error: a value does not fit the dtype.
    """
    if dtype == "float16":
        return struct.pack(f"<{len(values)}e", *values)
    packed = array(_ARRAY_CODES[dtype], values)
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tobytes()
