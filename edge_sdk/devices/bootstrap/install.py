"""Install, upgrade and remove an agent over a `Remote`: examine, decide on the steps, take them, prove it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Collection, Sequence
from pathlib import Path

from attrs import frozen

from converters.progress import Progress
from device_agent import codec
from device_agent.errors import (
    ActivationFailed,
    DeviceError,
    EdgeError,
    InvalidRequest,
    tree,
)
from device_agent.protocol import AgentInfo
from edge_sdk.devices.bootstrap import archive as archives
from edge_sdk.devices.bootstrap import choice, drift, examine, plan, probe, wheelhouse
from edge_sdk.devices.bootstrap.examine import Finding
from edge_sdk.devices.bootstrap.layout import Layout, layout
from edge_sdk.devices.bootstrap.plan import Copy, Release, Run, Step
from edge_sdk.devices.bootstrap.probe import Facts, Installation
from edge_sdk.devices.remote import Completed, Remote
from targets.schema import Target

TRIAL_S = 60  # in which a new release must complete a round trip
FIRST_TRIALS = 3  # the time of so many has a first release: none before it could serve meanwhile
MARGIN_S = 45  # for the one before it to answer again
POLL_S = 0.5


@frozen
class Outcome:
    """What was done to a device, or would be."""

    address: str
    action: str  # installed, upgraded, unchanged, removed, nothing, planned
    release: str | None
    previous: str | None
    service: str | None
    findings: tuple[Finding, ...]
    steps: tuple[str, ...]
    sent_bytes: int
    agent: AgentInfo | None
    signer: str = ""  # who may sign for the device since an installation, or why nobody
    outdated: tuple[str, ...] = ()  # files that an upgrade left as another version wrote them
    runtimes: tuple[str, ...] = ()  # those that the release has


@frozen
class Prepared:
    """Everything decided about an installation, nothing done yet."""

    facts: Facts
    findings: tuple[Finding, ...]
    where: Layout
    wanted: Release
    existing: Installation | None
    steps: tuple[Step, ...]
    runtimes: tuple[str, ...]

    @property
    def on_trial(self) -> bool:
        """Whether there is a release to go back to."""
        before = self.existing.current if self.existing is not None else ""
        return before not in ("", self.wanted.id)


def prepare(
    remote: Remote,
    target: Target,
    *,
    runtimes: Collection[str] = (),
    service: str | None = None,
    archive: archives.Archive | None = None,
    trial_s: int = TRIAL_S,
    upgrade: bool = False,
    progress: Progress,
) -> Prepared:
    """Examine a device, fetch what it needs, and decide on the steps; changes nothing on it.

    Raises:
        DeviceUnsuitable: names every reason.
        InvalidRequest: the device cannot run the agent as asked.
        DeviceError: an upgrade of what is not installed.
        EdgeError: what `archive.build` and `wheelhouse.fetch` raise.
    """
    choice.choose(target, runtimes)  # what the board cannot have needs no device to be refused
    progress("examine", 0, 0)
    facts = probe.ask(remote)
    existing = facts.installed[0] if facts.installed else None
    if existing is None and upgrade:
        raise DeviceError(
            "no agent is installed", where=remote.address, next_step="`edge devices install` installs one."
        )
    if existing is not None and service not in (None, existing.service):
        raise InvalidRequest(
            "the agent is installed already as another kind of service",
            where=remote.address,
            got=service,
            expected=existing.service,
            next_step="`edge devices uninstall --keep-models` first.",
        )
    chosen = examine.choose_service(
        facts, existing.service if existing is not None else service, own=remote.address == "local"
    )
    before = choice.among(existing.wheels) if existing is not None else ()
    chosen_runtimes = choice.choose(target, runtimes, before)
    progress("build", 0, 0)
    built = archive or archives.build()
    findings = examine.examine(
        facts, target, chosen_runtimes, service=chosen, least_python=built.least_python
    )
    examine.check(findings, remote.address)
    python = examine.choose_python(facts, built.least_python)
    if python is None:  # `check` has refused it
        raise DeviceError("the device has no Python for the agent", where=remote.address)
    progress("fetch", 0, 0)
    wheels = wheelhouse.fetch(wheelhouse.platform_of(facts, python), wheelhouse.requirements(chosen_runtimes))
    wanted = plan.release(built, wheels, python)
    where = layout(facts, chosen, chosen_runtimes)
    steps = _steps(facts, where, wanted, existing, trial_s=trial_s, upgrade=upgrade)
    return Prepared(facts, tuple(findings), where, wanted, existing, tuple(steps), chosen_runtimes)


def _steps(
    facts: Facts,
    where: Layout,
    wanted: Release,
    existing: Installation | None,
    *,
    trial_s: int,
    upgrade: bool,
) -> list[Step]:
    """The steps up to the start of the agent, each of which may be repeated."""
    current = existing.current if existing is not None else ""
    steps: list[Step] = []
    if existing is None or wanted.id not in existing.releases:
        steps += plan.deliver(wanted, where)
    if not upgrade:
        steps += plan.set_up(where, facts, wanted.python)
    if not current:
        steps.append(plan.agent_command(where, wanted.python, wanted.id, "activate", wanted.id))
    elif current != wanted.id:
        # by the code that runs now: that of the new release has not shown that it works
        steps.append(plan.agent_command(where, wanted.python, current, "try", wanted.id, trial_s))
    return [*steps, *plan.start(where)]


def install(
    remote: Remote,
    target: Target,
    *,
    runtimes: Collection[str] = (),
    service: str | None = None,
    archive: archives.Archive | None = None,
    trial_s: int = TRIAL_S,
    upgrade: bool = False,
    dry_run: bool = False,
    progress: Progress,
) -> Outcome:
    """Bring this SDK's agent onto a device and see it answer; whatever was there stays until it does.

    Args:
        remote: the device.
        target: its board: names the architecture and the runtimes that it may have.
        runtimes: those to bring besides the preferred ones and those that it has.
        service: system, user or plain; the strongest that the device has if None.
        archive: the agent; built from what is installed here if None.
        trial_s: in which a release that replaces another must answer.
        upgrade: only replace the release of an agent that is there; launcher and unit stay as they are.
        dry_run: decide, and do nothing.
        progress: called as `progress(what, done, total)`.

    Raises:
        ActivationFailed: the new release did not answer; the one before runs again.
        DeviceError: a step failed, or a first installation does not answer and was removed again.
        EdgeError: what `prepare` raises.
    """
    ready = prepare(
        remote,
        target,
        runtimes=runtimes,
        service=service,
        archive=archive,
        trial_s=trial_s,
        upgrade=upgrade,
        progress=progress,
    )
    where, wanted = ready.where, ready.wanted
    before = ready.existing.current if ready.existing is not None else ""
    if dry_run:
        return _outcome(remote, "planned", ready, 0, None)
    if before == wanted.id:
        info = _ask_agent(remote, where, ready.facts)
        if info is not None and info.release == wanted.id:
            anew = [*plan.set_up(where, ready.facts, wanted.python), *plan.reload(where)]
            perform(remote, [] if upgrade else anew, ready.facts, progress)
            return _outcome(remote, "unchanged", ready, 0, info, upgrade=upgrade)
    try:
        sent = perform(remote, ready.steps, ready.facts, progress)
        info = _prove(remote, ready, trial_s, progress)
    except EdgeError:
        _undo(remote, ready, progress)
        raise
    action = "upgraded" if ready.on_trial else "installed"
    return _outcome(remote, action, ready, sent, info, upgrade=upgrade)


def uninstall(
    remote: Remote, *, keep_models: bool = False, dry_run: bool = False, progress: Progress
) -> Outcome:
    """Remove every agent from a device, with all it stored unless `keep_models`; also what that left before.

    Raises:
        DeviceError: a step failed.
    """
    facts = probe.ask(remote)
    steps: list[Step] = []
    for found in facts.installed:
        steps += plan.remove(layout(facts, found.service), found, keep_models=keep_models)
    for kept in facts.kept if not keep_models else ():
        steps += plan.forget(layout(facts, kept.service), kept)
    if not dry_run:
        perform(remote, steps, facts, progress)
    action = "planned" if dry_run else "removed" if steps else "nothing"
    service = next((one.service for one in (*facts.installed, *facts.kept)), None)
    return Outcome(remote.address, action, None, None, service, (), tuple(s.what for s in steps), 0, None)


def perform(remote: Remote, steps: Sequence[Step], facts: Facts, progress: Progress) -> int:
    """Take steps in order.

    Returns:
        How many bytes were copied.

    Raises:
        DeviceError: one failed; later ones were not taken.
    """
    sent = 0
    for step in steps:
        progress(step.what, 0, 0)
        if isinstance(step, Copy):
            sent += _copy(remote, step, progress)
            continue
        done = _run(remote, step, facts)
        if done.status and not step.may_fail:
            raise _failure(remote, step, done)
    return sent


def _run(remote: Remote, step: Run, facts: Facts) -> Completed:
    return remote.run(_as_user(step, facts), stdin=step.stdin, timeout_s=step.timeout_s)


def _as_user(step: Run, facts: Facts) -> Sequence[str]:
    if step.user in (None, facts.user):
        return step.command
    if step.user == "root":
        return ("sudo", "-n", "--", *step.command)
    if facts.uid == 0:
        return ("runuser", "-u", str(step.user), "--", *step.command)
    return ("sudo", "-n", "-u", str(step.user), "--", *step.command)


def _copy(remote: Remote, step: Copy, progress: Progress) -> int:
    def show(done: int, total: int) -> None:
        progress(step.what, done, total)

    if isinstance(step.source, Path):
        remote.put(step.source, step.destination, mode=step.mode, progress=show)
        return step.source.stat().st_size
    with tempfile.NamedTemporaryFile() as file:
        file.write(step.source)
        file.flush()
        remote.put(Path(file.name), step.destination, mode=step.mode, progress=show)
    return len(step.source)


def _failure(remote: Remote, step: Run, done: Completed) -> EdgeError:
    """A failed step as an error: of the kind that its exit status names, where it was the agent's command."""
    said = done.stderr.decode(errors="replace").strip() or done.stdout.decode(errors="replace").strip()
    kinds = {kind.exit_code: kind for kind in tree(DeviceError)}
    kind = kinds.get(done.status, DeviceError) if said.startswith("edge-agent: ") else DeviceError
    return kind(f"could not {step.what}", where=remote.address, got=f"status {done.status}: {said[-500:]}")


