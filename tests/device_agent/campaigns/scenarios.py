"""What is done to an agent while it is hurt, the state it is done in, and what may be active afterwards."""

from __future__ import annotations

import hashlib
import http.client
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from attrs import define, field, frozen

from device_agent.bundle import Bundle
from device_agent.errors import EdgeError, UnknownModel
from tests.device_agent.campaigns import processes
from tests.device_agent.harness import AgentProcess, Client, make_bundle, null_samples

NAME = "digits"
CHUNK_BYTES = 2048  # several chunks for the larger blobs


class Stock:
    """Bundles by number; 9 does not compute what its golden outputs say."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: dict[int, Bundle] = {}

    def __getitem__(self, number: int) -> Bundle:
        if number not in self._made:
            made = make_bundle(
                self._folder / str(number), seed=number, corrupt=number == 9, padding=3 * CHUNK_BYTES
            )
            self._made[number] = made
        return self._made[number]

    def number(self, digest: str) -> int | None:
        """Which of them has this manifest."""
        return next((n for n, bundle in self._made.items() if bundle.manifest_digest == digest), None)


Act = Callable[[Client, Stock], None]


@frozen
class Scenario:
    """An operation.

    Args:
        prepared: bundles that have been deployed in this order.
        act: the operation.
        before, after: the bundle that is active before and after it; None for none.
        pushed: bundles whose blobs are there as well.
    """

    prepared: tuple[int, ...]
    act: Act
    before: int | None
    after: int | None
    pushed: tuple[int, ...] = ()


def push(client: Client, stock: Stock, number: int) -> None:
    """Upload every blob of a bundle in small chunks."""
    bundle = stock[number]
    for digest in [*(blob.digest for blob in bundle.manifest.blobs()), bundle.manifest_digest]:
        client.upload(bundle.blob_path(digest).read_bytes(), chunk_bytes=CHUNK_BYTES)


def activate(client: Client, stock: Stock, number: int) -> int:
    """Deploy a bundle whose blobs are there; its generation."""
    return _ask(client, "deploy", {"manifest_digest": stock[number].manifest_digest})


def rollback(client: Client) -> int:
    """Roll back; the generation."""
    return _ask(client, "rollback", None)


def _ask(client: Client, operation: str, body: object) -> int:
    for event in client.events(f"/edge/v1/models/{NAME}/{operation}", body):
        if event["kind"] == "result":
            return int(event["result"]["status"]["generation"])
    raise ConnectionError("the agent's answer was cut off")


def deploy(client: Client, stock: Stock, number: int) -> int:
    """Upload and deploy a bundle; its generation."""
    push(client, stock, number)
    return activate(client, stock, number)


def _remove(client: Client, _: Stock) -> None:
    client.ok("DELETE", f"/edge/v1/models/{NAME}")


def _fail(client: Client, stock: Stock) -> None:
    try:
        activate(client, stock, 9)
    except EdgeError:
        return
    raise AssertionError("a model that computes something else was activated")


SCENARIOS = {
    "first deploy": Scenario((), lambda c, s: _done(deploy(c, s, 0)), None, 0),
    "upload": Scenario((0, 1), lambda c, s: push(c, s, 2), 1, 1),
    "deploy and collect": Scenario((0, 1), lambda c, s: _done(activate(c, s, 2)), 1, 2, (2,)),
    "rollback and collect": Scenario((0, 1), lambda c, s: _done(rollback(c)), 1, 0),
    "failed deploy": Scenario((0, 1), _fail, 1, 1, (9,)),
    "remove and collect": Scenario((0, 1), _remove, 1, None),
}


def _done(_: object) -> None:
    """An acknowledgement."""


def template(scenario: Scenario, stock: Stock, folder: Path) -> Path:
    """The state folder that a scenario begins with."""
    with AgentProcess(folder) as agent:
        for number in scenario.prepared:
            deploy(agent.client, stock, number)
        for number in scenario.pushed:
            push(agent.client, stock, number)
    return folder


def copy(template: Path, folder: Path) -> Path:
    """A copy of a state folder with its links, in the place of an earlier one."""
    subprocess.run(["rm", "-rf", folder], check=True)
    subprocess.run(["cp", "-a", template, folder], check=True)
    return folder


def attempt(scenario: Scenario, client: Client, stock: Stock) -> bool:
    """Do the operation; whether it was acknowledged."""
    try:
        scenario.act(client, stock)
    except (EdgeError, OSError, http.client.HTTPException, ValueError):
        return False
    return True


@define
class Findings:
    """What was wrong after a fault, and how long the agent took to answer again."""

    problems: list[str] = field(factory=list)
    ready_s: float | None = None


def active(client: Client, stock: Stock) -> int | None:
    """The bundle that is active, after it has computed what it should; None for none."""
    statuses = client.json("GET", "/edge/v1/models")
    if not statuses:
        return None
    number = stock.number(statuses[0]["manifest_digest"])
    outputs = {row["name"] for row in client.infer(NAME, null_samples(number or 0)[0])["outputs"]}
    if outputs != {f"scores{number}"}:
        raise AssertionError(f"bundle {number} is active, {outputs} answers")
    return number


def damaged(state: Path, bundle: Bundle) -> list[str]:
    """The files of the active generation that are not the bundle's."""
    current = state / "models" / NAME / "current"
    blobs = {layer.title: layer.digest for layer in bundle.manifest.layers}
    blobs |= {"config.json": bundle.manifest.config.digest, "manifest.json": bundle.manifest_digest}
    found = {
        path.name: "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest() for path in current.iterdir()
    }
    return sorted(name for name in blobs.keys() | found.keys() if blobs.get(name) != found.get(name))


def examine(
    state: Path, stock: Stock, allowed: set[int | None], *, measured: bool, next_deploy: bool
) -> Findings:
    """Start the agent again on what a fault has left, and say what is wrong with it.

    Args:
        state: the folder.
        stock: the bundles.
        allowed: which of them may be active.
        measured: start a new Python and say how long that took, instead of forking this one.
        next_deploy: deploy another bundle then.
    """
    findings = Findings()
    began = time.monotonic()
    try:
        if measured:
            with AgentProcess(state) as agent:
                findings.ready_s = time.monotonic() - began
                findings.problems += _examine(agent.client, state, stock, allowed)
                if next_deploy:
                    findings.problems += deploy_next(agent.client, stock)
                agent.kill()
        else:
            with processes.agent(state) as (_, client):
                findings.problems += _examine(client, state, stock, allowed)
                if next_deploy:
                    findings.problems += deploy_next(client, stock)
    except (EdgeError, OSError, http.client.HTTPException, AssertionError) as e:
        findings.problems.append(f"{type(e).__name__}: {e}")
    return findings


def _examine(client: Client, state: Path, stock: Stock, allowed: set[int | None]) -> list[str]:
    found = active(client, stock)
    if found not in allowed:
        return [f"bundle {found} is active, expected one of {sorted(map(str, allowed))}"]
    return [] if found is None else [f"damaged: {name}" for name in damaged(state, stock[found])]


def deploy_next(client: Client, stock: Stock) -> list[str]:
    """Deploy another bundle; what was wrong with that."""
    try:
        entries = client.json("GET", f"/edge/v1/models/{NAME}/history")
    except UnknownModel:
        entries = []
    generation = deploy(client, stock, 7)
    problems = []
    if any(entry["generation"] >= generation for entry in entries):
        problems.append(f"generation {generation} was given twice")
    if active(client, stock) != 7:
        problems.append("the next deployment is not active")
    return problems
