"""Quantisation under a bound of accuracy: `edge_sdk.quantize` against `nncf.quantize_with_accuracy_control`.

    python benchmarks/accuracy_control.py [--json FILE] [--only REGEX] [--max-drop 0.5] [--samples 1000]

Both get the same ONNX file, calibration samples and labelled samples, and the same greatest drop of top-1
or mAP, in points; the same code judges both. Time is that of loading the file, calibrating, quantising and
searching, without starting Python or importing the packages: both have quantised something small before.
Ours keeps nothing from one run to another (EDGE_CACHE=off). Latency is of what came out, on one thread of
its own runtime (LiteRT here, OpenVINO there), measured in turns. nncf lives in a virtual environment of its
own, which this script makes once in the cache folder.

`detector` is our own of tests/models, whose one output holds boxes and scores, on up to 100 scenes; the
others are of the model zoo in EDGE_ZOO (default ../shared/zoo). `resnet8_outliers` is ResNet-8 with one
channel inside each residual block made 100 times as great and its weights in the next layer as much
smaller: in float the same function, and in plain int8 a wreck.

The goal is half of the peer's time at the same drop; where it is missed the exit status is 1.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from attrs import asdict, frozen
from onnx import numpy_helper

import edge_sdk
from converters.artifact import opened
from converters.quantize.accuracy.fidelity import tensor_of

ROOT = Path(__file__).resolve().parent.parent
MODELS = ROOT / "tests/models"
sys.path.insert(0, str(ROOT))  # the detector's data is made by tests.models.data
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "edge-benchmarks"
PEER_PINS = ("nncf==3.4.0", "openvino==2026.4.1", "onnx", "attrs", "cattrs")
PEER_SCRIPT = Path(__file__).with_name("accuracy_control_nncf.py")
NETWORKS = {  # name -> ONNX file and data of the zoo
    "resnet8": ("resnet8", "cifar10"),
    "resnet8_outliers": ("resnet8", "cifar10"),
    "kws_dscnn": ("kws_dscnn", "kws"),
    "vww_mobilenetv1_025": ("vww_mobilenetv1_025", "vww"),
    "detector": ("detector", "scenes"),
}
OUTLIER = 100.0
GOAL = 0.5  # our time by theirs
RECORD = "\x1e"  # begins the peer's answers


@frozen
class Side:
    """One tool on one network: seconds of wall clock and of processor, the metric in points, median ns."""

    seconds: float
    cpu_seconds: float
    float_accuracy: float
    accuracy: float
    latency_ns: float
    note: str


@frozen
class Row:
    """Both tools on one network."""

    network: str
    samples: int
    max_drop: float
    ours: Side
    theirs: Side

    @property
    def time_ratio(self) -> float:
        """Our time by theirs."""
        return self.ours.seconds / self.theirs.seconds

    @property
    def latency_ratio(self) -> float:
        """Our latency by theirs."""
        return self.ours.latency_ns / self.theirs.latency_ns


class Peer:
    """The process that runs nncf on one network."""

    def __init__(
        self, python: Path, model: Path, data: Path, metric: str, max_drop: float, log: Path
    ) -> None:
        self._log = log.open("w")
        self._process = subprocess.Popen(
            [str(python), str(PEER_SCRIPT), str(model), str(data), metric, str(max_drop)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )

    def answer(self) -> Any:
        """What it says next."""
        for line in self._process.stdout or ():
            if line.startswith(RECORD):
                return json.loads(line[1:])
        raise SystemExit(f"the peer ended: {Path(self._log.name).read_text()[-2000:]}")

    def time(self, runs: int) -> float:
        """Nanoseconds of one inference, over that many."""
        if self._process.stdin is None:
            raise SystemExit("the peer takes no input")
        print(runs, file=self._process.stdin, flush=True)
        return float(self.answer()) / runs

    def close(self) -> None:
        """End it."""
        self._process.communicate()
        self._log.close()


def with_outliers(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same function with a great channel between each two convolutions that only a ReLU joins."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)

    def scaled(name: str, axis: int, factor: float) -> None:
        array = numpy_helper.to_array(constants[name]).copy()
        index: list[Any] = [slice(None)] * array.ndim
        index[axis] = 0
        array[tuple(index)] *= np.float32(factor)
        constants[name].CopyFrom(numpy_helper.from_array(array, name))

    def only(name: str, kind: str) -> onnx.NodeProto | None:
        found = readers.get(name, [])
        return found[0] if len(found) == 1 and found[0].op_type == kind else None

    for first in model.graph.node:
        between = only(first.output[0], "Relu") if first.op_type == "Conv" else None
        second = only(between.output[0], "Conv") if between is not None else None
        if second is not None:
            scaled(first.input[1], 0, OUTLIER)
            scaled(first.input[2], 0, OUTLIER)
            scaled(second.input[1], 1, 1 / OUTLIER)
    return model


def data_of(zoo: Path, name: str, samples: int) -> dict[str, np.ndarray]:
    """Calibration samples, validation samples and their labels of one of the zoo's sets, or of our own."""
    if name == "scenes":
        from tests.models import data

        images, labels = data.scenes(data.VALIDATION, min(samples, 100))
        return {
            "calibration": data.scenes(data.CALIBRATION, 100)[0],
            "samples": images,
            "labels": labels,
        }
    with tempfile.TemporaryDirectory() as folder:
        splits = {}
        for split in ("train", "test"):
            out = Path(folder) / f"{split}.npz"
            subprocess.run(
                [sys.executable, zoo / "load.py", name, "--split", split, "--out", out],
                check=True,
                stdout=subprocess.DEVNULL,
            )
            splits[split] = dict(np.load(out))
    chosen = np.random.default_rng(0).permutation(len(splits["test"]["y"]))[:samples]
    return {
        "calibration": splits["train"]["x"][:300],
        "samples": splits["test"]["x"][chosen],
        "labels": splits["test"]["y"][chosen],
    }


