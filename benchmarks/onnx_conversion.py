"""ONNX to float32 TFLite: `edge convert` against onnx2tf, side by side in one run.

    python benchmarks/onnx_conversion.py [--json FILE] [--only REGEX] [-n 10] [--rounds 100]

Ours is `edge convert MODEL --precision float32 --layout nhwc -o DIR`: it also runs the result against ONNX
Runtime, computes golden samples and writes the bundle. Theirs is `onnx2tf -i MODEL -o DIR`, which checks
nothing and makes images channel-last too. onnx2tf pins every dependency of its own, so it lives in a virtual
environment that this script makes once, with Python 3.12, in the cache folder; TensorFlow and tf2onnx, which
the Keras networks are exported with, in another. The PyTorch networks are exported by the Python that runs
this (extra `torch`).

Time is of the whole process, both warm and in turns; CPU time and peak memory are the process's own. Latency
is that of both files in one process on one thread of the same LiteRT, in turns: the time that thread had the
processor, which other work on the machine does not lengthen. Both files are compared with ONNX Runtime on
the same input; a deviation is by the range of the output. A goal that is missed is printed, and the exit
status is 1.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
from attrs import asdict, define, field
from onnx_conversion_models import KERAS, TORCH

ROOT = Path(__file__).resolve().parent.parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "edge-benchmarks"
ZOO_NETWORKS = ("resnet8", "kws_dscnn", "vww_mobilenetv1_025", "ad01_autoencoder", "streaming_wakeword")
PEER_PINS = ("onnx2tf==2.6.9",)  # which pins all the rest
EXPORT_PINS = ("tensorflow-cpu==2.19.1", "keras==3.15.1", "tf2onnx==1.17.0", "onnx==1.17.0")

TOLERANCE = 1e-4  # of an output's range
GEOMETRIC_MEAN = 0.6  # our latency by theirs, over all models
NOISE = 1.03  # files of the same operators come out up to 3 % apart on a busy machine
OPERATORS = {"mobilenet_v2": 65}
WARM_UP, BLOCK_NS = 3, 5_000_000


@define
class Side:
    """One converter on one model; seconds, bytes and nanoseconds are medians."""

    seconds: list[float] = field(factory=list)
    cpu_seconds: list[float] = field(factory=list)
    peak_bytes: int = 0
    operators: int | None = None
    deviation: float | None = None  # from ONNX Runtime, by the output's range
    latency_ns: float | None = None
    failure: str = ""


@define
class Row:
    """Both converters on one model; the ratios are ours by theirs."""

    model: str
    ours: Side = field(factory=Side)
    theirs: Side = field(factory=Side)
    latency_ratio: float | None = None

    @property
    def time_ratio(self) -> float:
        return statistics.median(self.ours.seconds) / statistics.median(self.theirs.seconds)


def environment(folder: Path, python: str | None, pins: tuple[str, ...]) -> Path:
    """The bin folder of a virtual environment that holds `pins`; made where it was not made to its end."""
    ready = folder / ".made"
    if not ready.is_file():
        python = python or shutil.which("python3.12")
        if python is None:
            raise SystemExit("no python3.12 on PATH: name one by --peer-python")
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run([python, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(folder / "bin/python"), "-m", "pip", "install", "-q", *pins], check=True)
        ready.write_text("\n".join(pins) + "\n")
    return folder / "bin"


def models(folder: Path, zoo: Path, export: Callable[[], Path], wanted: Callable[[str], bool]) -> list[Path]:
    """The ONNX files to convert; those of random weights are made where they are not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    script = str(ROOT / "benchmarks/onnx_conversion_models.py")
    for kind, names, python in (
        ("keras", KERAS, lambda: str(export() / "python")),
        ("torch", TORCH, lambda: sys.executable),
    ):
        if any(wanted(name) and not (folder / f"{name}.onnx").is_file() for name in names):
            quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
            subprocess.run([python(), script, kind, str(folder)], check=True, env=quiet)
    files = [zoo / "models/onnx" / f"{name}.onnx" for name in ZOO_NETWORKS] if zoo.is_dir() else []
    files += [folder / f"{name}.onnx" for name in (*KERAS, *TORCH)]
    silero = zoo / "models/silero/silero_vad_op18_ifless.onnx"
    if silero.is_file():
        files.append(bound_silero(silero, folder / "silero_vad.onnx"))
    return [file for file in files if wanted(file.stem)]


