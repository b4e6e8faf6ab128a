#!/usr/bin/env python3
"""What choosing the runtime by measurement is worth, against always taking LiteRT or always OpenVINO.

    python benchmarks/runtime_choice.py [--precision int8] [--rounds 24] [--only resnet8 ...] [--json FILE]

The ONNX models of the zoo (EDGE_ZOO, default ../shared/zoo) and a MobileNetV2 with seeded weights go through
`edge_sdk.deploy_fastest` on this machine, one thread, and so the choice is made. Then all candidates are
measured afresh in turns: the ratios are of these latencies, never of those that the choice was made on, which
would flatter it. "Always LiteRT" is what `--runtime litert` would deploy. A choice that is the runtime itself
has the ratio 1. The ends are float by default, as they always are on OpenVINO, so that all candidates take
and give the same. The goal is a geometric mean of at most 0.95 against each; the exit code says whether it is
reached.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from collections.abc import Sequence
from functools import reduce
from pathlib import Path
from statistics import fmean, median

from attrs import asdict, frozen
from convert_time import NETWORKS, ZOO, calibration
from ladder import mobilenet

import edge_sdk
from device_agent.protocol import BenchmarkRequest, Compared
from edge_sdk import saving
from edge_sdk.bench.choice import pooled, ratio_of
from edge_sdk.fastest import Fastest

RUNTIMES = ("litert", "openvino")
GOAL = 0.95
REQUEST = BenchmarkRequest(warmup_iterations=10, min_iterations=30, min_seconds=0.15, max_seconds=5.0)
ROUNDS = 8  # of a comparison; each loads the models anew


@frozen
class Row:
    """One network. `latency_ns` are medians of the fresh rounds; ratios are the chosen one's latency over
    another's, with the bounds of 95 % intervals, None where that runtime cannot run the network."""

    network: str
    chosen: str
    sentence: str
    latency_ns: dict[str, float]
    ratios: dict[str, tuple[float, float, float] | None]  # runtime -> ratio, low, high
    refused: dict[str, str]


def sources(folder: Path, only: Sequence[str]) -> dict[str, tuple[Path, Path]]:
    """The models, each with its calibration samples, made in the folder."""
    found = {}
    for name, data in NETWORKS.items():
        path = ZOO / "models/onnx" / f"{name}.onnx"
        if path.is_file() and (not only or name in only):
            found[name] = (path, calibration(data, folder))
    if not only or "mobilenet_v2" in only:
        model, asked = mobilenet(folder)
        found["mobilenet_v2"] = (model, asked["calibration"])
    return found


def measured(found: Fastest, device: edge_sdk.Device, folder: Path, rounds: int) -> Compared | None:
    """All candidates of a choice in turns again, None where there is only one."""
    made = found.choice.candidates
    if len(made) == 1:
        return None
    bundles = [saving.save_bundle(each.conversion, folder / str(n)) for n, each in enumerate(made)]
    calls = range(-(-rounds // ROUNDS))
    return reduce(pooled, [device.compare(bundles, REQUEST, rounds=ROUNDS) for _ in calls])


def row(name: str, model: Path, samples: Path, asked: dict[str, str], rounds: int) -> Row:
    """Choose for one network, and measure what was chosen against each runtime."""

    def progress(what: str, _done: int, _total: int) -> None:
        print(f"\r\033[K{name}: {what}", end="", file=sys.stderr, flush=True)

    with edge_sdk.device("fake") as device, tempfile.TemporaryDirectory() as folder:
        found = edge_sdk.deploy_fastest(
            edge_sdk.load(model), device, target="local", calibration=samples, **asked,
            progress=progress,
        )  # fmt: skip
        again = measured(found, device, Path(folder), rounds)
    made = found.choice.candidates
    turns = {made[0].label: [0.0]} if again is None else {
        each.label: [math.log(median(turn)) for turn in one.latencies_ns]
        for each, one in zip(made, again.candidates, strict=True)
    }  # fmt: skip
    chosen = found.choice.chosen.label
    ratios: dict[str, tuple[float, float, float] | None] = {}
    for runtime in RUNTIMES:
        usual = next((each.label for each in made if each.runtime == runtime), None)
        if usual is None:
            ratios[runtime] = None
        elif usual == chosen:
            ratios[runtime] = (1.0, 1.0, 1.0)
        else:
            paired = [a - b for a, b in zip(turns[chosen], turns[usual], strict=True)]
            told = ratio_of(paired, 0.05)
            ratios[runtime] = (told.value, told.low or math.nan, told.high or math.nan)
    return Row(
        network=name,
        chosen=chosen,
        sentence=found.choice.decision.sentence,
        latency_ns={label: math.exp(median(values)) for label, values in turns.items()},
        ratios=ratios,
        refused={each.label: str(each.error) for each in found.choice.refused},
    )


def mean(rows: Sequence[Row], runtime: str) -> float:
    """The geometric mean of the ratios against a runtime, over the networks that it runs."""
    known = [found[0] for each in rows if (found := each.ratios[runtime]) is not None]
    return math.exp(fmean(map(math.log, known))) if known else math.nan


def table(rows: Sequence[Row]) -> str:
    """The rows as text."""
    lines = [f"{'network':<22}{'chosen':<18}" + "".join(f"{f'/ {name}':>26}" for name in RUNTIMES)]
    for each in rows:
        cells = [
            "cannot run it" if found is None else "{:.3f} ({:.3f} to {:.3f})".format(*found)
            for found in (each.ratios[runtime] for runtime in RUNTIMES)
        ]
        lines.append(f"{each.network:<22}{each.chosen:<18}" + "".join(f"{cell:>26}" for cell in cells))
        latencies = ", ".join(f"{label} {ns / 1e3:.1f} us" for label, ns in each.latency_ns.items())
        lines += [f"    {latencies}", f"    {each.sentence}"]
        lines += [f"    {label} refused: {why}" for label, why in each.refused.items()]
    means = "".join(f"{mean(rows, runtime):>26.3f}" for runtime in RUNTIMES)
    return "\n".join([*lines, f"{'geometric mean':<40}{means}"])


def main() -> None:
    """Choose, measure, print a table, write the figures where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--precision", default="int8", help="int8, auto, float32, ... (default int8)")
    parser.add_argument("--io", default="float", help="integer or float ends (default float)")
    parser.add_argument("--rounds", type=int, default=24, help="fresh ones, for the ratios (default 24)")
    parser.add_argument("--only", nargs="*", default=(), metavar="NETWORK", help="of these networks")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    if not (ZOO / "models").is_dir():
        raise SystemExit(f"no model zoo at {ZOO}: set EDGE_ZOO")
    asked = {"precision": arguments.precision, "io": arguments.io}
    with tempfile.TemporaryDirectory() as folder:
        rows = [
            row(name, *files, asked, arguments.rounds)
            for name, files in sources(Path(folder), arguments.only).items()
        ]
    print("\r\033[K", end="", file=sys.stderr)
    print(table(rows))
    means = {runtime: mean(rows, runtime) for runtime in RUNTIMES}
    if arguments.json is not None:
        figures = {**asked, "goal": GOAL, "geometric_means": means}
        figures["rows"] = [asdict(each) for each in rows]
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
    missed = [runtime for runtime, found in means.items() if not found <= GOAL]
    for runtime in missed:
        print(f"missed: {means[runtime]:.3f} of always {runtime}, the goal is {GOAL}")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
