"""How long an agent that was killed takes to serve again.

    python benchmarks/restart.py [-n 20] [--json FILE]

An agent with a deployed model is killed (`kill -9`) while it is idle and started again at once, as systemd
would after a pause of its own (2 s). Taken are the times from the start to the first answer and to the first
inference, for which a worker is started, and the CPU time to the first answer; the machine's load is printed
with them.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.device_agent.harness import AgentProcess, make_bundle, null_samples

ANSWER, INFERENCE, CPU = "first answer", "first inference", "CPU to answer"


def main() -> None:
    """Measure, print a table, write the figures where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-n", type=int, default=20, help="kills (default 20)")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    times: dict[str, list[float]] = {ANSWER: [], INFERENCE: [], CPU: []}
    loads = []
    with tempfile.TemporaryDirectory(prefix="edge-") as name:
        state = Path(name) / "state"
        bundle = make_bundle(Path(name) / "bundle")
        with AgentProcess(state) as agent:
            agent.client.deploy(bundle)
            agent.kill()
        for _ in range(arguments.n):
            loads.append(os.getloadavg()[0])
            begin = time.perf_counter()
            with AgentProcess(state) as agent:
                times[ANSWER].append(time.perf_counter() - begin)
                times[CPU].append(_cpu_s(agent.process.pid))
                agent.client.infer(bundle.config.name, null_samples(1)[0])
                times[INFERENCE].append(time.perf_counter() - begin)
                agent.kill()
    rows = [
        {"case": case, "median_s": statistics.median(taken), "least_s": min(taken), "greatest_s": max(taken)}
        for case, taken in times.items()
    ]
    for row in rows:
        print(f"{row['case']:17} {row['median_s']:6.3f} s  ({row['least_s']:.3f} .. {row['greatest_s']:.3f})")
    print(f"load {min(loads):.1f} .. {max(loads):.1f}")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps({"kills": arguments.n, "loads": loads, "cases": rows}, indent=1))


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
