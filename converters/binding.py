"""Values for inputs that become constants: read from what a user types, and cast to what the input takes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from device_agent.errors import FileMissing, InvalidRequest

if TYPE_CHECKING:
    import numpy as np

    from converters.shaping import Declared

WAYS = "Give a number, true or false, a JSON list, or an .npy file: `--bind sr=16000`, `--bind mask=[0,1]`."
_SHOWN = 16  # elements: a longer value is told by its digest
_KINDS = {"b": "bool", "i": "integer", "u": "integer", "f": "number"}


def parse(text: str) -> np.ndarray:
    """The value in a text: a number, `true` or `false`, a JSON list of them, or the name of an `.npy` file.

    Raises:
        FileMissing: there is no such file.
        InvalidRequest: it is none of these.
    """
    import numpy as np

    if text.lower().endswith(".npy"):
        path = Path(text)
        if not path.is_file():
            raise FileMissing("no such file of a value to bind", where=text)
        try:
            return np.asarray(np.load(path, allow_pickle=False))  # pickles can run code: never
        except (OSError, ValueError, EOFError) as e:
            raise InvalidRequest(
                "the file does not hold one array of numbers", where=text, got=str(e), next_step=WAYS
            ) from e
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as e:
        raise InvalidRequest(
            "a value to bind cannot be read", where="--bind", got=repr(text[:80]), next_step=WAYS
        ) from e
    return array_of(value)


def array_of(value: Any) -> np.ndarray:
    """A number, a bool, an array or nested lists of them as an array; InvalidRequest for anything else."""
    import numpy as np

    if isinstance(value, (str, Path)):
        return parse(str(value))
    try:
        array = np.asarray(value)
    except ValueError as e:  # lists of different lengths
        raise InvalidRequest(
            "a value to bind is no array", where="--bind", got=repr(value)[:80], next_step=WAYS
        ) from e
    if array.dtype.kind not in _KINDS:
        raise InvalidRequest(
            "a value to bind does not hold numbers of at most 64 bits",
            where="--bind",
            got=repr(value)[:80],
            next_step=WAYS,
        )
    return array


def fitting(array: np.ndarray, one: Declared, where: str) -> np.ndarray:
    """A value in the dtype and shape of the input it is bound to.

    Integers must come out as they are, floats may be rounded to the input's precision. One number fits an
    input of one element, whatever its number of axes.

    Raises:
        InvalidRequest: the shape, the kind of number or the range does not fit; names the input.
    """
    import numpy as np

    place = f"{where}: input {one.name!r}"
    shape = array.shape
    if not shape and all(size in (1, None) or isinstance(size, str) for size in one.dimensions):
        shape = (1,) * len(one.dimensions)
    pairs = zip(shape, one.dimensions, strict=False)
    if len(shape) != len(one.dimensions) or any(isinstance(d, int) and n != d for n, d in pairs):
        expected = ", ".join("?" if size is None else str(size) for size in one.dimensions)
        raise InvalidRequest(
            "the bound value has another shape than the input",
            where=place,
            got=str(list(array.shape)),
            expected=f"[{expected}]",
        )
    kind = _KINDS.get(np.dtype(one.dtype).kind)
    if kind is None or (array.dtype.kind == "b") != (kind == "bool"):
        raise InvalidRequest(
            "the bound value has the wrong dtype", where=place, got=str(array.dtype), expected=one.dtype
        )
    with np.errstate(over="ignore", invalid="ignore"):
        cast = array.astype(one.dtype)
        if kind == "number":
            lost = np.isfinite(array) & ~np.isfinite(cast)
        else:
            lost = (cast != array) | ~np.isfinite(array)
    if lost.any():
        limits = np.finfo(one.dtype) if kind == "number" else np.iinfo(one.dtype)
        raise InvalidRequest(
            f"the bound value does not fit {one.dtype}",
            where=place,
            got=str(array[lost].flat[0]),
            expected=f"{'a number' if kind == 'number' else 'an integer'} from {limits.min} to {limits.max}",
        )
    return cast.reshape(shape)


def described(array: np.ndarray) -> str:
    """A bound value as a plan records it: `int64[] 16000`, the digest in place of a long one."""
    import numpy as np

    kind = f"{array.dtype}{list(array.shape)}"
    if array.size <= _SHOWN:
        return f"{kind} {json.dumps(array.tolist())}"
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return f"{kind} sha256:{hashlib.sha256(little.tobytes()).hexdigest()}"
