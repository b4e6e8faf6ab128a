"""What the metrics that come with the SDK have in common."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from attrs import define

from device_agent.errors import MetricError


@define(kw_only=True)
class Common:
    """The attributes of `Metric`, as most metrics have them."""

    name: str
    unit: str = "points"
    greater_is_better: bool = True
    labelled: bool = True
    binary: bool = False
    default_drop: float = 0.5
    default_share: float | None = None
    enough: float | None = None


@define(kw_only=True)
class Sums(Common, ABC):
    """A metric whose value follows from sums over samples: of each it keeps a tuple of k numbers."""

    resamples: int = 2000

    @abstractmethod
    def of(self, sums: np.ndarray) -> np.ndarray:
        """The value for each row of sums, float64[..., k] -> float64[...]; NaN where they give none."""

    def value(self, kept: Sequence[Any]) -> float:
        """The metric over samples; MetricError where it is not finite."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return finite(self.name, float(self.of(rows_of(kept).sum(axis=0))))

    def resampled(self, kept: Sequence[Any], counts: np.ndarray) -> np.ndarray:
        """The value in each resample, float64[R]: see `Resampled`."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.of(counts @ rows_of(kept))


def rows_of(kept: Sequence[Any]) -> np.ndarray:
    """What was kept as float64[n, k]; MetricError where nothing was."""
    if not kept:
        raise MetricError("there are no samples to judge")
    return np.asarray(kept, np.float64).reshape(len(kept), -1)


def finite(name: str, value: float) -> float:
    """The value, where it is one; MetricError otherwise."""
    if not math.isfinite(value):
        raise MetricError(f"{name} has no value over these samples", got=f"{value}", expected="a number")
    return value


def checked(array: np.ndarray, name: str) -> np.ndarray:
    """An output's values as float64; MetricError where they hold NaN or Inf."""
    values = np.asarray(array, np.float64)
    if not np.isfinite(values).all():
        raise MetricError(f"output {name!r} holds NaN or Inf", expected="finite values")
    return values