def _ask_agent(remote: Remote, where: Layout, facts: Facts) -> AgentInfo | None:
    """The round trip: through the connection and the launcher to the agent's socket; None where it fails."""
    done = _run(remote, Run("ask the agent", (where.launcher, "status"), where.user, may_fail=True), facts)
    if done.status:
        return None
    try:
        return codec.from_json(done.stdout, AgentInfo, where=remote.address)
    except InvalidRequest:
        return None


def _prove(remote: Remote, ready: Prepared, trial_s: int, progress: Progress) -> AgentInfo:
    """Wait for the new release to answer, and make it the one that stays."""
    where, wanted, facts = ready.where, ready.wanted, ready.facts
    begin = time.monotonic()
    limit_s = patience_s(trial_s, on_trial=ready.on_trial)
    progress("wait for the agent", 0, 0)
    while time.monotonic() - begin < limit_s:
        info = _ask_agent(remote, where, facts)
        if info is not None and info.release == wanted.id:
            if ready.on_trial:
                keep = [
                    plan.agent_command(where, wanted.python, wanted.id, step, wanted.id)
                    for step in ("activate", "settle")
                ]
                perform(remote, keep, facts, progress)
            return info
        if ready.on_trial and info is not None and _run(remote, plan.trial_pending(where), facts).status:
            break
        time.sleep(POLL_S)
    log = _run(remote, plan.log_tail(where), facts).stdout.decode(errors="replace").strip()
    last = " / ".join(log.splitlines()[-4:])[-800:] or "nothing in its log"
    if ready.on_trial:
        raise ActivationFailed(
            "the new release of the agent did not answer; the one before it runs on",
            where=remote.address,
            got=last,
            expected=f"an answer of {wanted.id} within {trial_s} s",
        )
    raise DeviceError(
        "the agent was installed and does not answer; what was installed is removed again",
        where=remote.address,
        got=last,
        expected=f"an answer within {limit_s} s",
    )


