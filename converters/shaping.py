"""`Shaping`: what a user fixes of a model's inputs before anything is decided about it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from attrs import field, frozen

if TYPE_CHECKING:
    import numpy as np

LAYOUTS = ("keep", "nhwc")
_NONE: Mapping[str, object] = MappingProxyType({})


@frozen
class Shaping:
    """Sizes, bindings and layout of a model's inputs, by their names in the source model.

    `batch` is what an open first axis becomes. `input_shapes` gives whole shapes and goes before it.
    `bind` turns inputs into constants. `layout` is how image inputs and outputs of a channel-first model
    lie in the compiled one: `keep`, or `nhwc`.
    """

    batch: int = 1
    input_shapes: Mapping[str, tuple[int, ...]] = field(default=_NONE)
    bind: Mapping[str, np.ndarray] = field(default=_NONE, eq=False)
    layout: str = "keep"
