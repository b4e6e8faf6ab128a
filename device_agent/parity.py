"""Device against host: golden samples out of a bundle, and the comparison of what came back with them."""

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from attrs import frozen

from device_agent import durable, tensors
from device_agent.bundle import (
    GOLDEN_INPUTS_TYPE,
    GOLDEN_OUTPUTS_TYPE,
    BundleConfig,
    Descriptor,
    Manifest,
)
from device_agent.elements import values_of
from device_agent.errors import ActivationFailed, InvalidBundle, InvalidRequest
from device_agent.protocol import Parity, TensorParity
from device_agent.tensors import Tensor

MAX_GOLDEN_BYTES = 256 << 20


class Unpacked(Protocol):
    """A bundle whose files are on this disk."""

    @property
    def config(self) -> BundleConfig:
        """What it says of its model."""
        ...

    @property
    def manifest(self) -> Manifest:
        """What it consists of."""
        ...

    def path(self, layer: Descriptor) -> Path:
        """Where a layer is."""
        ...


@frozen
class Sample:
    """Golden inputs, and the outputs that the host computed from them."""

    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]


def golden_samples(bundle: Unpacked) -> list[Sample]:
    """The golden samples of a generation, or of a bundle that is none yet.

    Raises:
        InvalidBundle: there are none, or a tensor is missing from one.
    """
    config = bundle.config
    if config.golden_samples < 1:
        raise InvalidBundle("the bundle has no golden samples to check the device with")
    blobs = {}
    for media_type in (GOLDEN_INPUTS_TYPE, GOLDEN_OUTPUTS_TYPE):
        layer = bundle.manifest.layer(media_type)
        if layer.size > MAX_GOLDEN_BYTES:
            raise InvalidBundle(
                "golden samples are too large",
                where=layer.title,
                got=str(layer.size),
                expected=f"<= {MAX_GOLDEN_BYTES}",
            )
        with durable.mapped("cannot read golden samples", bundle.path(layer)):
            data = bundle.path(layer).read_bytes()
        try:
            blobs[media_type] = tensors.unpack(data)
        except InvalidRequest as e:
            raise InvalidBundle(e.what, where=layer.title, got=e.got) from e
    inputs = [spec.name for spec in config.inputs]
    outputs = [spec.name for spec in config.outputs]
    return [
        Sample(
            _of_sample(blobs[GOLDEN_INPUTS_TYPE], index, inputs),
            _of_sample(blobs[GOLDEN_OUTPUTS_TYPE], index, outputs),
        )
        for index in range(config.golden_samples)
    ]


def _of_sample(blob: Mapping[str, Tensor], index: int, names: list[str]) -> dict[str, Tensor]:
    """The tensors named `<sample>/<tensor>` of one sample, by tensor name."""
    try:
        return {name: blob[f"{index}/{name}"] for name in names}
    except KeyError as e:
        raise InvalidBundle("a golden tensor is missing", where=str(e.args[0])) from e


async def replay(
    config: BundleConfig,
    samples: Sequence[Sample],
    infer: Callable[[Mapping[str, Tensor]], Awaitable[dict[str, Tensor]]],
) -> Parity:
    """Run golden samples, and compare what comes out with what the host computed."""
    pairs = [(sample.outputs, await infer(sample.inputs)) for sample in samples]
    return await asyncio.to_thread(compare, pairs, config.tolerance)


def require(found: Parity) -> Parity:
    """`found` itself if every output is within its tolerance; ActivationFailed otherwise."""
    if not found.passed:
        raise ActivationFailed("the device does not compute what the host computed", got=figures(found))
    return found


def compare(
    pairs: Iterable[tuple[Mapping[str, Tensor], Mapping[str, Tensor]]], tolerance: Mapping[str, float]
) -> Parity:
    """The worst difference of each output over all samples.

    Args:
        pairs: for each sample, what was expected and what the device computed.
        tolerance: by output; an output without one must be exactly equal.
    """
    worst: dict[str, float] = {}
    dtypes: dict[str, str] = {}
    count = 0
    for expected, actual in pairs:
        count += 1
        for name, tensor in expected.items():
            difference = max_abs_diff(tensor, actual[name]) if name in actual else sys.float_info.max
            worst[name] = max(worst.get(name, 0.0), difference)
            dtypes[name] = tensor.dtype
    rows = []
    for name, difference in worst.items():
        bound = float(tolerance.get(name, 0.0))
        rows.append(TensorParity(name, dtypes[name], difference, bound, difference <= bound))
    return Parity(count, tuple(rows))


def max_abs_diff(expected: Tensor, actual: Tensor) -> float:
    """The largest absolute difference of two tensors.

    Infinities and NaNs are equal to themselves and as far as can be from everything else, and so are
    tensors of another dtype or shape: the largest float, because JSON has no infinity.
    """
    if (expected.dtype, expected.shape) != (actual.dtype, actual.shape):
        return sys.float_info.max
    if expected.data == actual.data:
        return 0.0
    return max(map(_distance, values_of(expected), values_of(actual)), default=0.0)


def _distance(a: float, b: float) -> float:
    difference = abs(a - b)
    if math.isfinite(difference):
        return float(difference)
    same = a == b or (math.isnan(a) and math.isnan(b))
    return 0.0 if same else sys.float_info.max


def figures(parity: Parity) -> str:
    """The outputs that are out of tolerance, in words."""
    return "; ".join(
        f"{row.name} differs by {row.max_abs_diff:.6g} {'' if row.dtype.startswith('float') else 'steps '}"
        f"(tolerance {row.tolerance:g})"
        for row in parity.tensors
        if not row.passed
    )