def patience_s(trial_s: int, *, on_trial: bool) -> int:
    """How long to wait for a release: a slow card compiles the agent when it starts for the first time."""
    return trial_s + MARGIN_S if on_trial else trial_s * FIRST_TRIALS


def _undo(remote: Remote, ready: Prepared, progress: Progress) -> None:
    """Leave a device as it was before an attempt that failed; the attempt's own error is what counts."""
    where, wanted, facts = ready.where, ready.wanted, ready.facts
    try:
        if ready.existing is None:
            made = tuple(folder for folder in where.parents if folder in facts.missing)
            fresh = Installation(where.service, where.root, "", (), made)
            # models that were there before, kept from an earlier installation, stay
            keep = where.state in facts.states
            perform(remote, plan.remove(where, fresh, keep_models=keep), facts, progress)
            return
        steps: list[Step] = [plan.tidy(where)]
        # a trial that is still under way is the launcher's to end: to settle it here would be to confirm it
        if ready.on_trial and _run(remote, plan.trial_pending(where), facts).status:
            before = ready.existing.current
            steps.append(plan.agent_command(where, wanted.python, before, "prune", wanted.id))
        perform(remote, steps, facts, progress)
    except EdgeError as e:
        progress(f"could not clean up: {e.what}", 0, 0)


def _outcome(
    remote: Remote,
    action: str,
    ready: Prepared,
    sent: int,
    info: AgentInfo | None,
    *,
    upgrade: bool = False,
) -> Outcome:
    before = ready.existing.current if ready.existing is not None else ""
    return Outcome(
        address=remote.address,
        action=action,
        release=ready.wanted.id,
        previous=before or None,
        service=ready.where.service,
        findings=ready.findings,
        steps=tuple(step.what for step in ready.steps),
        sent_bytes=sent,
        agent=info,
        outdated=drift.outdated(remote, ready.where) if upgrade else (),
        runtimes=ready.runtimes,
    )
