"""How fast the agent answers while a model misbehaves: p50 and p99 of a cheap route, in milliseconds.

    python benchmarks/containment.py --seconds 10

For each misbehaviour, a model does it over and over in a worker while two clients ask `GET /v2/health/live`,
one on a fresh connection each time and one on a connection that is kept. The bound is 200 ms for the p99.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from pathlib import Path

from device_agent.errors import EdgeError
from tests.device_agent.harness import MISBEHAVING, TRIGGER, AgentProcess, UnixConnection, make_bundle

BOUND_MS = 200.0
PAUSE_S = 0.005  # between two questions
KINDS = (
    *("nothing", "segfault", "hang", "spin", "memory", "fork_bomb", "thread_bomb"),
    *("flood_stdout", "flood_stderr", "giant_answer", "garbage_answer"),
)
LIMITS = {
    "EDGE_AGENT_WORKER_MEMORY_BYTES": str(1 << 30),
    "EDGE_AGENT_WORKER_TASKS": "128",
    "EDGE_AGENT_ANSWER_DEADLINE_S": "3",
}


def ask(connection: UnixConnection) -> float:
    """One question; milliseconds to its whole answer."""
    begin = time.perf_counter()
    connection.request("GET", "/v2/health/live")
    connection.getresponse().read()
    return (time.perf_counter() - begin) * 1e3


def fresh(agent: AgentProcess) -> float:
    """One question on a connection of its own, the connecting included."""
    begin = time.perf_counter()
    connection = UnixConnection(agent.socket)
    ask(connection)
    connection.close()
    return (time.perf_counter() - begin) * 1e3


def misbehave(agent: AgentProcess, stop: threading.Event, count: list[int]) -> None:
    """Trigger the model again as soon as it was dealt with."""
    while not stop.is_set():
        try:
            agent.client.infer("bad", TRIGGER)
        except (EdgeError, OSError):
            count[0] += 1


def percentiles(values: list[float]) -> str:
    """p50, p99 and the worst."""
    values = sorted(values)
    p50, p99 = (values[min(len(values) - 1, int(len(values) * q))] for q in (0.5, 0.99))
    mark = "" if p99 < BOUND_MS else "  ABOVE THE BOUND"
    return f"{p50:8.2f} {p99:8.2f} {values[-1]:8.2f}{mark}"


def measure(kind: str, seconds: float) -> None:
    """One line of the table for each kind of connection."""
    with tempfile.TemporaryDirectory() as folder:
        agent = AgentProcess(Path(folder) / "state", env=MISBEHAVING | LIMITS)
        with agent:
            agent.client.deploy(make_bundle(Path(folder) / "bundle", name="bad", infer=kind))
            stop, count = threading.Event(), [0]
            thread = threading.Thread(target=misbehave, args=(agent, stop, count))
            if kind != "nothing":
                thread.start()
            kept = UnixConnection(agent.socket)
            rows: dict[str, list[float]] = {"fresh": [], "warm": []}
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                rows["fresh"].append(fresh(agent))
                rows["warm"].append(ask(kept))
                time.sleep(PAUSE_S)
            kept.close()
            stop.set()
            if kind != "nothing":
                thread.join()
            for name, values in rows.items():
                print(f"{kind:15} {name:6} {len(values):6} {count[0]:6} {percentiles(values)}", flush=True)


def main() -> None:
    """Measure every kind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--kinds", nargs="*", default=KINDS, choices=KINDS)
    options = parser.parse_args()
    print(f"{'model does':15} {'conn':6} {'asked':>6} {'failed':>6} {'p50':>8} {'p99':>8} {'worst':>8}")
    for kind in options.kinds:
        measure(kind, options.seconds)


if __name__ == "__main__":
    main()
