"""The power goes at every moment of an upgrade of the agent itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from attrs import frozen

from device_agent import releases
from tests.device_agent.campaigns.power import Wrong
from tests.device_agent.campaigns.recording import Op, Recording, recorded
from tests.device_agent.campaigns.releases import FILES, NEW, OLD, staging
from tests.device_agent.campaigns.scenarios import Stock

_ADD, _TRY, _ACTIVATE, _SETTLE = range(1, 5)


@frozen
class Step:
    """A step has begun, or ended. 0: the first release is installed."""

    number: int
    ended: bool


def session(folder: Path, stock: Stock) -> Recording:
    """A release is installed, a second one added, tried, made current and settled, a third pruned."""
    files = folder.with_name("upgrade-files")
    old, new, third = (staging(files / name, name) for name in (OLD, NEW, "1-c"))
    root, state = folder / "root", folder / "state"
    steps: list[Callable[[], object]] = [
        lambda: releases.add(root, new),
        lambda: releases.try_out(root, state, NEW, 60),
        lambda: releases.activate(root, NEW),
        lambda: releases.settle(state),
        lambda: releases.add(root, third),
        lambda: releases.prune(root),
    ]
    with recorded(folder) as recording:
        for made in (root, state, root / "releases"):
            made.mkdir()
        (state / "trial.begun").touch()  # of an earlier attempt
        recording.add(Op("sync", ""))  # the installer's, which is not examined here
        releases.add(root, old)
        releases.activate(root, OLD)
        recording.mark(Step(0, ended=True))
        for number, step in enumerate(steps, _ADD):
            recording.mark(Step(number, ended=False))
            step()
            recording.mark(Step(number, ended=True))
    return recording


def check(folder: Path, stock: Stock, promised: list[object]) -> None:
    """Find a whole release current, the right one, and be able to upgrade.

    Raises:
        Wrong: says what.
    """
    root, state = folder / "root", folder / "state"
    last = promised[-1] if promised else None
    if not isinstance(last, Step):
        return
    changing = last.number == _ACTIVATE and not last.ended
    allowed = {OLD, NEW} if changing else {OLD} if last.number < _ACTIVATE else {NEW}
    current = (root / "current").readlink().name
    if current not in allowed:
        raise Wrong(f"release {current} is current, promised was {allowed}")
    _whole(root, current)
    if last.ended and last.number >= _ADD:
        _whole(root, NEW)
    if last == Step(_TRY, ended=True) or last.number == _ACTIVATE:
        if not (state / "trial").is_file() or (state / "trial").read_text() != f"{NEW} 60\n":
            raise Wrong("the trial is not what was promised")
        if (state / "trial.begun").exists():
            raise Wrong("the trial counts as begun already")
    if (last.number > _SETTLE or last == Step(_SETTLE, ended=True)) and (state / "trial").exists():
        raise Wrong("there is a trial again after it was settled")
    new = folder.with_name("upgrade-files") / NEW
    releases.add(root, new)
    releases.try_out(root, state, NEW, 60)
    releases.activate(root, NEW)
    releases.settle(state)
    _whole(root, NEW)


def _whole(root: Path, release: str) -> None:
    folder = root / "releases" / release
    found = {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*.py")}
    if found != FILES:
        raise Wrong(f"release {release} is not whole: {sorted(found)}")
    if list(folder.rglob("*.pyc")) and not all(path.stat().st_size for path in folder.rglob("*.pyc")):
        raise Wrong(f"release {release} has an empty module")
