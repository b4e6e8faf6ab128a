"""What calibration learns of every activation of a float graph, in one pass over the samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import field, frozen

if TYPE_CHECKING:
    import numpy as np


@frozen
class TensorStatistics:
    """Of one float tensor, over all samples.

    `channel_*` are float32[C] over the last axis, of length C (scalars have C = 1). `histogram` counts the
    values in equal bins from `minimum` to `maximum`, int64[BINS]; of large tensors every k-th value is
    counted.
    """

    minimum: float
    maximum: float
    channel_minimum: np.ndarray = field(repr=False)
    channel_maximum: np.ndarray = field(repr=False)
    channel_mean: np.ndarray = field(repr=False)
    histogram: np.ndarray = field(repr=False)


@frozen
class Statistics:
    """Statistics by tensor name, constants excluded, and the number of samples they are of."""

    tensors: dict[str, TensorStatistics]
    samples: int
