"""Our remote benchmark's median latency against that of OpenVINO's own `benchmark_app`, on the same IR.

    python benchmarks/openvino_overhead.py [--rounds 11] [--seconds 1] [--plain] [--json FILE] [NETWORK ...]

Each network is converted, deployed to the `fake` device, and measured there as `edge bench` does: through the
agent, in a contained worker. benchmark_app gets the same files, the same input, the same properties (latency,
one thread that is not bound to a core, float operators in float32) and a process namespace of its own, as the
worker has: in one, OpenVINO leaves out two system calls for each run, which are 3 us (`--plain`: without).
Both take turns, who is first changes every round; what counts is the median over the rounds of ours / theirs.
It must be within 2 % of 1 either way: a figure better than that of the runtime's own tool would be as wrong
as one that is worse. Exit code 1 if a network misses that.

Latencies of both are by the runtime's own clock around one run. Needs openvino (which has benchmark_app) and,
for int8, nncf. The networks of the zoo need EDGE_ZOO (default ../shared/zoo).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from attrs import asdict, frozen

import edge_sdk
from converters.artifact import opened
from device_agent import tensors
from edge_sdk.devices.device import Device
from tests.converters.lowering.test_mobilenet import SIZE, Exporter

ROOT = Path(__file__).resolve().parent.parent
ZOO = Path(os.environ.get("EDGE_ZOO", ROOT / "../shared/zoo")).resolve()
GOAL = 0.02
PROPERTIES = {  # as device_agent.runtimes.openvino loads it
    "PERFORMANCE_HINT": "LATENCY",
    "INFERENCE_NUM_THREADS": 1,
    "ENABLE_CPU_PINNING": False,
    "INFERENCE_PRECISION_HINT": "f32",
}
NAMESPACE = ("unshare", "--user", "--pid", "--fork")
SCALE_NS = {"us": 1e3, "ms": 1e6}


@frozen
class Network:
    """What to measure. `source` writes or finds its ONNX file, given a folder; `shape` is its input's."""

    source: Callable[[Path], Path]
    shape: tuple[int, ...]
    precision: str


@frozen
class Row:
    """One network: median latencies in nanoseconds of each round, and the median of their ratios."""

    network: str
    precision: str
    ours_ns: tuple[float, ...]
    theirs_ns: tuple[float, ...]
    ratio: float

    @property
    def met(self) -> bool:
        """Within the goal."""
        return abs(self.ratio - 1) <= GOAL


def mobilenet_v2(folder: Path) -> Path:
    """MobileNetV2 with seeded weights."""
    file = folder / "mobilenet_v2.onnx"
    onnx.save(Exporter().network(), file)
    return file


def of_zoo(name: str) -> Callable[[Path], Path]:
    """Finds a network of the zoo."""

    def find(_: Path) -> Path:
        file = ZOO / "models/onnx" / f"{name}.onnx"
        if not file.exists():
            sys.exit(f"no model zoo at {ZOO}: set EDGE_ZOO")
        return file

    return find


NETWORKS = {
    "mobilenet_v2": Network(mobilenet_v2, (SIZE, SIZE, 3), "float32"),
    "mobilenet_v2_int8": Network(mobilenet_v2, (SIZE, SIZE, 3), "int8"),
    "vww": Network(of_zoo("vww_mobilenetv1_025"), (96, 96, 3), "float32"),
    "resnet8": Network(of_zoo("resnet8"), (32, 32, 3), "float32"),
}


def convert(network: Network, folder: Path) -> edge_sdk.Conversion:
    """The network as an IR."""
    model = edge_sdk.load(network.source(folder))
    (spec,) = model.inputs
    samples = np.random.default_rng(0).random((8, *network.shape), np.float32)
    plan = edge_sdk.plan(model, "local", precision=network.precision, runtime="openvino")
    return edge_sdk.convert(model, plan, calibration={spec.name: samples})


