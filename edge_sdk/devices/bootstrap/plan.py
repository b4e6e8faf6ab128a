"""What is done on a device to install, upgrade or remove an agent: steps, decided before any is taken."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from attrs import field, frozen

from edge_sdk.devices.bootstrap import layout as layouts
from edge_sdk.devices.bootstrap import workers
from edge_sdk.devices.bootstrap.archive import Archive
from edge_sdk.devices.bootstrap.layout import UNIT, Layout
from edge_sdk.devices.bootstrap.probe import Facts, Installation, Python
from edge_sdk.devices.bootstrap.wheelhouse import Wheelhouse

KEPT = "kept"  # in a state folder that an uninstallation left: the service, and the folders that it had made
UNPACK_TIMEOUT_S = 1800.0  # compiling a runtime's modules on a slow card
COMMAND_TIMEOUT_S = 120.0
# writes stdin to a file whole: beside it, synced, renamed
_WRITE = (
    'umask 022; mkdir -p "$(dirname "$1")" && cat >"$1.part" && chmod "$2" "$1.part" && sync '
    '&& mv -f "$1.part" "$1"'
)


@frozen
class Run:
    """Run a command on the device.

    `user`: None is whoever is connected, otherwise root or the agent's own. `may_fail`: its failure is no
    reason to stop.
    """

    what: str
    command: tuple[str, ...]
    user: str | None = None
    stdin: bytes = field(default=b"", repr=False)
    may_fail: bool = False
    timeout_s: float = COMMAND_TIMEOUT_S


@frozen
class Copy:
    """Copy a file to the device: one on this machine's disk, or these bytes."""

    what: str
    source: Path | bytes = field(repr=False)
    destination: str
    mode: int = 0o600


Step = Run | Copy


@frozen
class Release:
    """What is to run on a device."""

    id: str
    archive: Archive
    wheelhouse: Wheelhouse
    python: str  # the interpreter on the device

    @property
    def description(self) -> bytes:
        """The release.json that `device_agent.releases` reads."""
        found = {
            "id": self.id,
            "archive": self.archive.sha256,
            "python": self.python,
            "wheels": self.wheelhouse.wheels,
            "packages": self.archive.packages,
        }
        return json.dumps(found, sort_keys=True).encode()


def release(archive: Archive, wheelhouse: Wheelhouse, python: Python) -> Release:
    """A release with an id that says its version and follows from everything in it."""
    parts = [archive.sha256, sorted(wheelhouse.wheels.items()), python.path, python.version]
    digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]
    return Release(f"{archive.version}-{digest}", archive, wheelhouse, python.path)


def deliver(wanted: Release, where: Layout) -> list[Step]:
    """Steps that make a release on the device, beside those that are there; none is started."""
    staging, root = where.staging, _root(where)
    add = ("release", "add", "--root", where.root, "--staging", staging)
    wheels = wanted.wheelhouse
    return [
        Run(
            "make a folder to copy to",
            ("sh", "-c", f'rm -rf "$1" && mkdir -p {_wheels("$1")}', "sh", staging),
        ),
        Copy("copy the agent", wanted.archive.data, f"{staging}/edge-agent.pyz"),
        *(Copy(f"copy {name}", wheels.folder / name, f"{staging}/wheels/{name}") for name in wheels.wheels),
        Copy("copy the release's description", wanted.description, f"{staging}/release.json"),
        Run("make the folder of the releases", ("mkdir", "-p", "-m", "755", where.root), root),
        Run(
            f"unpack release {wanted.id}",
            (wanted.python, "-I", f"{staging}/edge-agent.pyz", *add),
            root,
            timeout_s=UNPACK_TIMEOUT_S,
        ),
        tidy(where),
    ]


def _wheels(folder: str) -> str:
    return f'"{folder}/wheels" && chmod 700 "{folder}"'


def tidy(where: Layout) -> Run:
    """Remove what was copied."""
    return Run("remove what was copied", ("rm", "-rf", where.staging))


