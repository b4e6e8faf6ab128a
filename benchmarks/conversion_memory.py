"""Peak memory of `edge convert` as a whole process, against the size of the model.

    python benchmarks/conversion_memory.py [--megabytes 50 200 500] [--limit 3] [--json FILE]

Each model holds random weights of that size: half of it in MatMuls, half in convolutions, as one ONNX file.
It is converted in float32; the peak is the largest resident set that the kernel saw of the process
(getrusage(2), `ru_maxrss`). The floor is a process that only imports what a conversion cannot do without,
and is shown for comparison. The bound is 300 MB, the floor among them, plus `--limit` times the file's size;
`times` is how many sizes of the model the peak holds over the 300 MB. Exits with 1 where it is exceeded.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

MB = 1_000_000  # bytes
ALLOWANCE = 300 * MB
FLOOR = "import numpy, onnx, onnxruntime, ai_edge_litert.interpreter"


def make(path: Path, megabytes: int) -> None:
    """Write a network of convolutions of 512 channels and products of 2048 by 2048, of that size in all."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    generator = np.random.default_rng(0)

    def weights(name: str, *shape: int) -> onnx.TensorProto:
        fan = int(np.prod(shape[1:]))
        array = generator.standard_normal(shape, np.float32) / np.float32(np.sqrt(fan))
        return numpy_helper.from_array(array, name)

    half = megabytes * MB / 2
    convolutions = max(1, round(half / (512 * 512 * 9 * 4)))
    products = max(1, round(half / (2048 * 2048 * 4)))
    nodes, initializers, last = [], [], "x"
    for index in range(convolutions):
        initializers.append(weights(f"w{index}", 512, 512, 3, 3))
        nodes.append(helper.make_node("Conv", [last, f"w{index}"], [f"c{index}"], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Tanh", [f"c{index}"], [f"r{index}"]))
        last = f"r{index}"
    nodes.append(helper.make_node("Flatten", [last], ["flat"]))
    last = "flat"
    for index in range(products):
        initializers.append(weights(f"m{index}", 2048, 2048))
        nodes.append(helper.make_node("MatMul", [last, f"m{index}"], [f"p{index}"]))
        nodes.append(helper.make_node("Tanh", [f"p{index}"], [f"t{index}"]))
        last = f"t{index}"
    graph = helper.make_graph(
        nodes,
        "memory",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 512, 2, 2])],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, [1, 2048])],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())


def peak(command: list[str]) -> int:
    """The largest resident set of a command, bytes; a failure ends the benchmark with what it wrote."""
    with tempfile.TemporaryFile() as out:
        child = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            out.seek(0)
            sys.exit(f"{' '.join(command)} failed:\n{out.read().decode(errors='replace')}")
    return usage.ru_maxrss * 1024  # Linux counts KiB


def main() -> None:
    """Measure, print a table, write the figures where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=int, nargs="+", default=[50, 200, 500])
    parser.add_argument("--limit", type=float, default=3.0)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    floor = peak([sys.executable, "-c", FLOOR])
    print(f"floor of the imports: {floor / MB:.0f} MB")
    rows = []
    with tempfile.TemporaryDirectory(prefix="edge-") as folder:
        for megabytes in arguments.megabytes:
            model = Path(folder) / "model.onnx"
            # in a process of its own: a child's resident set begins as a copy of its parent's
            making = f"from conversion_memory import *; make(Path({str(model)!r}), {megabytes})"
            subprocess.run([sys.executable, "-c", making], check=True, cwd=Path(__file__).parent)
            size = model.stat().st_size
            edge = [str(Path(sys.executable).parent / "edge"), "convert", str(model)]
            out = str(Path(folder) / "out")
            most = peak([*edge, "--target", "local", "--precision", "float32", "-o", out])
            row = {"model_bytes": size, "peak_bytes": most, "times": (most - ALLOWANCE) / size}
            rows.append(row)
            print(f"{size / MB:6.0f} MB model: peak {most / MB:6.0f} MB, {row['times']:.2f} times + 300 MB")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps({"floor_bytes": floor, "cases": rows}, indent=1))
    raise SystemExit(1 if any(row["times"] > arguments.limit for row in rows) else 0)


if __name__ == "__main__":
    main()