def theirs(ir: Path, sample: Path, options: argparse.Namespace) -> float:
    """The median latency in nanoseconds that benchmark_app tells."""
    config = ir.with_name("properties.json")
    config.write_text(json.dumps({"CPU": PROPERTIES}))
    tool = str(Path(sys.executable).with_name("benchmark_app"))
    command = [*(() if options.plain else NAMESPACE), tool, "-m", str(ir), "-i", str(sample)]
    command += ["-load_config", str(config), "-ip", "f32", "-api", "sync", "-t", str(options.seconds)]
    done = subprocess.run(command, capture_output=True, text=True)
    found = re.search(r"Median:\s+([0-9.]+) (us|ms)", done.stdout)
    if found is None:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout}\n{done.stderr}")
    return float(found[1]) * SCALE_NS[found[2]]


def ours(device: Device, name: str, seconds: int) -> float:
    """The median latency in nanoseconds of a deployment."""
    request = edge_sdk.BenchmarkRequest(min_iterations=1, min_seconds=seconds)
    return statistics.median(edge_sdk.benchmark(device, name, request).latencies_ns)


def measure(label: str, device: Device, options: argparse.Namespace) -> Row:
    """Deploy a network and measure it both ways in turns."""
    network = NETWORKS[label]
    name = label.replace("_", "-")
    with tempfile.TemporaryDirectory(prefix="edge-") as text:
        folder = Path(text)
        made = convert(network, folder)
        edge_sdk.deploy(edge_sdk.pack(made, folder / "bundle", name=name), device)
        ir = made.artifact.write(folder)
        first = folder / "sample.npy"
        np.save(first, _golden(made))
        mine: list[float] = []
        other: list[float] = []
        for number in range(options.rounds):
            steps = [
                lambda: mine.append(ours(device, name, options.seconds)),
                lambda: other.append(theirs(ir, first, options)),
            ]
            for step in steps if number % 2 == 0 else reversed(steps):
                step()
    ratio = statistics.median(one / two for one, two in zip(mine, other, strict=True))
    return Row(label, network.precision, tuple(mine), tuple(other), ratio)


def _golden(made: edge_sdk.Conversion) -> np.ndarray:
    """The first golden sample, which our benchmark runs on."""
    (spec,) = opened(made.artifact).inputs
    tensor = tensors.unpack(made.golden_inputs)[f"0/{spec.name}"]
    return np.frombuffer(tensor.data, tensor.dtype).reshape(tensor.shape)


def table(rows: list[Row]) -> str:
    """The rows as text. `of best` is the ratio of both's best round, which tells more on a busy machine."""
    head = ("network", "ours us", "benchmark_app us", "ratio", "spread", "of best", "goal")
    lines = ["{:<20}{:>10}{:>18}{:>9}{:>16}{:>9}{:>8}".format(*head)]
    for row in rows:
        ratios = sorted(one / two for one, two in zip(row.ours_ns, row.theirs_ns, strict=True))
        spread = f"{ratios[0]:.3f} to {ratios[-1]:.3f}"
        lines.append(
            f"{row.network:<20}{statistics.median(row.ours_ns) / 1e3:>10.1f}"
            f"{statistics.median(row.theirs_ns) / 1e3:>18.1f}{row.ratio:>9.4f}{spread:>16}"
            f"{min(row.ours_ns) / min(row.theirs_ns):>9.4f}{'met' if row.met else 'missed':>8}"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help=f"of {', '.join(NETWORKS)}; all")
    parser.add_argument("--rounds", type=int, default=11, help="of both (default 11)")
    parser.add_argument("--seconds", type=int, default=1, help="each measurement lasts (default 1)")
    parser.add_argument("--plain", action="store_true", help="benchmark_app in no namespace of its own")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.networks if name not in NETWORKS]
    if unknown:
        parser.error(f"unknown network {unknown[0]}: expected {', '.join(NETWORKS)}")
    rows = []
    with edge_sdk.device("fake") as device:
        for label in arguments.networks or NETWORKS:
            rows.append(measure(label, device, arguments))
            print(table(rows[-1:]), flush=True)
    print(table(rows))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    sys.exit(0 if all(row.met for row in rows) else 1)


if __name__ == "__main__":
    main()