def bound_silero(source: Path, target: Path) -> Path:
    """Silero VAD for both alike: 16 kHz, 64 samples of context and 512 new ones; the rate a constant."""
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load(source)
    model.graph.initializer.append(numpy_helper.from_array(np.array(16000, np.int64), "sr"))
    del model.graph.input[:]
    for name, shape in (("input", (1, 576)), ("state", (2, 1, 128))):
        model.graph.input.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape))
    onnx.save(model, target)
    return target


def run(command: list[str], side: Side, path: str, keep: bool) -> None:
    """Run a converter to its end; what it took is added to `side` if `keep`."""
    # without byte code of its own a process compiles its modules: neither would be warm
    surroundings = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    surroundings["PATH"] = path + os.pathsep + surroundings.get("PATH", "")
    with tempfile.TemporaryFile() as output:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=surroundings)
        _, status, used = os.wait4(process.pid, 0)
        taken = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            output.seek(0)
            lines = output.read().decode(errors="replace").strip().splitlines()
            side.failure = lines[-1][:200] if lines else f"exit status {process.returncode}"
    if keep and not side.failure:
        side.seconds.append(taken)
        side.cpu_seconds.append(used.ru_utime + used.ru_stime)
        side.peak_bytes = max(side.peak_bytes, used.ru_maxrss * 1024)


def convert(model: Path, row: Row, peer: Path, folder: Path, runs: int) -> tuple[Path | None, Path | None]:
    """Time both converters in turns and give the files they made."""
    here = Path(sys.executable).parent
    ours, theirs = folder / "ours", folder / "theirs"
    source = folder / model.name  # onnx2tf runs onnxsim on the very file that it is given: each gets a copy
    edge = [str(here / "edge"), "convert", str(source), "--precision", "float32", "--layout", "nhwc"]
    jobs = (
        (row.ours, [*edge, "-o", str(ours)], str(here)),
        (row.theirs, [str(peer / "onnx2tf"), "-i", str(source), "-o", str(theirs)], str(peer)),
    )
    for turn in range(runs + 1):  # the first round only warms caches
        for side, command, path in jobs if turn % 2 else reversed(jobs):
            if not side.failure:
                shutil.copyfile(model, source)
                run(command, side, path, keep=turn > 0)
    found = [next(iter(sorted(f.glob("*float32.tflite"))), None) for f in (ours, theirs)]
    for (side, *_), file in zip(jobs, found, strict=True):
        if file is None and not side.failure:
            side.failure = "no float32 file was made"
    return found[0], found[1]


def operators(data: bytes) -> int:
    """How many operators a .tflite file has, in all its subgraphs."""
    from ai_edge_litert import schema_py_generated as schema

    file = schema.Model.GetRootAs(data)
    return sum(file.Subgraphs(index).OperatorsLength() for index in range(file.SubgraphsLength()))


def feeds(model: Path) -> tuple[dict[str, np.ndarray], list[np.ndarray]]:
    """Random inputs, open axes 1, and the outputs of ONNX Runtime for them."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    generator = np.random.default_rng(0)
    shapes = {
        i.name: [n if isinstance(n, int) and n > 0 else 1 for n in i.shape] for i in session.get_inputs()
    }
    given = {name: generator.random(shape).astype(np.float32) for name, shape in shapes.items()}
    return given, session.run(None, given)


def interpreter(data: bytes, given: dict[str, np.ndarray]) -> Any:
    """LiteRT on one thread, its inputs set by name or place, transposed where the file has turned them."""
    from ai_edge_litert.interpreter import Interpreter

    made = Interpreter(model_content=data, num_threads=1)
    made.allocate_tensors()
    details = made.get_input_details()
    for place, (name, array) in enumerate(given.items()):
        named = [d for d in details if re.fullmatch(rf"(serving_default_)?{re.escape(name)}(:0)?", d["name"])]
        detail = (named or details[place : place + 1])[0]
        made.set_tensor(detail["index"], laid(array, tuple(detail["shape"])))
    made.invoke()
    return made


def laid(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A channel-first array as channel-last where `shape` asks for that."""
    if array.shape != shape and array.ndim == len(shape) > 2:
        last = np.moveaxis(array, 1, -1)
        if last.shape == shape:
            return np.ascontiguousarray(last)
    return array.reshape(shape)


