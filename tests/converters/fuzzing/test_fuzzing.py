"""A small, seeded share of the fuzzing; EDGE_FUZZ=N runs N graphs and 4 N broken files."""

import os
from collections import Counter
from pathlib import Path

from tests.converters.fuzzing.campaign import FAULTS, graph_case, mutation_case
from tests.converters.fuzzing.mutations import mutated
from tests.converters.fuzzing.operators import random_graph

COUNT = int(os.environ.get("EDGE_FUZZ", "60"))


def _run(case, seeds: range, folder: Path) -> Counter[str]:
    count: Counter[str] = Counter()
    for seed in seeds:
        found = case(seed, folder)
        assert found.kind not in FAULTS, f"seed {seed}: {found.why}"
        count[found.kind] += 1
    return count


def test_random_graphs(tmp_path: Path):
    """Random networks compute what ONNX Runtime computes, before and after the rewrites, or are refused."""
    count = _run(graph_case, range(10_000, 10_000 + COUNT), tmp_path)
    assert count["equal"] > COUNT * 0.8


def test_broken_files(tmp_path: Path):
    """A broken file is refused by an error of ours, or computes what ONNX Runtime makes of it."""
    count = _run(mutation_case, range(4 * COUNT), tmp_path)
    assert count["refused"] > COUNT * 2
    assert count["equal"] > 0


def test_seeds_are_cases():
    """A seed gives the same graph and the same file every time."""
    assert random_graph(3).proto() == random_graph(3).proto()
    assert mutated(5)[0] == mutated(5)[0]
