"""The steps of an upgrade of the agent itself, and what the launcher makes of what is left of one."""

from __future__ import annotations

import hashlib
import json
import subprocess
import zipfile
from pathlib import Path

from device_agent import releases
from tests.device_agent.campaigns.scenarios import copy
from tests.device_agent.harness import ROOT

STEPS = ("release add", "release try", "release activate", "release settle", "release prune")
OLD, NEW = "1-a", "1-b"
_LAUNCHER = ROOT / "edge_sdk/devices/bootstrap/scripts/launcher.sh"
_PROGRAM = "import os, pathlib, sys; sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / 'site'))\n"
_PROGRAM += "import toy; print(os.environ['EDGE_AGENT_RELEASE'])\n"
FILES = {
    "lib/__main__.py": _PROGRAM,
    "lib/part/__init__.py": "x = 1\n",
    "site/toy/__init__.py": "x = 2\n",
    "site/toy/more.py": "x = 3\n",
}


def _zip(path: Path, entries: dict[str, str]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as file:
        for name, text in entries.items():
            file.writestr(name, text)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def staging(folder: Path, release: str) -> Path:
    """What a host copies for a release: the archive and a wheel."""
    wheel = "toy-1-py3-none-any.whl"
    lib, site = (
        {name.removeprefix(f"{part}/"): text for name, text in FILES.items() if name.startswith(part)}
        for part in ("lib", "site")
    )
    fields = {
        "id": release,
        "archive": _zip(folder / "edge-agent.pyz", lib),
        "wheels": {wheel: _zip(folder / "wheels" / wheel, site)},
    }
    (folder / releases.DESCRIPTION).write_text(json.dumps(fields))
    return folder


def prepare(part: str, folder: Path) -> None:
    """The template that a step begins with: every step before it has been done."""
    root, state = folder / "template/root", folder / "template/state"
    root.mkdir(parents=True)
    state.mkdir()
    releases.add(root, staging(folder / "old", OLD))
    releases.activate(root, OLD)
    steps = STEPS.index(part)
    new = staging(folder / "new", NEW)
    if steps > 0:
        releases.add(root, new)
    if steps > 1:
        releases.try_out(root, state, NEW, 60)
        (state / "trial.begun").touch()  # the launcher has started it
    if steps > 2:
        releases.activate(root, NEW)
    if steps > 3:
        releases.settle(state)
        releases.add(root, staging(folder / "third", "1-c"))  # what `prune` is there for


class Case:
    """A step in a copy of its template."""

    def __init__(self, part: str, folder: Path) -> None:
        self._step = STEPS.index(part)
        self._new = folder / "new"
        self.folder = copy(folder / "template", folder / "case")
        self._root, self._state = self.folder / "root", self.folder / "state"
        self.arguments = [
            "release",
            part.split()[1],
            "--root",
            str(self._root),
            "--state-dir",
            str(self._state),
        ]
        self.arguments += ["--staging", str(self._new), "--id", NEW]

    def examine(self, *, acknowledged: bool) -> None:
        """Whether the launcher starts a whole release, the right one, and the upgrade can be done again."""
        allowed = {OLD} if self._step < 2 else {NEW} if self._step > 2 or acknowledged else {OLD, NEW}
        if acknowledged and self._step == 1:
            _expect("1-b 60\n", (self._state / "trial").read_text(), "the trial that was begun")
        if acknowledged and self._step > 2:
            _expect(False, (self._state / "trial").exists(), "a trial after it was settled")
        found = self._launch("status")
        if found not in allowed:
            raise AssertionError(f"release {found} is current, expected one of {sorted(allowed)}")
        _expect(found, self._launch("serve"), "what serves in the end")
        releases.add(self._root, self._new)
        releases.try_out(self._root, self._state, NEW, 60)
        releases.activate(self._root, NEW)
        releases.settle(self._state)
        _expect([], list(self._state.iterdir()), "what is left of the trial")
        _expect(NEW, self._launch("serve"), "what serves after another upgrade")
        release = self._root / "releases" / NEW
        _expect(
            set(FILES),
            {str(path.relative_to(release)) for path in release.rglob("*.py")},
            "the release's files",
        )

    def _launch(self, command: str) -> str:
        """The release that the launcher starts last."""
        script = self.folder.with_name("launcher")
        head = f"#!/bin/sh\nroot={self._root}\nstate={self._state}\nuser=\nsupervise=\n"
        script.write_text(head + _LAUNCHER.read_text())
        done = subprocess.run(
            ["sh", script, command], check=False, capture_output=True, text=True, timeout=60
        )
        lines = done.stdout.split()
        if done.returncode or not lines:
            raise AssertionError(
                f"the launcher's {command} ended with {done.returncode}: {done.stderr[-300:]}"
            )
        return lines[-1]


def _expect(expected: object, found: object, what: str) -> None:
    if expected != found:
        raise AssertionError(f"{what}: {found}, expected {expected}")
