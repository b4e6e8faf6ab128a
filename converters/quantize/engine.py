"""What a quantisation search needs of a runtime: to build a model in any scheme, and to look inside it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from attrs import frozen

if TYPE_CHECKING:
    import numpy as np

    from converters.artifact import Artifact
    from converters.quantize.scheme import Scheme


@frozen
class Layer:
    """An operator that may be given a precision of its own.

    `name` is its first output tensor, as `Scheme.exceptions` names it; `label` the source operators it came
    from, as a user knows them; `macs` its multiply-accumulates; `precisions` what it can compute in as an
    integer operator or `float32`. `inputs` names the layers whose outputs it reads; an engine that does not
    tell leaves it empty.
    """

    name: str
    type: str
    label: str
    macs: int
    precisions: tuple[str, ...]
    inputs: tuple[str, ...] = ()


@frozen
class Effect:
    """What a repair did: `changed` counts what it changed (0: it found nothing to do), `what` says it."""

    repair: str
    changed: int
    what: str


@frozen
class Fallback:
    """An operator that is not in the precision its scheme asks for: what it computes in instead, and why."""

    layer: str
    type: str
    precision: str
    reason: str


@frozen
class Built:
    """A model in one scheme: the file, what each repair did, and what could not be as asked."""

    artifact: Artifact
    effects: tuple[Effect, ...]
    fallbacks: tuple[Fallback, ...]


@frozen
class LayerError:
    """How far an operator's output in a quantised model is from the float model's, over some samples.

    `snr_db` is 10 log10(sum r^2 / sum (r - q)^2), None where both are equal; `cosine` is of all values as
    one vector. `range_use` is the share (0..1) of the quantised range that the float values fill;
    `saturation` the share of values that lie outside it. Both are None where the output is float.
    """

    layer: str
    type: str
    label: str
    precision: str
    snr_db: float | None
    cosine: float
    range_use: float | None
    saturation: float | None


class Engine(Protocol):
    """Builds one model for one runtime, in any scheme.

    Making an engine lowers and prepares the model; the first build that needs statistics calibrates, the
    later ones take some tens of milliseconds on LiteRT, and as long as the first on OpenVINO.

    `ranges` and `repairs` are those it knows, in the order in which they are worth trying; `steps` what a
    layer that loses too much may be given instead, cheapest first (`int16x8`, `float32`).
    """

    ranges: tuple[str, ...]
    repairs: tuple[str, ...]
    steps: tuple[str, ...]

    def layers(self) -> tuple[Layer, ...]:
        """The operators in execution order."""
        ...

    def build(self, scheme: Scheme) -> Built:
        """The model in that scheme; the same scheme gives the same bytes.

        Raises:
            CalibrationError: the scheme needs calibration samples and the engine has none.
            QuantizationError: nothing can be built in that scheme; says why.
        """
        ...

    def errors(self, scheme: Scheme, samples: Iterable[Mapping[str, np.ndarray]]) -> tuple[LayerError, ...]:
        """The error of each layer's output in that scheme, in execution order, over these samples."""
        ...


@runtime_checkable
class Apart(Protocol):
    """An engine whose builds are done by another process, and may take long there: see `Engine`."""

    def allow(self, seconds: float | None) -> None:
        """From now on a build that takes longer raises QuantizationError; None: it may take what it takes."""
        ...

    def held_bytes(self) -> int:
        """What the other process holds in memory now."""
        ...
