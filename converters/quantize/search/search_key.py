"""What decides a search's results, as a journal's key: two searches of one key measure the same."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from importlib import metadata
from typing import TYPE_CHECKING, Any

import device_agent

if TYPE_CHECKING:
    from converters.model import Model
    from converters.quantize.accuracy.metrics.base import Metric
    from converters.quantize.engine import Engine
    from converters.quantize.samples.calibration import Calibration
    from converters.quantize.samples.validation import Validation
    from converters.quantize.search.types import Goal

_RUNTIMES = ("ai-edge-litert", "tflite-runtime", "openvino", "nncf", "numpy")  # whose versions change results


def of(
    model: Model,
    engine: Engine,
    calibration: Calibration | None,
    validation: Validation,
    metric: Metric,
    goal: Goal,
    io: str,
) -> dict[str, str]:
    """The key, by what each part is called. Budgets are no part of it: more time goes on where less ended."""
    name = getattr(engine, "name", type(engine).__name__)  # of the runtime it builds for
    return {
        "model": model.sha256,
        "calibration samples": "none" if calibration is None else _samples(calibration),
        "validation samples": _samples(validation.samples),
        "labels": "none"
        if validation.labels is None or not metric.labelled
        else _labels(validation.labels()),
        "metric": metric.name,
        "goal": f"a drop of {goal.max_drop!r} at {goal.confidence!r}{', proven' if goal.prove else ''}",
        "engine": f"{name}: {engine.ranges}, {engine.repairs}, {engine.steps}, {io}",
        "versions": ", ".join(_versions()),
    }


def _samples(calibration: Calibration) -> str:
    found = hashlib.sha256()
    for sample in calibration.samples():
        _add(found, sample)
    return found.hexdigest()


def _labels(labels: Iterable[Any]) -> str:
    found = hashlib.sha256()
    for label in labels:
        _add(found, label)
    return found.hexdigest()


def _add(found: hashlib._Hash, value: Any) -> None:
    """Take in a sample or a label: numbers, text, arrays, and lists and dicts of them."""
    import numpy as np

    if isinstance(value, Mapping):
        found.update(f"{{{len(value)}".encode())
        for name, one in value.items():
            _add(found, str(name))
            _add(found, one)
    elif isinstance(value, (list, tuple)):
        found.update(f"[{len(value)}".encode())
        for one in value:
            _add(found, one)
    elif isinstance(value, np.ndarray) and value.dtype != object:
        found.update(f"{value.dtype}{value.shape}".encode() + value.tobytes())
    else:
        found.update(f"{type(value).__name__} {value!r};".encode())


def _versions() -> list[str]:
    found = [f"edge-deployment-sdk {device_agent.__version__}"]
    for name in _RUNTIMES:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return found
