"""The command behind `scripts/faults`."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.device_agent.campaigns import full, kill, medium, power, ptrace, upgrade_power
from tests.device_agent.campaigns.power import NOT_NEEDED, Judge, first_bad
from tests.device_agent.campaigns.report import Report, Row
from tests.device_agent.campaigns.scenarios import Stock

MEDIUM_CALLS = 340  # of all parts together, about
SESSIONS = {
    "models": (power.session, power.check),
    "upgrade": (upgrade_power.session, upgrade_power.check),
}


def main() -> int:
    """Run a campaign; 1 if anything was wrong, 2 if it cannot be run here."""
    options = _parser().parse_args()
    report = Report(options.campaign, options.seed)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        try:
            reason = options.run(options, report, Path(folder))
        except KeyboardInterrupt:
            reason = None
            print("interrupted: this is what was tried until then")
    if reason:
        print(f"cannot be run here: {reason}", file=sys.stderr)
        return 2
    print(report.table())
    print(f"took {time.monotonic() - began:.0f} s")
    if options.json:
        report.write(options.json)
    return 1 if report.failures else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/faults", description=__doc__)
    commands = parser.add_subparsers(dest="campaign", required=True, metavar="CAMPAIGN")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--seed", type=int, default=1, help="chooses what a sample holds")
    common.add_argument("--sample", type=int, default=0, help="about as many in all; 0: everything")
    common.add_argument("--only", action="append", default=[], help="a part, as the table names it")
    common.add_argument("--json", type=Path, help="where the result is written")
    memory = Path("/dev/shm")
    common.add_argument(
        "--folder",
        type=Path,
        default=memory if memory.is_dir() else None,
        help="where state folders are made",
    )
    killing = commands.add_parser("kill", parents=[common], help="kill -9 at every changing system call")
    killing.set_defaults(run=_kill)
    cutting = commands.add_parser("power", parents=[common], help="the power goes: every crash state")
    cutting.add_argument("--limit", type=int, default=16, help="about so many states of one moment")
    cutting.add_argument("--no-mutants", action="store_true", help="do not try the code without each fsync")
    cutting.set_defaults(run=_power)
    failing = commands.add_parser("medium", parents=[common], help="EIO and ENOSPC at every changing call")
    failing.set_defaults(run=_medium)
    filling = commands.add_parser("full", parents=[common], help="disks that are too small by steps")
    filling.set_defaults(run=_full)
    return parser


def _medium(options: argparse.Namespace, report: Report, folder: Path) -> str | None:
    if (reason := ptrace.unavailable()) is not None:
        return reason
    for part in options.only or medium.PARTS:
        failing = medium.Failing(part, folder / part.replace(" ", "-"))
        report.rows.append(failing.row)
        failing.run(max(1, MEDIUM_CALLS // options.sample) if options.sample else 1)
    return None


def _full(options: argparse.Namespace, report: Report, folder: Path) -> str | None:
    if (reason := full.unavailable()) is not None:
        return reason
    for part in options.only or full.PARTS:
        report.rows.append(full.run(part, folder / part.replace(" ", "-"), options.sample))
    return None


def _power(options: argparse.Namespace, report: Report, folder: Path) -> str | None:
    for part, (session, check) in SESSIONS.items():
        if options.only and part not in options.only:
            continue
        here = folder / part
        (here / "recorded").mkdir(parents=True)
        stock = Stock(here / "bundles")
        recording = session(here / "recorded", stock)
        judge = Judge(stock, here / "state", check)
        report.rows.append(
            judge.all_states(Row(part), recording, options.limit, options.seed, options.sample)
        )
        for site in () if options.no_mutants else recording.sites:
            row = Row(f"{part}, without an fsync")
            report.rows.append(row)
            row.tried, problem = first_bad(recording, site, options.limit, options.seed, judge.problem)
            row.notes.append(f"{site}: {problem or 'never missed'}"[:200])
            if (problem is None) != (site in NOT_NEEDED):
                row.failures.append(f"{site} is {'not needed' if problem is None else 'needed after all'}")
            print(row.notes[-1], file=sys.stderr, flush=True)
    return None


def _kill(options: argparse.Namespace, report: Report, folder: Path) -> str | None:
    if (reason := ptrace.unavailable()) is not None:
        return reason
    chosen = options.only or kill.parts()
    found = []
    for part in chosen:
        killing = kill.Killing(part, folder / part.replace(" ", "-"))
        report.rows.append(killing.row)
        found.append((killing, killing.points()))
    total = sum(points for _, points in found)
    draw = random.Random(options.seed)
    share = min(1.0, options.sample / total) if options.sample else 1.0
    for killing, points in found:
        count = max(1, round(points * share))
        killing.row.notes.append(f"{points} points, {count} tried")
        for point in spread(points, count, draw):
            killing.kill_at(point)
            if not killing.row.tried % 50:
                print(f"{killing.row.part}: {killing.row.tried}/{count}", file=sys.stderr, flush=True)
    return None


def spread(points: int, count: int, draw: random.Random) -> list[int]:
    """`count` of 1..points, evenly spread, beginning anywhere in the first stretch."""
    step = points / count
    start = draw.uniform(0, step)
    return [1 + int(start + step * index) for index in range(count)]


if __name__ == "__main__":
    sys.exit(main())
