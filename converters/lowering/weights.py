"""The values of an ONNX model's initializers, from the message or from the file that holds them.

Large ones stay in their file until they are asked for, each time anew: two copies of a model's weights are
what lowering needs. Such a tensor is external data as ONNX has it, but its `location` is an absolute path
and `mtime_ns` says when the file was last changed.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from device_agent.errors import InvalidModel


def is_external(tensor: onnx.TensorProto) -> bool:
    """Whether the tensor's bytes lie in a file."""
    return bool(tensor.data_location == onnx.TensorProto.EXTERNAL)


def array_of(tensor: onnx.TensorProto) -> np.ndarray:
    """The value of a tensor; one that lies in a file (its location absolute) is read from there each time.

    Raises:
        InvalidModel: the tensor does not hold what it states, or its file has changed.
    """
    try:
        return _external(tensor) if is_external(tensor) else numpy_helper.to_array(tensor)
    except InvalidModel:
        raise
    except Exception as e:  # a tensor that does not hold what it states: almost any exception
        raise InvalidModel("an initializer cannot be read", where=repr(tensor.name), got=str(e)) from e


def size_bytes(tensor: onnx.TensorProto) -> int | None:
    """How many bytes a tensor of that shape and dtype takes in a file; None of strings and unknown dtypes."""
    elements = math.prod(int(size) for size in tensor.dims)
    packed = {"INT4": 2, "UINT4": 2, "FLOAT4E2M1": 2, "INT2": 4, "UINT2": 4}  # elements to a byte
    name = onnx.TensorProto.DataType.Name(tensor.data_type)
    if name in packed:
        return -(-elements // packed[name])
    if name in ("UNDEFINED", "STRING"):
        return None
    return elements * int(helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)


def _external(tensor: onnx.TensorProto) -> np.ndarray:
    place = {entry.key: entry.value for entry in tensor.external_data}
    path, offset, length = Path(place["location"]), int(place["offset"]), int(place["length"])
    try:
        with path.open("rb") as file:
            same = str(os.fstat(file.fileno()).st_mtime_ns) == place["mtime_ns"]
            raw = np.fromfile(file, np.uint8, length, offset=offset)
    except OSError as e:
        raise InvalidModel("a file of the model cannot be read any more", where=str(path), got=str(e)) from e
    if not same or raw.size != length:
        raise InvalidModel(
            "a file of the model was changed after it was read",
            where=str(path),
            next_step="Load the model again.",
        )
    dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type)
    if tensor.data_type in _PLAIN:
        return raw.view(dtype.newbyteorder("<")).astype(dtype, copy=False).reshape(tuple(tensor.dims))
    inline = onnx.TensorProto(dims=tensor.dims, data_type=tensor.data_type, raw_data=raw.tobytes())
    return numpy_helper.to_array(inline)


_PLAIN = frozenset(
    (
        onnx.TensorProto.BOOL,
        onnx.TensorProto.DOUBLE,
        onnx.TensorProto.FLOAT,
        onnx.TensorProto.FLOAT16,
        onnx.TensorProto.INT8,
        onnx.TensorProto.INT16,
        onnx.TensorProto.INT32,
        onnx.TensorProto.INT64,
        onnx.TensorProto.UINT8,
        onnx.TensorProto.UINT16,
        onnx.TensorProto.UINT32,
        onnx.TensorProto.UINT64,
    )
)
