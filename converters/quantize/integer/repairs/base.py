"""What a repair is: something done to a model before it is rounded, so that rounding costs less."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from attrs import define

from converters.progress import silent

if TYPE_CHECKING:
    from converters.progress import Progress
    from converters.quantize.engine import Effect
    from converters.quantize.integer.prepared import Prepared
    from converters.quantize.integer.statistics import Statistics
    from converters.quantize.samples.calibration import Calibration
    from converters.quantize.scheme import Scheme


@define
class Context:
    """What a repair may look at beside `Prepared`.

    `statistics` are of `prepared.graph` as it is when the repair is called. A repair that changes what
    activations hold calls `recalibrate`, which collects the statistics and chooses the ranges of the changed
    graph anew, into this object and into `prepared`. `runtime` is the one that the model is quantised for.
    """

    calibration: Calibration
    statistics: Statistics
    scheme: Scheme
    recalibrate: Callable[[], None]
    progress: Progress = silent
    runtime: str = "litert"


class Repair(Protocol):
    """Changes `prepared` in place, arrays excepted: a changed constant is a new array.

    An effect with `changed == 0` leaves it as it was.
    """

    def __call__(self, prepared: Prepared, context: Context) -> Effect:
        """Repair it; QuantizationError where LiteRT cannot run the model."""
        ...
