"""EIO and ENOSPC at each changing call of a deployment and a rollback, from outside of a real agent."""

from __future__ import annotations

import errno
from pathlib import Path

from device_agent.errors import DeviceError, DiskFull, EdgeError
from tests.device_agent.campaigns import processes
from tests.device_agent.campaigns.ptrace import Tracer, tracing
from tests.device_agent.campaigns.report import Row
from tests.device_agent.campaigns.scenarios import Stock, active, deploy, rollback
from tests.device_agent.harness import Client

PARTS = {
    f"{operation}, {errno.errorcode[code]}": (operation, code)
    for operation in ("deploy", "rollback")
    for code in (errno.EIO, errno.ENOSPC)
}


class Failing:
    """One part: an agent that lives through all of its faults."""

    def __init__(self, part: str, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.row = Row(part)
        self._operation, self._code = PARTS[part]
        self._folder = folder
        self._stock = Stock(folder / "bundles")
        self._next = 10  # every bundle is a new one, so that every deployment makes the same calls

    def run(self, step: int) -> None:
        """Fail every `step`-th call; what was active must be after each, and the next deployment works."""
        state = self._folder / "state"
        with processes.agent(state) as (process, client):
            before = [self._deploy(client), self._deploy(client)]
            with tracing(process.pid, state, self._folder / "calls") as tracer:
                call = 1
                while True:
                    tracer.arm(fail_at=call, errno=self._code)
                    problem = self._attempt(client, before)
                    if not tracer.hit:
                        break
                    self.row.tried += 1
                    self._judge(client, tracer, call, problem, before)
                    call += step

    def _deploy(self, client: Client) -> int:
        self._next += 1
        deploy(client, self._stock, self._next)
        return self._next

    def _attempt(self, client: Client, before: list[int]) -> str | None:
        """Do the operation, which may be refused by name; `before` ends with what is active then."""
        try:
            if self._operation == "rollback":
                rollback(client)
                before[:] = before[:1]
            else:
                before.append(self._deploy(client))
        except EdgeError as e:
            expected = DiskFull if self._code == errno.ENOSPC else DeviceError
            return None if isinstance(e, expected) else f"refused by {type(e).__name__}: {e}"
        return None

    def _judge(
        self, client: Client, tracer: Tracer, call: int, problem: str | None, before: list[int]
    ) -> None:
        tracer.arm()
        try:
            problem = problem or self._differs(client, before[-1])
            before[:] = [before[-1], self._deploy(client)]
            problem = problem or self._differs(client, before[-1])
        except (EdgeError, OSError, AssertionError) as e:
            problem = f"{type(e).__name__}: {e}"
        if problem is not None:
            self.row.failures.append(f"call {call}, {tracer.calls()[-1]}: {problem}")
            before[:] = [self._deploy(client), self._deploy(client)]

    def _differs(self, client: Client, expected: int) -> str | None:
        found = active(client, self._stock)
        return None if found == expected else f"bundle {found} is active, expected {expected}"