def few(data: dict[str, np.ndarray]) -> dict[str, Any]:
    """Some labelled samples, to warm up on."""
    return {"validation": data["samples"][:20], "labels": data["labels"][:20]}


def ours(
    model: Path, data: dict[str, np.ndarray], metric: str, max_drop: float
) -> tuple[Side, Callable[[int], float]]:
    """`edge_sdk.quantize` on the file; what it took and gave, and a function that times the result."""
    edge_sdk.quantize(model, calibration=data["calibration"][:20], metric=metric, max_drop=100, **few(data))
    started, cpu = time.perf_counter(), time.process_time()
    loaded = edge_sdk.load(model)
    result = edge_sdk.quantize(
        loaded,
        calibration=data["calibration"],
        validation=data["samples"],
        labels=data["labels"],
        metric=metric,
        max_drop=max_drop,
    )
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    search, artifact = result.search, result.artifact
    best = next(one for one in search.candidates if one.number == search.best)

    session = opened(artifact)
    (spec,) = artifact.inputs
    session.set_inputs({spec.name: tensor_of(data["samples"][:1], spec)})

    def timed(runs: int) -> float:
        begun = time.perf_counter_ns()
        for _ in range(runs):
            session.invoke()
        return (time.perf_counter_ns() - begun) / runs

    value = best.value if best.value is not None else float("nan")
    note = f"{best.step}; {len(search.candidates)} tried"
    return Side(seconds, cpu, search.reference, value, 0.0, note), timed


