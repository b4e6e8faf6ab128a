"""Takes large weights out of the bytes of an ONNX file, so that they are not held as a parsed message.

A weight's bytes lie in the file as they will be read: the message gets a reference to them there, in the
form that ONNX has for external data. The wire format is https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx

LEAST = 1 << 16  # bytes: what is smaller is left where it is
_GRAPH, _INITIALIZER, _RAW_DATA = 7, 5, 9  # field numbers in ModelProto, GraphProto, TensorProto
_WHERE = frozenset((13, 14))  # ... of external_data and data_location
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types


def slim(data: bytes, path: Path) -> bytes:
    """The bytes of a model whose large initializers refer to their place in the file at `path`.

    What is not a well-formed message comes back as it is: to refuse it is the parser's part.
    """
    view = memoryview(data)
    try:
        return b"".join(_model(view, path))
    except (IndexError, ValueError):
        return data


def _model(view: memoryview, path: Path) -> Iterator[bytes | memoryview]:
    for number, wire, start, first, end in _fields(view, 0, len(view)):
        if number == _GRAPH and wire == _BYTES:
            graph = b"".join(_graph(view, first, end, path))
            yield _header(_GRAPH, len(graph))
            yield graph
        else:
            yield view[start:end]


def _graph(view: memoryview, begin: int, stop: int, path: Path) -> Iterator[bytes | memoryview]:
    for number, wire, start, first, end in _fields(view, begin, stop):
        large = number == _INITIALIZER and wire == _BYTES and end - first >= LEAST
        tensor = _tensor(view, first, end, path) if large else None
        if tensor is None:
            yield view[start:end]
        else:
            yield _header(_INITIALIZER, len(tensor))
            yield tensor


def _tensor(view: memoryview, begin: int, stop: int, path: Path) -> bytes | None:
    """The tensor without its bytes; None where it has none, or several, or says where they are itself."""
    kept: list[bytes | memoryview] = []
    raw: tuple[int, int] | None = None
    for number, wire, start, first, end in _fields(view, begin, stop):
        if number in _WHERE or (number == _RAW_DATA and raw is not None):
            return None
        if number == _RAW_DATA and wire == _BYTES:
            raw = (first, end - first)
        else:
            kept.append(view[start:end])
    if raw is None or raw[1] < LEAST:
        return None
    return b"".join([*kept, reference(path, *raw).SerializeToString()])


def reference(path: Path, offset: int, length: int) -> onnx.TensorProto:
    """A tensor that holds nothing but where its bytes are; see `lowering.weights`."""
    made = onnx.TensorProto(data_location=onnx.TensorProto.EXTERNAL)
    place = {
        "location": path.absolute(),
        "offset": offset,
        "length": length,
        "mtime_ns": path.stat().st_mtime_ns,
    }
    for key, value in place.items():
        made.external_data.add(key=key, value=str(value))
    return made


def _fields(view: memoryview, begin: int, stop: int) -> Iterator[tuple[int, int, int, int, int]]:
    """Field number, wire type, and where field, content and end are, of each field of a message.

    Raises:
        IndexError: the data ends within a field.
        ValueError: it is no message.
    """
    place = begin
    while place < stop:
        start = place
        key, place = _varint(view, place)
        first = place
        wire = key & 7
        if wire == _VARINT:
            _, place = _varint(view, place)
        elif wire == _BYTES:
            length, first = _varint(view, place)
            place = first + length
        elif wire in (_FIXED32, _FIXED64):
            place += 4 if wire == _FIXED32 else 8
        else:
            raise ValueError(f"wire type {wire}")
        if place > stop:
            raise IndexError(place)
        yield key >> 3, wire, start, first, place


def _varint(view: memoryview, place: int) -> tuple[int, int]:
    """A number of variable length, and the place after it."""
    value = shift = 0
    while True:
        byte = view[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
        shift += 7
        if shift > 63:
            raise ValueError("a number of more than ten bytes")


def _header(number: int, length: int) -> bytes:
    """The key and length of a field of bytes."""
    made = bytearray([number << 3 | _BYTES])
    while length >= 0x80:
        made.append(length & 0x7F | 0x80)
        length >>= 7
    made.append(length)
    return bytes(made)
