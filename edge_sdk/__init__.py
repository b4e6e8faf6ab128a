"""The public API: a model file goes in, a verified and measured model runs on a device.

    model = edge_sdk.load("model.onnx")
    plan = edge_sdk.plan(model, "rpi4")
    conversion = edge_sdk.convert(model, plan, calibration="calibration.npz")
    bundle = edge_sdk.pack(conversion, "build/model")
    with edge_sdk.device("local") as device:
        deployment = edge_sdk.deploy(bundle, device)
        result = edge_sdk.benchmark(device, deployment.name)

`plan` decides and writes nothing; `convert` opens no socket; only `edge_sdk.devices` does. Names are
loaded on first use, so importing this package is instant. May import everything below it: `converters`,
`targets`, `device_agent`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from converters.artifact import Artifact
    from converters.convert import Conversion
    from converters.model import Model
    from converters.optimize import Optimization
    from converters.partition.types import Plan
    from converters.preflight import Preflight
    from converters.quantize.accuracy.fidelity import Fidelity
    from converters.quantize.search.types import Search
    from converters.verdict import Verdict
    from device_agent import __version__
    from device_agent.bundle import Bundle, Execution, TensorSpec
    from device_agent.errors import EdgeError
    from device_agent.protocol import BenchmarkRequest, BenchmarkResult
    from device_agent.statement import Selector
    from edge_sdk.devices.device import Deployment, Device
    from edge_sdk.fastest import Choice, Fastest, deploy_fastest
    from edge_sdk.pipeline import (
        benchmark,
        convert,
        deploy,
        device,
        inspect,
        load,
        open_bundle,
        optimize,
        pack,
        plan,
        sign,
    )
    from edge_sdk.placing import place
    from edge_sdk.quantization import Quantization, quantize
    from edge_sdk.signature import Signature
    from targets.schema import Target

_HOMES = {
    "Artifact": "converters.artifact",
    "BenchmarkRequest": "device_agent.protocol",
    "BenchmarkResult": "device_agent.protocol",
    "Bundle": "device_agent.bundle",
    "Choice": "edge_sdk.fastest",
    "Conversion": "converters.convert",
    "Deployment": "edge_sdk.devices.device",
    "Device": "edge_sdk.devices.device",
    "EdgeError": "device_agent.errors",
    "Execution": "device_agent.bundle",
    "Fastest": "edge_sdk.fastest",
    "Fidelity": "converters.quantize.accuracy.fidelity",
    "Model": "converters.model",
    "Optimization": "converters.optimize",
    "Plan": "converters.partition.types",
    "Preflight": "converters.preflight",
    "Quantization": "edge_sdk.quantization",
    "Search": "converters.quantize.search.types",
    "Selector": "device_agent.statement",
    "Signature": "edge_sdk.signature",
    "Target": "targets.schema",
    "TensorSpec": "device_agent.bundle",
    "Verdict": "converters.verdict",
    "__version__": "device_agent",
    "benchmark": "edge_sdk.pipeline",
    "convert": "edge_sdk.pipeline",
    "deploy": "edge_sdk.pipeline",
    "deploy_fastest": "edge_sdk.fastest",
    "device": "edge_sdk.pipeline",
    "inspect": "edge_sdk.pipeline",
    "load": "edge_sdk.pipeline",
    "open_bundle": "edge_sdk.pipeline",
    "optimize": "edge_sdk.pipeline",
    "pack": "edge_sdk.pipeline",
    "place": "edge_sdk.placing",
    "plan": "edge_sdk.pipeline",
    "quantize": "edge_sdk.quantization",
    "sign": "edge_sdk.pipeline",
}

__all__ = [
    "Artifact",
    "BenchmarkRequest",
    "BenchmarkResult",
    "Bundle",
    "Choice",
    "Conversion",
    "Deployment",
    "Device",
    "EdgeError",
    "Execution",
    "Fastest",
    "Fidelity",
    "Model",
    "Optimization",
    "Plan",
    "Preflight",
    "Quantization",
    "Search",
    "Selector",
    "Signature",
    "Target",
    "TensorSpec",
    "Verdict",
    "__version__",
    "benchmark",
    "convert",
    "deploy",
    "deploy_fastest",
    "device",
    "inspect",
    "load",
    "open_bundle",
    "optimize",
    "pack",
    "place",
    "plan",
    "quantize",
    "sign",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'edge_sdk' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