def measure(network: str, zoo: Path, python: Path, options: argparse.Namespace) -> Row:
    """Both tools on one network, one after the other, then both results in turns."""
    file, kind = NETWORKS[network]
    data, metric = data_of(zoo, kind, options.samples), "map" if kind == "scenes" else "top1"
    with tempfile.TemporaryDirectory(prefix="edge-") as temporary:
        folder = Path(temporary)
        model, archive = folder / f"{network}.onnx", folder / "data.npz"
        source = onnx.load((MODELS if kind == "scenes" else zoo / "models/onnx") / f"{file}.onnx")
        onnx.save(with_outliers(source) if network.endswith("_outliers") else source, model)
        np.savez(archive, **data)  # type: ignore[arg-type]  # NumPy's stub takes the names for its options
        mine, timed = ours(model, data, metric, options.max_drop)
        peer = Peer(python, model, archive, metric, options.max_drop, folder / "peer.log")
        try:
            told = peer.answer()
            runs = max(1, round(2_000_000 / peer.time(20)))
            rounds = [(timed(runs), peer.time(runs)) for _ in range(options.rounds)]
        finally:
            peer.close()
    my_ns, their_ns = (statistics.median(column) for column in zip(*rounds, strict=True))
    theirs = Side(
        told["seconds"],
        told["cpu_seconds"],
        told["float"],
        told["quantized"],
        their_ns,
        f"{told['fake_quantizes']} FakeQuantize; nncf {told['versions']['nncf']}",
    )
    mine = Side(mine.seconds, mine.cpu_seconds, mine.float_accuracy, mine.accuracy, my_ns, mine.note)
    return Row(network, len(data["labels"]), options.max_drop, mine, theirs)


def table(rows: list[Row]) -> str:
    """The rows as text."""
    lines = ["network               s ours/nncf   ratio  drop ours/nncf  us ours/nncf   ratio"]
    for row in rows:
        drops = [side.float_accuracy - side.accuracy for side in (row.ours, row.theirs)]
        lines.append(
            f"{row.network:<20}{row.ours.seconds:>7.1f} /{row.theirs.seconds:>6.1f}{row.time_ratio:>7.2f}"
            f"{drops[0]:>8.2f} /{drops[1]:>6.2f}"
            f"{row.ours.latency_ns / 1000:>8.0f} /{row.theirs.latency_ns / 1000:>6.0f}"
            f"{row.latency_ratio:>7.2f}"
        )
        lines.append(f"  {row.ours.note}  |  {row.theirs.note}")
    return "\n".join(lines)


def peer_python(given: Path | None) -> Path:
    """The peer's Python; its environment is made where there is none."""
    folder = given or CACHE / "nncf"
    python = folder / "bin/python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *PEER_PINS], check=True)
    return python


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, help="write every figure there")
    parser.add_argument("--only", default="", help="networks whose name matches")
    parser.add_argument("--max-drop", type=float, default=0.5, help="points of top-1")
    parser.add_argument("--samples", type=int, default=1000, help="labelled samples at most")
    parser.add_argument("--rounds", type=int, default=50, help="of timing both results")
    parser.add_argument("--peer-venv", type=Path, help="a virtual environment that holds nncf and openvino")
    options = parser.parse_args()
    os.environ["EDGE_CACHE"] = "off"
    zoo = Path(os.environ.get("EDGE_ZOO", ROOT.parent / "shared/zoo"))
    python = peer_python(options.peer_venv)
    rows = [measure(name, zoo, python, options) for name in NETWORKS if re.search(options.only, name)]
    print(table(rows))
    if options.json is not None:
        options.json.write_text(
            json.dumps({"machine": platform.processor(), "rows": [asdict(row) for row in rows]}, indent=1)
        )
    late = [row.network for row in rows if row.time_ratio > GOAL]
    worse = [row.network for row in rows if row.ours.float_accuracy - row.ours.accuracy > row.max_drop + 1e-9]
    for names, what in (
        (late, f"more than {GOAL} of the peer's time"),
        (worse, "a greater drop than allowed"),
    ):
        if names:
            print(f"{what}: {', '.join(names)}")
    raise SystemExit(bool(late or worse))


if __name__ == "__main__":
    main()
