"""Two files of the same model on a device, measured in turns."""

from __future__ import annotations

import hashlib
import tempfile
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import evolve, frozen

from converters.progress import Progress, silent
from device_agent.bundle import (
    GOLDEN_INPUTS_TYPE,
    GOLDEN_OUTPUTS_TYPE,
    MODEL_TYPE,
    Bundle,
    BundleConfig,
    write_bundle,
)
from device_agent.errors import InvalidRequest, RuntimeMissing
from device_agent.protocol import BenchmarkRequest
from device_agent.tensors import Tensor, pack
from edge_sdk.bench.statistics import LatencySummary, summarize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from converters.optimize import Optimization
    from device_agent.bundle import TensorSpec
    from edge_sdk.devices.device import Device

ROUNDS = 4  # even: each file is first as often as the other
REQUEST = BenchmarkRequest(min_iterations=50, min_seconds=0.3)
_RUNTIMES = ("litert", "tflite")  # in order of preference


@frozen
class Versus:
    """Latencies of two files over all rounds, on the same runtime of a device."""

    device: str
    runtime: str
    before: LatencySummary
    after: LatencySummary


def measure(device: Device, made: Optimization, *, progress: Progress = silent) -> Versus:
    """Deploy a file as it came and as it was rewritten, measure them in turns, and remove both.

    The order changes with each round, so that a device that warms up favours neither.

    Raises:
        InvalidRequest: the file holds operators that cannot be run here.
        RuntimeMissing: the device has no runtime for TFLite files.
        DeviceError: anything else on the device or the way to it.
    """
    if not made.inputs:
        raise InvalidRequest(
            "the file cannot be measured: no runtime here has its custom operators", where=str(made.path)
        )
    runtime = _runtime(device)
    mark = uuid.uuid4().hex[:8]
    latencies: dict[str, list[int]] = {}
    deployed: list[str] = []
    with tempfile.TemporaryDirectory(prefix="edge-") as folder:
        try:
            for label, data in (("before", made.source), ("after", made.data)):
                name = f"optimize-{label}-{mark}"
                deployed.append(name)
                device.deploy(_bundle(Path(folder) / label, name, data, made, runtime), progress=progress)
                latencies[name] = []
            for number in range(ROUNDS):
                for name in deployed if number % 2 == 0 else reversed(deployed):
                    progress("measure in turns", number, ROUNDS)
                    latencies[name] += device.benchmark(name, REQUEST).latencies_ns
        finally:
            for name in latencies:
                device.remove(name)
    before, after = (_summary(latencies[name]) for name in deployed)
    return Versus(device.name, runtime, before, after)


def _summary(latencies_ns: Sequence[int]) -> LatencySummary:
    found = summarize(latencies_ns)
    if found is None:
        raise InvalidRequest("the benchmark gave no latencies")
    return found


def _runtime(device: Device) -> str:
    there = {runtime.name for runtime in device.describe().runtimes if runtime.version is not None}
    for name in _RUNTIMES:
        if name in there:
            return name
    raise RuntimeMissing(
        "the device has no runtime for TFLite files",
        where=device.name,
        got=", ".join(sorted(there)) or "none",
        expected=" or ".join(_RUNTIMES),
        next_step="`edge devices install` brings one.",
    )


def _bundle(folder: Path, name: str, data: bytes, made: Optimization, runtime: str) -> Bundle:
    """A file as it is, with the samples that were compared as golden ones."""
    from converters.readers.tflite import from_tflite

    model = from_tflite(data, made.path, "tflite")
    inputs, outputs = _named(model.inputs, made.inputs[0]), _named(model.outputs, made.outputs[0])
    config = BundleConfig(
        name=name,
        target="local",
        architecture="host",
        runtime=runtime,
        runtime_version="1.0.0",
        model="model.tflite",
        inputs=inputs,
        outputs=outputs,
        tolerance={spec.name: _tolerance(spec, made) for spec in outputs},
        source_sha256=hashlib.sha256(made.source).hexdigest(),
        precision="float32",
        golden_samples=len(made.inputs),
    )
    layers = {
        "model.tflite": (MODEL_TYPE, data),
        "golden_inputs.safetensors": (GOLDEN_INPUTS_TYPE, _numbered(made.inputs)),
        "golden_outputs.safetensors": (GOLDEN_OUTPUTS_TYPE, _numbered(made.outputs)),
    }
    return write_bundle(folder, config, layers)


def _named(specs: tuple[TensorSpec, ...], sample: dict[str, Tensor]) -> tuple[TensorSpec, ...]:
    """By the names that the runtime has for them, which a signature's may not be."""
    if {spec.name for spec in specs} == set(sample):
        return specs
    return tuple(evolve(spec, name=name) for spec, name in zip(specs, sample, strict=True))


def _numbered(samples: Sequence[dict[str, Tensor]]) -> bytes:
    named: dict[str, Tensor] = {}
    for number, row in enumerate(samples):
        named.update({f"{number}/{name}": tensor for name, tensor in row.items()})
    return pack(named)


def _tolerance(spec: TensorSpec, made: Optimization) -> float:
    """How far the device may be from the host in an output, as the LiteRT backend has it."""
    import numpy as np

    from converters.backends.compiled import TOLERANCE_FLOAT, TOLERANCE_STEPS

    if not spec.dtype.startswith("float"):
        return TOLERANCE_STEPS if spec.quantization is not None else 0.0
    values = [np.abs(np.frombuffer(row[spec.name].data, spec.dtype)).max(initial=0) for row in made.outputs]
    return TOLERANCE_FLOAT * max(1.0, float(max(values, default=0.0)))
