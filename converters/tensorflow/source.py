"""`Source`: a model that TensorFlow opened, whatever it was stored as."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from attrs import field, frozen

from converters.tensorflow.shapes import End


@frozen
class Source:
    """Inputs and outputs by the source's own names, in its order, and the function between them.

    `call` takes and gives TensorFlow tensors. `unrolled` is entered while the function is traced for
    conversion: recurrent layers are then written out step by step, where the source can do that.
    """

    inputs: tuple[End, ...]
    outputs: tuple[str, ...]
    call: Callable[[list[Any]], list[Any]]
    kept: Any = field(repr=False)  # owns the variables
    unrolled: Callable[[], AbstractContextManager[bool]] = lambda: nullcontext(False)