def deviation(made: Any, expected: list[np.ndarray]) -> float:
    """The greatest difference from what is expected; outputs are matched as they come closest."""
    got = [made.get_tensor(detail["index"]) for detail in made.get_output_details()]
    if len(got) != len(expected):
        return math.inf
    return min(
        max(difference(one, other) for one, other in zip(order, expected, strict=True))
        for order in permutations(got)
    )


def difference(got: np.ndarray, expected: np.ndarray) -> float:
    """The greatest difference of one output; infinite where the sizes differ."""
    if got.size != expected.size:
        return math.inf
    ways = [got] if got.shape == expected.shape else [got.reshape(expected.shape)]
    if got.shape != expected.shape and got.ndim == expected.ndim > 2:
        ways.append(np.moveaxis(got, -1, 1).reshape(expected.shape))
    span = float(np.ptp(expected)) if expected.size > 1 else 1.0
    span = span or 1.0  # a constant output has no range
    return min(float(np.abs(way.astype(np.float64) - expected).max(initial=0.0)) for way in ways) / span


def block(made: Any, runs: int) -> float:
    """Nanoseconds of this thread for one inference, averaged over a block of runs."""
    start = time.thread_time_ns()
    for _ in range(runs):
        made.invoke()
    return (time.thread_time_ns() - start) / runs


def latency(row: Row, ours: Any, theirs: Any, rounds: int) -> None:
    """Time both files in turns; who is first changes every round. The ratio is the median of the rounds'."""
    runs = max(1, int(BLOCK_NS / min(block(made, WARM_UP) for made in (ours, theirs))))
    found: list[list[float]] = [[], []]
    for turn in range(rounds):
        for place in (0, 1) if turn % 2 else (1, 0):
            found[place].append(block((ours, theirs)[place], runs))
    row.ours.latency_ns, row.theirs.latency_ns = map(statistics.median, found)
    row.latency_ratio = statistics.median(a / b for a, b in zip(*found, strict=True))


def measure(model: Path, peer: Path, runs: int, rounds: int) -> Row:
    """Everything about one model."""
    row = Row(model.stem)
    with tempfile.TemporaryDirectory(prefix="edge-") as folder:
        files = convert(model, row, peer, Path(folder), runs)
        # in a process apart, so that this one stays small: a child's peak memory starts with its parent's
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as apart:
            return apart.submit(compare, row, model, files, rounds).result()


def compare(row: Row, model: Path, files: tuple[Path | None, Path | None], rounds: int) -> Row:
    """The row with what both files are: operators, deviation, latency."""
    given, expected = feeds(model)
    ready = []
    for side, file in zip((row.ours, row.theirs), files, strict=True):
        if file is None or side.failure:
            continue
        data = file.read_bytes()
        side.operators = operators(data)
        try:
            made = interpreter(data, given)
            side.deviation = deviation(made, expected)
            ready.append(made)
        except (RuntimeError, ValueError) as e:
            side.failure = f"does not run: {e}"[:200]
    if len(ready) == 2:
        latency(row, *ready, rounds)
    return row


def missed(rows: list[Row]) -> list[str]:
    """The goals that were not reached, in words."""
    found = []
    for row in rows:
        ours, wanted = row.ours, OPERATORS.get(row.model)
        if ours.failure:
            found.append(f"{row.model}: {ours.failure}")
            continue
        if row.theirs.seconds and row.time_ratio > 1:
            found.append(f"{row.model}: conversion takes {row.time_ratio:.2f} of theirs")
        if ours.deviation is None or not ours.deviation <= TOLERANCE:
            found.append(f"{row.model}: deviates by {ours.deviation}")
        if wanted is not None and ours.operators != wanted:
            found.append(f"{row.model}: {ours.operators} operators, not {wanted}")
        if row.latency_ratio is not None and row.latency_ratio > NOISE:
            found.append(f"{row.model}: latency is {row.latency_ratio:.2f} of theirs")
    mean = geometric_mean(rows)
    if mean is not None and mean > GEOMETRIC_MEAN:
        found.append(f"geometric mean of latency is {mean:.2f} of theirs, more than {GEOMETRIC_MEAN}")
    return found


