"""Calibration data: what a user gives, checked against the model, as a stream of single samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from attrs import field, frozen

if TYPE_CHECKING:
    import numpy as np


@frozen
class Calibration:
    """Checked calibration samples for one model.

    `samples()` starts a new pass over them; each sample maps every input name of the model to an array of
    exactly that input's shape and dtype (the model's batch, usually 1). `count` is their number, `source`
    says where they came from.
    """

    source: str
    count: int
    samples: Callable[[], Iterator[dict[str, np.ndarray]]] = field(repr=False)
