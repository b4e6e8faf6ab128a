"""Comparisons: what may be asked for, whose turn it is, and when it is enough."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from device_agent import contest
from device_agent.bundle import Bundle
from device_agent.candidate import Candidate
from device_agent.contest import Contest
from device_agent.errors import InvalidRequest
from device_agent.protocol import BenchmarkRequest, Compared, CompareRequest, DeployRequest
from device_agent.serving import Serving
from tests.device_agent.harness import IN_PROCESS, make_bundle


def asked(count: int = 2, **request: Any) -> CompareRequest:
    """A comparison of so many bundles."""
    candidates = tuple(DeployRequest(f"sha256:{number:064x}") for number in range(count))
    return CompareRequest(candidates, BenchmarkRequest(**request))


def test_the_usual_one_is_taken() -> None:
    """What `edge_sdk` asks for unless told otherwise is within the bounds, of up to eight bundles."""
    assert asked() == contest.check(asked())
    assert contest.check(asked(contest.MAX_CANDIDATES, max_seconds=10.0))


@pytest.mark.parametrize(
    ("where", "change"),
    [
        ("candidates", lambda: asked(0)),
        ("candidates", lambda: asked(1)),
        ("candidates", lambda: asked(9)),
        ("different candidates", lambda: evolve(asked(), candidates=asked(1).candidates * 2)),
        ("rounds", lambda: evolve(asked(), rounds=0)),
        ("rounds", lambda: evolve(asked(), rounds=-1)),
        ("rounds", lambda: evolve(asked(), rounds=101)),
        ("seconds of all turns", lambda: evolve(asked(), rounds=31)),
        ("iterations of all turns", lambda: asked(2, min_iterations=25_001)),
        ("max_seconds", lambda: asked(max_seconds=float("nan"))),
        ("threads", lambda: asked(threads=0)),
        ("hint", lambda: asked(hint="fast")),
        ("request", lambda: asked(profile=True)),
        ("request", lambda: asked(hint="latency")),
        ("request", lambda: asked(streams=2)),
        ("", lambda: evolve(asked(), candidates=(*asked().candidates, DeployRequest("sha256:x")))),
    ],
)
def test_what_cannot_be_done_is_refused(where: str, change: Callable[[], CompareRequest]) -> None:
    """Too few, too many, too long, twice the same, or no benchmark: refused before anything begins."""
    with pytest.raises(InvalidRequest) as caught:
        contest.check(change())
    assert (caught.value.where or "").startswith(where)


def test_turns_favour_no_place() -> None:
    """The order turns round with each round: over two rounds all wait equally long on average."""
    order = list(contest.turns(3, 4))
    assert [(0, 0), (0, 1), (0, 2), (1, 2), (1, 1), (1, 0)] == order[:6]
    places = {index: [place for place, (_, who) in enumerate(order) if who == index] for index in range(3)}
    assert {4 * 11 / 2} == {sum(found) for found in places.values()}


def compared(folder: Path, **changes: Any) -> Compared:
    """Two null models in four rounds of ten runs."""

    def candidate(bundle: Bundle) -> Candidate:
        paths = {layer.title: bundle.blob_path(layer.digest) for layer in bundle.manifest.layers}
        return Candidate(bundle.manifest_digest, bundle.manifest, bundle.config, paths)

    candidates = [candidate(make_bundle(folder / str(seed), seed=seed)) for seed in (1, 2)]
    request = asked(warmup_iterations=0, min_iterations=10, min_seconds=0.0)
    made = Contest(candidates, evolve(request, rounds=4, **changes), Serving(IN_PROCESS), lambda _: None)
    return asyncio.run(made.run("digits"))


def test_only_so_many_latencies_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first of each turn, as many of each."""
    monkeypatch.setattr(contest, "MAX_LATENCIES", 24)
    found = compared(tmp_path)
    assert [[3] * 4] * 2 == [[len(times) for times in row.latencies_ns] for row in found.candidates]


def test_no_round_begins_when_the_time_is_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """But one is measured, and of every candidate."""
    monkeypatch.setattr(contest, "MAX_SECONDS", -1.0)
    found = compared(tmp_path)
    assert [[10]] * 2 == [[len(times) for times in row.latencies_ns] for row in found.candidates]
