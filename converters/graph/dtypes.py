"""Element types of tensors: the schema's enum against NumPy's names."""

from __future__ import annotations

from functools import cache

import numpy as np

from converters.graph.options import enum_names

# the schema's name -> the name used here, where lower case is not enough
_RENAMED = {"STRING": "str", "FLOAT8_E4M3FN": "float8_e4m3fn", "FLOAT8_E5M2": "float8_e5m2"}


@cache
def names() -> dict[int, str]:
    """Schema value -> dtype name."""
    return {value: _RENAMED.get(name, name.lower()) for value, name in enum_names("TensorType").items()}


@cache
def values() -> dict[str, int]:
    """Dtype name -> schema value."""
    return {name: value for value, name in names().items()}


@cache
def schema_name(dtype: str) -> str:
    """The schema's name of a dtype (`FLOAT32`), as options tables hold it."""
    return enum_names("TensorType")[values()[dtype]]


@cache
def numpy_dtype(dtype: str) -> np.dtype | None:
    """NumPy's dtype, None where NumPy has none or the file packs elements (int4)."""
    if dtype == "str":
        return None
    try:
        found = np.dtype(dtype)
    except TypeError:
        return None
    return found if found.isbuiltin == 1 else None
