"""`Source`: a model that TensorFlow opened, whatever it was stored as."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from attrs import field, frozen

from converters.shaping import Declared
from device_agent.errors import InvalidModel
from device_agent.tensors import DTYPES


def declared(name: str, dtype: Any, shape: Any, path: str) -> Declared:
    """An input as TensorFlow states it: its own dtype and shape.

    Raises:
        InvalidModel: its rank is not known, or its dtype cannot be carried.
    """
    import tensorflow as tf

    where = f"{path}: input {name!r}"
    dimensions = tf.TensorShape(shape)
    if dimensions.rank is None:
        raise InvalidModel(
            "an input has no shape",
            where=where,
            expected="a tensor of known rank",
            next_step="Save the model anew with the shapes of its inputs.",
        )
    kind = tf.as_dtype(dtype).name
    if kind not in DTYPES:
        raise InvalidModel(
            "an input has a dtype that cannot be carried",
            where=where,
            got=kind,
            expected=", ".join(DTYPES),
            next_step="Leave preprocessing of text out of the model, and save it anew.",
        )
    return Declared(name, kind, tuple(dimensions))


@frozen
class Source:
    """Inputs and outputs by the source's own names, in its order, and the function between them.

    `call` takes and gives TensorFlow tensors. `unrolled` is entered while the function is traced for
    conversion: recurrent layers are then written out step by step, where the source can do that.
    """

    inputs: tuple[Declared, ...]
    outputs: tuple[str, ...]
    call: Callable[[list[Any]], list[Any]]
    kept: Any = field(repr=False)  # owns the variables
    unrolled: Callable[[], AbstractContextManager[bool]] = lambda: nullcontext(False)
