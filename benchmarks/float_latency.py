"""Float latency of our conversions against the published TFLite of the same network.

    python benchmarks/float_latency.py [--json FILE] [--rounds N]

Reads the model zoo in EDGE_ZOO (default ../shared/zoo). Both files run in one process on one thread of
the same runtime, in turns, so that whatever else the machine does meets both alike. The keywords file that
is published as float32 holds int8 weights for float arithmetic; it is timed as it is, and once more with
its weights made float. The streaming wakeword model has no published float TFLite: its own latency is
shown alone.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from attrs import asdict, frozen

from converters.graph import passes, read, write
from converters.graph.ir import Graph
from converters.readers.onnx import reader
from converters.shaping import Shaping

ROOT = Path(__file__).resolve().parent.parent
PAIRS = {
    "resnet8": "pretrainedResnet",
    "kws_dscnn": "kws_ref_model_float32",
    "vww_mobilenetv1_025": "vww_96_float",
    "ad01_autoencoder": "ad01_fp32",
    "streaming_wakeword": None,
}
WARM_UP = 20
BLOCK_NS = 2_000_000  # one timed block lasts about this long, so that the clock is no part of it


@frozen
class Row:
    """One network: median latencies in nanoseconds, and operators of both files."""

    model: str
    published: str | None
    weights: str | None  # of the published file
    operators: int
    published_operators: int | None
    latency_ns: float
    published_ns: float | None
    ratio: float | None


def prepare(data: bytes) -> Interpreter:
    """An interpreter with random inputs set, warm."""
    interpreter = Interpreter(model_content=data, num_threads=1)
    interpreter.allocate_tensors()
    generator = np.random.default_rng(0)
    for detail in interpreter.get_input_details():
        interpreter.set_tensor(detail["index"], generator.random(detail["shape"]).astype(detail["dtype"]))
    for _ in range(WARM_UP):
        interpreter.invoke()
    return interpreter


def block(interpreter: Interpreter, runs: int) -> float:
    """Nanoseconds of one inference, averaged over a block of runs."""
    start = time.perf_counter_ns()
    for _ in range(runs):
        interpreter.invoke()
    return (time.perf_counter_ns() - start) / runs


def interleave(interpreters: list[Interpreter], rounds: int) -> list[list[float]]:
    """Block latencies per interpreter; they take turns, and who is first changes every round."""
    runs = max(1, int(BLOCK_NS / block(interpreters[0], 10)))
    found: list[list[float]] = [[] for _ in interpreters]
    for index in range(rounds):
        order = range(len(interpreters))
        for place in order if index % 2 else reversed(order):
            found[place].append(block(interpreters[place], runs))
    return found


def dequantized(graph: Graph) -> bool:
    """Make int8 weights float, in place; False if there are none."""
    changed = False
    for tensor in graph.tensors.values():
        quantization = tensor.quantization
        if tensor.data is None or tensor.dtype != "int8" or quantization is None:
            continue
        lined = [1] * tensor.data.ndim
        lined[quantization.axis] = -1
        scale = np.array(quantization.scale, np.float32).reshape(lined)
        tensor.data, tensor.dtype, tensor.quantization = tensor.data * scale, "float32", None
        changed = True
    return changed


def measure(zoo: Path, model: str, published: str | None, rounds: int) -> list[Row]:
    """Convert one network and time it against its published file; a row for each form of that."""
    source = reader.read(zoo / "models/onnx" / f"{model}.onnx", Shaping())
    graph, _ = reader.lower(source)
    if graph is None:
        raise SystemExit(f"{model}: an operator was refused")
    passes.run(graph)
    ours = prepare(write.write(graph))
    count = len(graph.operators)
    if published is None:
        (blocks,) = interleave([ours], rounds)
        return [Row(model, None, None, count, None, statistics.median(blocks), None, None)]
    data = (zoo / "models/mlperf-tiny" / f"{published}.tflite").read_bytes()
    theirs = read.read(data, where=published)
    operators = len(theirs.operators)
    forms = {"float32": data}
    if dequantized(theirs):
        forms = {"int8": data, "float32": write.write(theirs)}
    rows = []
    for weights, form in forms.items():
        mine, other = interleave([ours, prepare(form)], rounds)
        ratio = statistics.median(one / two for one, two in zip(mine, other, strict=True))
        medians = (statistics.median(mine), statistics.median(other))
        rows.append(Row(model, published, weights, count, operators, *medians, ratio))
    return rows


def table(rows: list[Row]) -> str:
    """The rows as text."""
    head = ("network", "operators", "ours us", "published us", "its weights", "ratio")
    lines = ["{:<22}{:>12}{:>10}{:>15}{:>13}{:>8}".format(*head)]
    for row in rows:
        if row.published_ns is None:
            cells = (f"{row.operators} / -", "no float file", "-", "-")
        else:
            cells = (
                f"{row.operators} / {row.published_operators}",
                f"{row.published_ns / 1e3:.1f}",
                row.weights or "",
                f"{row.ratio:.3f}",
            )
        counts, published, weights, ratio = cells
        lines.append(
            f"{row.model:<22}{counts:>12}{row.latency_ns / 1e3:>10.1f}{published:>15}{weights:>13}{ratio:>8}"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    parser.add_argument("--rounds", type=int, default=200, help="blocks per file (default 200)")
    arguments = parser.parse_args()
    zoo = Path(os.environ.get("EDGE_ZOO", ROOT / "../shared/zoo")).resolve()
    if not (zoo / "models").is_dir():
        raise SystemExit(f"no model zoo at {zoo}: set EDGE_ZOO")
    rows = [row for pair in PAIRS.items() for row in measure(zoo, *pair, arguments.rounds)]
    print(table(rows))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")


if __name__ == "__main__":
    main()
