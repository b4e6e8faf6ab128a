"""Boards, devices, agents and deployments as lists for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_sdk.report import layout
from edge_sdk.report.layout import Row

if TYPE_CHECKING:
    from device_agent.protocol import AgentInfo, DeploymentStatus, HistoryEntry, TrustInfo
    from edge_sdk.devices.discovery import Discovery
    from edge_sdk.devices.inventory import Entry
    from targets.schema import Processor, Target


def isolation(info: AgentInfo) -> str:
    """How workers are contained, and what of it the machine does not enforce."""
    kinds = {
        "unit": "in sandboxed systemd units of their own",
        "process": "in processes of the agent's (weaker than units)",
    }
    gaps = f"; {', '.join(info.isolation_gaps)}" if info.isolation_gaps else ""
    return kinds.get(info.isolation, info.isolation) + gaps


def print_targets(boards: Sequence[Target]) -> None:
    """The boards as a list."""
    layout.table(
        ("target", "what it is", "processors"),
        [
            (
                board.name,
                board.title,
                ", ".join(map(_short, board.processors)),
            )
            for board in boards
        ],
    )


def print_target(board: Target) -> None:
    """One board."""
    rows = [
        ("Architecture", board.architecture),
        ("Memory", "the machine's own" if board.ram_bytes is None else layout.size(board.ram_bytes)),
        *(
            (p.name, f"{p.kind}: {' or '.join(p.backends)}, {' or '.join(p.dtypes)}")
            for p in board.processors
        ),
        ("Runtimes", ", ".join(f"{name} >= {version}" for name, version in board.runtimes.items())),
        ("Source", board.source),
    ]
    layout.show(f"{board.name}: {board.title}", rows)


def print_devices(rows: Sequence[Mapping[str, Any]]) -> None:
    """The devices that can be deployed to; those that were asked say whether they answered."""
    heads = ["device", "target", "what it is"]
    cells = [[row["name"], Path(row["target"]).stem, row["description"]] for row in rows]
    if any("reachable" in row for row in rows):
        heads.append("answers")
        for row, line in zip(rows, cells, strict=True):
            line.append("yes" if row["reachable"] else "no")
    layout.table(heads, cells)
    layout.lines(f"{row['error']}" for row in rows if row.get("error"))


def print_discovery(discovery: Discovery, timeout_s: float) -> None:
    """The hosts that answered, and the commands that register them; what silence means."""
    if discovery.found:
        layout.table(
            ("host", "addresses", "port", "announces", "registered as"),
            [
                (
                    found.host.host,
                    " ".join(found.host.addresses),
                    str(found.host.port),
                    " ".join(found.host.services) or "-",
                    found.registered or "-",
                )
                for found in discovery.found
            ],
        )
    else:
        asked = ", ".join(discovery.interfaces)
        silence = (
            f"Nobody answered within {timeout_s:g} s on {asked}. That does not mean that nobody is there: "
            "many networks filter multicast DNS, and many devices have it switched off. Find the address in "
            "your router's list and add it: `edge devices add NAME USER@ADDRESS --target BOARD`."
        )
        layout.lines([silence])
    if discovery.ignored:
        layout.lines([f"{discovery.ignored} answers made no sense and were ignored."])
    new = [(found.command, f"registers {found.name}") for found in discovery.found if not found.registered]
    if new:
        layout.next_steps(new)
        layout.lines(["", "This is a hint only: anybody on the network can answer. Compare host keys."])


def print_device(
    address: str, info: AgentInfo, deployments: Sequence[DeploymentStatus], entry: Entry | None
) -> None:
    """A device, how it is registered, and what is deployed on it."""
    layout.show(f"{address}: {info.hostname}", [*_registration_rows(entry), *agent_rows(info)])
    if not deployments:
        layout.lines(["", "Nothing is deployed."])
        return
    layout.lines([""])
    layout.table(
        ("model", "generation", "before", "state", "runtime", "target", "size"),
        [
            (
                status.name,
                str(status.generation),
                "-" if status.previous_generation is None else str(status.previous_generation),
                status.state.lower(),
                status.runtime,
                status.target,
                layout.size(status.size_bytes),
            )
            for status in deployments
        ],
    )


def print_agent(info: AgentInfo) -> None:
    """A running agent."""
    stays = "ends when no command uses it" if info.on_demand else "stays until `edge agent stop`"
    layout.show(f"the agent is running as process {info.pid}; it {stays}", agent_rows(info))


def print_history(entries: Sequence[HistoryEntry]) -> None:
    """How the deployments and rollbacks of a model ended."""
    layout.table(
        ("finished", "generation", "outcome", "reason"),
        [(e.finished_at, str(e.generation), e.outcome.lower(), e.reason) for e in entries],
    )


def agent_rows(info: AgentInfo) -> list[Row]:
    """An agent's description of itself and its machine."""
    available = layout.size(info.state.memory_available_bytes)
    trust = info.trust
    identity = [] if trust is None else [("Device id", trust.device_id), ("Trust", _trust(trust))]
    return [
        *identity,
        ("Machine", f"{info.machine}, {info.word_bits} bit, {info.cpu_count} x {info.cpu_model}"),
        ("Memory", f"{layout.size(info.ram_bytes)}, {available} available"),
        ("State", f"{info.state_dir}, {layout.size(info.disk_free_bytes)} free"),
        ("Now", layout.machine_state(info.state)),
        ("Runtimes", ", ".join(f"{r.name} {r.version}" for r in info.runtimes) or "none"),
        ("Agent", f"{info.agent_version} on Python {info.python}"),
        ("Workers", isolation(info)),
    ]


def _trust(trust: TrustInfo) -> str:
    signers = f"signers: {', '.join(trust.signers) or 'none'}"
    return f"{trust.policy}; {signers}" + (f"; {trust.problem}" if trust.problem else "")


def _registration_rows(entry: Entry | None) -> list[Row]:
    if entry is None:
        return []
    key = "as known_hosts has it" if entry.pinned is None else f"pinned, {entry.pinned.fingerprint}"
    return [
        ("Address", entry.address),
        ("Target", entry.target),
        ("Key", entry.identity or "the user's usual ones"),
        ("Host key", key),
    ]


def _short(processor: Processor) -> str:
    return f"{processor.name} ({_backends(processor)})"


def _backends(processor: Processor) -> str:
    return " or ".join(processor.backends)
