"""What `edge_sdk.quantize` does with models that plain int8 spoils, and how long it takes.

    python benchmarks/ladder.py [--json FILE] [--only REGEX]

    detector   boxes and scores in one output, judged by mAP on 400 scenes; at most 0.5 points may be lost
    outlier    a classifier with channels of a hundred times the others, on 500 images; at most 0.5 points
    regressor  no drop at all is allowed, which no quantised form can keep
    mobilenet  MobileNetV2's layers at 224 pixels with seeded weights, 200 samples; at least 28 dB of signal
               to noise, for which plain int8 is not enough

The first three are of tests/models (its README says how they were trained). Each search runs in a process of
its own, whose peak memory the kernel tells. Goals: plain int8 of the detector loses more than 5 points, and
its result takes at most 1.25 times as long; the outlier model has no float operator; the regressor is missed;
the mobilenet takes at most 3 minutes, and 1 GB beside the model. One that is missed is printed, and the exit
status is 1.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from attrs import asdict, frozen

import edge_sdk
from device_agent.errors import AccuracyMissed

ROOT = Path(__file__).resolve().parent.parent
MODELS = ROOT / "tests/models"
sys.path.insert(0, str(ROOT))  # the models' data is made by tests.models.data

MINUTES = 3
GIGABYTE = 1 << 30
SLOWER = 1.25
POINTS = 5.0


@frozen
class Found:
    """One search; latencies in nanoseconds, seconds of the search, memory in bytes."""

    name: str
    met: bool
    step: str  # that of the best candidate
    reference: float
    plain: float
    best: float
    unit: str
    plain_ns: int
    best_ns: int
    float_ns: int
    float_operators: int
    candidates: int
    seconds: float
    peak_bytes: int
    model_bytes: int
    story: tuple[str, ...]

    @property
    def ratio(self) -> float:
        """The best's latency by plain int8's."""
        return self.best_ns / self.plain_ns


def trained(name: str, samples: str, count: int, metric: str, max_drop: float) -> tuple[Path, dict[str, Any]]:
    """One of our models, and what is asked of it on so many samples (`samples` names their function)."""
    from tests.models import data

    make = getattr(data, samples)
    validation, labels = make(data.VALIDATION, count)
    asked = {
        "calibration": make(data.CALIBRATION, 100)[0],
        "validation": validation,
        "labels": labels,
        "metric": metric,
        "max_drop": max_drop,
    }
    return MODELS / f"{name}.onnx", asked


def mobilenet(folder: Path) -> tuple[Path, dict[str, Any]]:
    from calibration import SIZE, network

    from converters.graph.write import write

    model, samples = folder / "mobilenet.tflite", folder / "samples.npy"
    model.write_bytes(write(network()))
    random = np.random.default_rng(0)
    coarse = random.random((200, SIZE // 16, SIZE // 16, 3), np.float32)
    np.save(samples, coarse.repeat(16, axis=1).repeat(16, axis=2))
    return model, {"calibration": samples, "validation": samples, "metric": "snr", "max_drop": 2.0}


NETWORKS: dict[str, Callable[[Path], tuple[Path, dict[str, Any]]]] = {
    "detector": lambda _: trained("detector", "scenes", 400, "map", 0.5),
    "outlier": lambda _: trained("outlier", "patches", 500, "top1", 0.5),
    "regressor": lambda _: trained("regressor", "readings", 200, "mae", 0.0),
    "mobilenet": mobilenet,
}


def searched(name: str) -> Found:
    """The search of one model, in this process."""
    with tempfile.TemporaryDirectory(prefix="edge-") as folder:
        model, asked = NETWORKS[name](Path(folder))
        try:
            search = edge_sdk.quantize(model, **asked).search
        except AccuracyMissed as e:
            search = e.best.search
        plain, best = search.candidates[0], search.candidates[search.best - 1]
        return Found(
            name=name,
            met=search.met,
            step=best.step,
            reference=search.reference,
            plain=plain.value,
            best=best.value,
            unit=search.unit,
            plain_ns=plain.latency_ns,
            best_ns=best.latency_ns,
            float_ns=search.reference_latency_ns,
            float_operators=best.float_operators,
            candidates=len(search.candidates),
            seconds=search.seconds,
            peak_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            model_bytes=model.stat().st_size,
            story=(*(f"{one.step}: {one.reason}" for one in search.candidates), search.stopped, search.lacks),
        )


def missed(found: Found) -> str:
    """What a search falls short of, empty if of nothing."""
    if found.name == "detector" and found.reference - found.plain <= POINTS:
        return f"plain int8 loses only {found.reference - found.plain:.1f} points"
    if found.name == "outlier" and found.float_operators:
        return f"{found.float_operators} float operators"
    if found.name == "mobilenet" and found.seconds > 60 * MINUTES:
        return f"{found.seconds:.0f} s"
    if found.name == "mobilenet" and found.peak_bytes > found.model_bytes + GIGABYTE:
        return f"{found.peak_bytes / 1e6:.0f} MB of memory"
    if found.name != "mobilenet" and found.met != (found.name != "regressor"):
        return "met" if found.met else "not met"
    return f"{found.ratio:.2f} times plain int8" if found.name == "detector" and found.ratio > SLOWER else ""


def line(found: Found) -> str:
    """A search as text."""
    return (
        f"{found.name}: float {found.reference:.4g}, plain int8 {found.plain:.4g}, best {found.best:.4g} "
        f"{found.unit} ({'met' if found.met else 'missed'}) by {found.step!r}, {found.float_operators} float "
        f"operators\n  {found.best_ns / 1000:.0f} us: {found.ratio:.2f} of plain int8, "
        f"{found.best_ns / found.float_ns:.2f} of float32; {found.candidates} candidates in "
        f"{found.seconds:.1f} s; peak {found.peak_bytes / 1e6:.0f} MB, model {found.model_bytes / 1e6:.1f} MB"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, help="write every figure there")
    parser.add_argument("--only", default="", help="models whose name matches")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(asdict(searched(options.child))))
        return
    found = []
    for name in NETWORKS:
        if re.search(options.only, name):
            command = [sys.executable, __file__, "--child", name]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            found.append(Found(**json.loads(done.stdout.splitlines()[-1])))
            print(line(found[-1]), flush=True)
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(one) for one in found], indent=1))
    short = [f"{one.name}: {missed(one)}" for one in found if missed(one)]
    print("\n".join(short) or "every goal is met")
    raise SystemExit(bool(short))


if __name__ == "__main__":
    main()