def geometric_mean(rows: list[Row]) -> float | None:
    """Of the latency ratios; None without any."""
    ratios = [row.latency_ratio for row in rows if row.latency_ratio is not None]
    return statistics.geometric_mean(ratios) if ratios else None


def table(rows: list[Row]) -> str:
    """The rows as Markdown; each pair is ours / theirs."""

    def pair(row: Row, show: Callable[[Side], str]) -> str:
        return " / ".join("-" if side.failure else show(side) for side in (row.ours, row.theirs))

    lines = [
        "| network | time s | CPU s | peak MB | operators | deviation | latency us | ratio |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = (
            pair(row, lambda side: f"{statistics.median(side.seconds):.2f}"),
            pair(row, lambda side: f"{statistics.median(side.cpu_seconds):.2f}"),
            pair(row, lambda side: f"{side.peak_bytes / 1e6:.0f}"),
            pair(row, lambda side: f"{side.operators}"),
            pair(row, lambda side: f"{side.deviation:.1e}"),
            pair(row, lambda side: "-" if side.latency_ns is None else f"{side.latency_ns / 1e3:.0f}"),
            "-" if row.latency_ratio is None else f"{row.latency_ratio:.2f}",
        )
        lines.append(f"| {row.model} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print the table and the missed goals."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, help="write every figure to this file")
    parser.add_argument("--only", default="", metavar="REGEX", help="only networks whose name matches")
    parser.add_argument("-n", type=int, default=10, help="conversions of each, besides a first to warm up")
    parser.add_argument("--rounds", type=int, default=100, help="timed blocks of each file")
    parser.add_argument("--cache", type=Path, default=CACHE, help=f"environments and models ({CACHE})")
    parser.add_argument("--peer-venv", type=Path, help="a virtual environment that holds onnx2tf")
    parser.add_argument("--export-venv", type=Path, help="one that holds TensorFlow and tf2onnx")
    parser.add_argument("--peer-python", help="the Python 3.12 to make them with")
    options = parser.parse_args()
    zoo = Path(os.environ.get("EDGE_ZOO", ROOT / "../shared/zoo")).resolve()

    def bin_of(given: Path | None, name: str, pins: tuple[str, ...]) -> Path:
        return given / "bin" if given else environment(options.cache / name, options.peer_python, pins)

    peer = bin_of(options.peer_venv, "onnx2tf", PEER_PINS)
    files = models(
        options.cache / "models",
        zoo,
        lambda: bin_of(options.export_venv, "export", EXPORT_PINS),
        lambda name: bool(re.search(options.only, name)),
    )
    rows = []
    for file in files:
        rows.append(measure(file, peer, options.n, options.rounds))
        print(table(rows[-1:]).splitlines()[-1], file=sys.stderr, flush=True)
    mean, goals = geometric_mean(rows), missed(rows)
    print(
        f"{' '.join(PEER_PINS)}; each pair is ours / theirs; {options.n} conversions, {options.rounds} blocks"
    )
    print(table(rows))
    for row in rows:
        if row.theirs.failure:
            print(f"theirs failed on {row.model}: {row.theirs.failure}")
    if mean is not None:
        print(f"geometric mean of latency ratios: {mean:.3f}")
    for goal in goals:
        print(f"missed: {goal}")
    if options.json is not None:
        whole = {
            "machine": f"{platform.machine()}, {os.cpu_count()} cores", "python": platform.python_version(),
            "peer": PEER_PINS, "rows": [asdict(row) for row in rows], "geometric_mean": mean, "missed": goals,
        }  # fmt: skip
        options.json.write_text(json.dumps(whole, indent=1) + "\n")
    raise SystemExit(1 if goals else 0)


if __name__ == "__main__":
    main()