def set_up(where: Layout, facts: Facts, python: str) -> list[Step]:
    """Steps that write what upgrades never touch: launcher, unit or supervisor, the agent's user."""
    root = _root(where)
    steps: list[Step] = []
    if where.user is not None:
        make = (
            'id -u "$1" >/dev/null 2>&1 || useradd --system --user-group --no-create-home --home-dir "$2" '
            '--shell /usr/sbin/nologin "$1"'
        )
        steps.append(
            Run(f"make the user {where.user}", ("sh", "-c", make, "sh", where.user, where.state), root)
        )
    if where.service != "system":
        before = {folder for one in facts.kept for folder in one.made}
        new = (folder for folder in where.parents if folder in facts.missing | before)
        made = "".join(f"{folder}\n" for folder in new)
        # kept from the first time: later, they are there because of us
        keep = '[ -e "$1/made" ] || { mkdir -p "$1" && cat >"$1/made"; }'
        steps.append(
            Run("note which folders are new", ("sh", "-c", keep, "sh", where.root), stdin=made.encode())
        )
        steps.append(Run("take over what was kept", ("rm", "-f", f"{where.state}/{KEPT}")))
    steps.append(_write("write the launcher", where.launcher, layouts.launcher(where), "755", root))
    if where.unit is not None:
        steps.append(_write("write the unit", where.unit, layouts.unit(where, python), "644", root))
    for path, text in layouts.worker_units(where, python).items():
        steps.append(_write(f"write {path.rpartition('/')[2]}", path, text, "644", root))
    if where.supervise is not None:
        steps.append(_write("write the supervisor", where.supervise, layouts.supervisor(where), "755", root))
    steps.append(
        _write(
            "note how the agent is kept running", f"{where.root}/service", where.service + "\n", "644", root
        )
    )
    return steps


def reload(where: Layout) -> list[Step]:
    """Steps that let units count which were written anew: for workers to come, the agent keeps running."""
    if where.service == "plain":
        return []
    return [Run("let systemd read the unit", (*_systemctl(where), "daemon-reload"), _root(where))]


def start(where: Layout) -> list[Step]:
    """Steps that start the agent, now and, where there is systemd, at boot; restarted if it runs."""
    root = _root(where)
    if where.service == "plain":
        supervise = f"{where.root}/supervise"
        return [
            Run("end the agent that runs", (supervise, "stop")),
            Run("start the agent", (supervise, "start")),
        ]
    control = _systemctl(where)
    steps: list[Step] = [
        *reload(where),
        Run("start the agent at boot", (*control, "enable", UNIT), root),
        *(
            Run("let systemd start workers", (*control, "restart", workers.SOCKET), root)
            for _ in where.worker_units[:1]
        ),
        Run("start the agent", (*control, "restart", "--no-block", UNIT), root),
    ]
    if where.service == "user":
        linger = (
            'user=$(id -un); [ -e "/var/lib/systemd/linger/$user" ] || '
            '{ loginctl enable-linger "$user" && : >"$1/lingers"; }'
        )
        steps.append(Run("let it run without a login", ("sh", "-c", linger, "sh", where.root), may_fail=True))
    return steps


def agent_command(where: Layout, python: str, code: str, step: str, release_id: str, seconds: int = 0) -> Run:
    """A `release` command of an installed agent: try, activate, settle, prune.

    Args:
        where: the installation.
        python: runs it.
        code: the release whose code runs it: one that is known to work.
        step: the command.
        release_id: what it is done to.
        seconds: for `try`: how long the release may take to prove itself.
    """
    program = (python, "-I", f"{where.root}/releases/{code}/lib", "release", step)
    words = ("--root", where.root, "--state-dir", where.state, "--id", release_id, "--seconds", str(seconds))
    # the state folder belongs to the agent's own user, who may lay links there: root never writes to it
    user = where.user if step in ("try", "settle") else _root(where)
    return Run(f"{step} release {release_id}", (*program, *words), user)


