"""Wall time of `edge convert` as a whole process: from the command line to files on disk.

    python benchmarks/convert_time.py [-n 5] [--json FILE]

Converts digits and the five zoo networks (where EDGE_ZOO has them) in float32 and int8, n times each, and
prints the medians. `onnx_conversion.py` compares float32 with a peer; here the ratio is against the floor of
such a process, measured in the same run and interleaved with it: a Python that only imports what a
conversion cannot do without (numpy, onnx, the LiteRT interpreter, the quantiser). 1.0 would be a conversion
that costs nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ZOO = Path(os.environ.get("EDGE_ZOO", ROOT / "../shared/zoo")).resolve()
FLOOR = "import numpy, onnx, ai_edge_litert.interpreter"
NETWORKS = {  # file in the zoo -> the data its loader gives
    "resnet8": "cifar10",
    "kws_dscnn": "kws",
    "vww_mobilenetv1_025": "vww",
    "ad01_autoencoder": "ad01",
    "streaming_wakeword": "sww",
}


def seconds(command: list[str]) -> float:
    """How long a command takes; a failure ends the benchmark with what it wrote."""
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr}")
    return time.perf_counter() - start


def calibration(data: str, folder: Path) -> Path:
    """The training split of a zoo data set as an .npz file."""
    import numpy as np

    file = folder / f"{data}.npz"
    if data == "ad01":
        np.savez(file, x=np.fromfile(next((ZOO / "data/ad01").glob("*.bin")), np.float32).reshape(-1, 640))
    else:
        load = [sys.executable, str(ZOO / "load.py"), data, "--split", "train", "--out", str(file)]
        subprocess.run(load, check=True, capture_output=True)
    return file


def cases(folder: Path) -> dict[str, list[str]]:
    """`edge convert` for every network and precision, by a name."""
    digits = ROOT / "examples/digits"
    models = {digits / "digits.onnx": digits / "calibration.npz"}
    for name, data in NETWORKS.items():
        path = ZOO / "models/onnx" / f"{name}.onnx"
        if path.is_file():
            models[path] = calibration(data, folder)
    edge = [str(Path(sys.executable).parent / "edge"), "convert"]
    found = {}
    for model, data in models.items():
        for precision in ("float32", "int8"):
            out = folder / f"{model.stem}_{precision}"
            found[f"{model.stem} {precision}"] = [
                *edge, str(model), "--target", "local", "--precision", precision,
                "--calibration", str(data), "-o", str(out),
            ]  # fmt: skip
    return found


def main() -> None:
    """Measure, print a table, write the figures where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-n", type=int, default=5, help="runs of each (default 5)")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="edge-") as folder:
        commands = {"floor": [sys.executable, "-c", FLOOR], **cases(Path(folder))}
        times: dict[str, list[float]] = {name: [] for name in commands}
        for run in range(arguments.n + 1):
            for name, command in commands.items():
                taken = seconds(command)
                if name != "floor" and not any(Path(command[-1]).glob("*.tflite")):
                    sys.exit(f"{name}: nothing was converted")
                if run:  # the first round only warms the file cache
                    times[name].append(taken)
    floor = statistics.median(times["floor"])
    rows = [
        {
            "case": name,
            "median_s": statistics.median(runs),
            "least_s": min(runs),
            "greatest_s": max(runs),
            "ratio_to_floor": statistics.median(runs) / floor,
        }
        for name, runs in times.items()
    ]
    for row in rows:
        print(
            f"{row['case']:30} {row['median_s']:6.3f} s  ({row['least_s']:.3f} .. {row['greatest_s']:.3f})"
            f"  {row['ratio_to_floor']:5.2f} x floor"
        )
    if arguments.json is not None:
        arguments.json.write_text(json.dumps({"floor": FLOOR, "runs": arguments.n, "cases": rows}, indent=1))


if __name__ == "__main__":
    main()
