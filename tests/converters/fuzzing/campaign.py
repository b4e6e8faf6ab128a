"""Full runs of the fuzzing: random graphs and broken files in a child process that is replaced when it dies.

    python -m tests.converters.fuzzing.campaign [--graphs 5000] [--mutations 20000] [--first 0]

Every seed is one case. Prints what each kind came to, and each case that is wrong, crashed (an exception that
is not one of ours, or the end of the process) or hung (ten seconds); exits with 1 if there is one.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import warnings
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path

import onnx

from converters.readers.onnx import reader
from converters.shaping import Shaping
from device_agent.errors import EdgeError
from tests.converters.fuzzing.compare import Outcome, compare
from tests.converters.fuzzing.mutations import mutated
from tests.converters.fuzzing.operators import random_graph

SECONDS = 10
START_SECONDS = 120
FAULTS = ("wrong", "crashed", "hung")


def graph_case(seed: int, folder: Path) -> Outcome:
    """A random graph against ONNX Runtime."""
    built = random_graph(seed)
    return compare(built.proto(), built.inputs, folder)


def mutation_case(seed: int, folder: Path) -> Outcome:
    """A broken file: read and lowered, or refused; what still runs must compute what the source does."""
    data, inputs = mutated(seed)
    path = folder / "mutated.onnx"
    path.write_bytes(data)
    try:
        graph, _ = reader.lower(reader.read(path, Shaping()))
    except EdgeError as e:
        return Outcome("refused", str(e))
    if graph is None:
        return Outcome("refused")
    return compare(onnx.load_model_from_string(data), inputs, folder)


CASES = {"graphs": graph_case, "mutations": mutation_case}


def _serve(connection: Connection) -> None:
    """Answer cases until the pipe ends."""
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory(prefix="edge-") as folder:
        connection.send(Outcome("ready"))
        while True:
            try:
                kind, seed = connection.recv()
            except EOFError:
                return
            try:
                connection.send(CASES[kind](seed, Path(folder)))
            except Exception as e:  # noqa: BLE001 - whatever it is, it is counted
                connection.send(Outcome("crashed", f"{type(e).__name__}: {e}"[:300]))


def campaign(kind: str, seeds: range) -> Counter[str]:
    """Run these cases, print the faults, count the outcomes."""
    context = multiprocessing.get_context("spawn")
    count: Counter[str] = Counter()
    child = None
    for seed in seeds:
        if child is None:
            mine, theirs = context.Pipe()
            child = context.Process(target=_serve, args=(theirs,), daemon=True)
            child.start()
            theirs.close()
            if not mine.poll(START_SECONDS):
                raise SystemExit("the child does not start")
            mine.recv()
        mine.send((kind, seed))
        try:
            found = mine.recv() if mine.poll(SECONDS) else Outcome("hung")
        except (EOFError, ConnectionError):
            child.join()
            found = Outcome("crashed", f"the process ended with {child.exitcode}")
        if found.why.startswith("the process") or found.kind == "hung":
            child.kill()
            child.join()
            child = None
        count[found.kind] += 1
        if found.kind in FAULTS:
            print(f"{kind} {seed}: {found.kind}: {found.why}", flush=True)
    if child is not None:
        mine.close()
        child.join()
    return count


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--graphs", type=int, default=5000)
    parser.add_argument("--mutations", type=int, default=20000)
    parser.add_argument("--first", type=int, default=0)
    options = parser.parse_args()
    faults = 0
    for kind, number in (("graphs", options.graphs), ("mutations", options.mutations)):
        if not number:
            continue
        count = campaign(kind, range(options.first, options.first + number))
        print(f"{kind}: {number}: " + ", ".join(f"{n} {name}" for name, n in count.most_common()), flush=True)
        faults += sum(count[name] for name in FAULTS)
    raise SystemExit(1 if faults else 0)


if __name__ == "__main__":
    main()