def trial_pending(where: Layout) -> Run:
    """Asks whether a release is on trial still."""
    return Run("look for a trial", ("test", "-e", f"{where.state}/trial"), where.user, may_fail=True)


def log_tail(where: Layout) -> Run:
    """The last lines that the agent wrote."""
    if where.service == "plain":
        return Run("read the log", ("tail", "-n", "20", f"{where.state}/agent.log"), may_fail=True)
    journal = ("journalctl", *(() if where.service == "system" else ("--user",)), "-u", UNIT)
    return Run("read the log", (*journal, "-n", "20", "-o", "cat", "--no-pager"), _root(where), may_fail=True)


def remove(where: Layout, found: Installation, *, keep_models: bool) -> list[Step]:
    """Steps that remove an installation; with `keep_models`, all but the state folder and its user."""
    root = _root(where)
    steps: list[Step] = []
    if where.service == "plain":
        steps.append(
            Run("end the agent", ("sh", "-c", '[ ! -x "$1" ] || "$1" stop', "sh", f"{where.root}/supervise"))
        )
    else:
        control = _systemctl(where)
        steps += [
            Run("end the agent", (*control, "disable", "--now", UNIT), root, may_fail=True),
            *(
                Run(f"end {name}", (*control, "stop", name), root, may_fail=True)
                for name in (workers.STOPPED if where.worker_units else ())
            ),
            Run("remove the units", ("rm", "-f", where.unit or "", *where.worker_units), root),
            Run("let systemd forget the unit", (*control, "daemon-reload"), root),
            Run("forget its failures", (*control, "reset-failed", UNIT), root, may_fail=True),
        ]
    if where.service == "user":
        linger = '[ ! -e "$1/lingers" ] || loginctl disable-linger'
        steps.append(
            Run("end sessions without a login", ("sh", "-c", linger, "sh", where.root), may_fail=True)
        )
    folders = [where.root, *([] if keep_models else [where.state])]
    steps += [
        Run("remove the launcher", ("rm", "-f", where.launcher), root),
        *(Run(f"remove {folder}", ("rm", "-rf", folder), root) for folder in folders),
        tidy(where),
    ]
    if keep_models:
        steps.append(
            Run("remove the supervisor's traces", ("rm", "-f", f"{where.state}/supervisor.pid"), root)
        )
        if where.service != "system":
            note = "".join(f"{line}\n" for line in (where.service, *found.made))
            kept = f"{where.state}/{KEPT}"
            keep = ("sh", "-c", '[ ! -d "$(dirname "$1")" ] || cat >"$1"', "sh", kept)
            steps.append(Run("note what is kept", keep, stdin=note.encode()))
    elif where.user is not None:
        steps.append(Run(f"remove the user {where.user}", ("userdel", where.user), root, may_fail=True))
    return [*steps, *_remove_made(found)]


def forget(where: Layout, kept: Installation) -> list[Step]:
    """Steps that remove what an uninstallation that kept the models left."""
    root = _root(where)
    steps: list[Step] = [Run(f"remove {where.state}", ("rm", "-rf", where.state), root)]
    if where.user is not None:
        steps.append(Run(f"remove the user {where.user}", ("userdel", where.user), root, may_fail=True))
    return [*steps, *_remove_made(kept)]


def _remove_made(found: Installation) -> list[Step]:
    """Steps that remove the folders that installing made."""
    # not empty: somebody else uses it by now
    return [
        Run(f"remove {folder} if it is empty", ("rmdir", folder), may_fail=True)
        for folder in reversed(found.made)
    ]


def _write(what: str, path: str, text: str, mode: str, user: str | None) -> Run:
    return Run(what, ("sh", "-c", _WRITE, "sh", path, mode), user, stdin=text.encode())


def _root(where: Layout) -> str | None:
    return "root" if where.service == "system" else None


def _systemctl(where: Layout) -> tuple[str, ...]:
    return ("systemctl",) if where.service == "system" else ("systemctl", "--user")
