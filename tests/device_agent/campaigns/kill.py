"""The process is killed at the entry or exit of every changing call; what it leaves is started again."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tests.device_agent.campaigns import processes, releases
from tests.device_agent.campaigns.ptrace import Call, Tracer, tracing
from tests.device_agent.campaigns.report import Row
from tests.device_agent.campaigns.scenarios import (
    SCENARIOS,
    Scenario,
    Stock,
    attempt,
    copy,
    examine,
    template,
)

MEASURED_EACH = 5  # of the starts after a kill so many are of a new Python; the others are forked
DEPLOYED_EACH = 4  # after so many another bundle is deployed as well
STARTS = ("start on nothing", "start after a kill")


def parts() -> list[str]:
    """The names of all parts, in order."""
    return [*SCENARIOS, *STARTS, *releases.STEPS]


class Killing:
    """One part of the campaign, in a folder of its own."""

    def __init__(self, part: str, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.row = Row(part)
        self._part = part
        self._folder = folder
        self._stock = Stock(folder / "bundles")
        if part in SCENARIOS:
            template(SCENARIOS[part], self._stock, folder / "template")
        elif part in STARTS:
            self._prepare_start(folder / "template")
        else:
            releases.prepare(part, folder)

    def points(self) -> int:
        """How many there are: the operation is done once, unharmed."""
        return self._run(0)

    def kill_at(self, point: int) -> None:
        """Kill there, start again, examine."""
        self.row.tried += 1
        try:
            self._run(point)
        except AssertionError as e:
            self.row.failures.append(f"point {point}: {e}")

    def _run(self, point: int) -> int:
        if self._part in SCENARIOS:
            return self._run_scenario(SCENARIOS[self._part], point)
        if self._part in STARTS:
            return self._run_start(point)
        return self._run_release(point)

    def _run_scenario(self, scenario: Scenario, point: int) -> int:
        state = copy(self._folder / "template", self._folder / "state")
        with (
            processes.agent(state) as (process, client),
            tracing(process.pid, state, self._folder / "calls") as tracer,
        ):
            tracer.arm(kill_at=point)
            acknowledged = attempt(scenario, client, self._stock)
            if point:
                _must_be_hit(tracer)
            points = tracer.points
        allowed = {scenario.after} if acknowledged else {scenario.before, scenario.after}
        self._examine(state, allowed)
        return points

    def _prepare_start(self, state: Path) -> None:
        """For the second start: an agent that was killed right after it had swapped the link."""
        if self._part == STARTS[0]:
            state.mkdir(mode=0o700)
            return
        scenario = SCENARIOS["deploy and collect"]
        template(scenario, self._stock, self._folder / "clean")
        calls = self._traced(scenario, copy(self._folder / "clean", state), 0)
        swapped = [call.path for call in calls].index("models/digits/current")
        self._traced(scenario, copy(self._folder / "clean", state), 2 * (swapped + 1))

    def _traced(self, scenario: Scenario, state: Path, point: int) -> list[Call]:
        with (
            processes.agent(state) as (process, client),
            tracing(process.pid, state, self._folder / "calls") as tracer,
        ):
            tracer.arm(kill_at=point)
            attempt(scenario, client, self._stock)
            return tracer.calls()

    def _run_start(self, point: int) -> int:
        state = copy(self._folder / "template", self._folder / "state")
        points = 0
        with (
            processes.forked(["serve", "--state-dir", str(state)], self._folder / "log") as process,
            tracing(process.pid, state, self._folder / "calls") as tracer,
        ):
            tracer.arm(kill_at=point)
            process.go()
            if point:
                process.wait()
                _must_be_hit(tracer)
            else:
                processes.answering(process, state)
            points = tracer.points
        self._examine(state, {None} if self._part == STARTS[0] else {1})
        return points

    def _run_release(self, point: int) -> int:
        case = releases.Case(self._part, self._folder)
        with (
            processes.forked(case.arguments, self._folder / "log") as process,
            tracing(process.pid, case.folder, self._folder / "calls") as tracer,
        ):
            tracer.arm(kill_at=point)
            process.go()
            status = process.wait()
            if point:
                _must_be_hit(tracer)
            elif status:
                raise AssertionError(f"the unharmed step ended with status {status}")
            points = tracer.points
        case.examine(acknowledged=status == 0)
        return points

    def _examine(self, state: Path, allowed: Iterable[int | None]) -> None:
        tried = self.row.tried
        findings = examine(
            state,
            self._stock,
            set(allowed),
            measured=tried % MEASURED_EACH == 1,
            next_deploy=tried % DEPLOYED_EACH == 1,
        )
        if findings.ready_s is not None:
            self.row.ready_s.append(findings.ready_s)
        if findings.problems:
            raise AssertionError("; ".join(findings.problems))


def _must_be_hit(tracer: Tracer) -> None:
    if not tracer.hit:
        raise AssertionError("the point was never reached: the calls are not the same in every run")
