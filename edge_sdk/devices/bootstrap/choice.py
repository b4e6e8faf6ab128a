"""Which of a board's runtimes a device gets: the preferred ones, those asked for, those that it has."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from device_agent.errors import InvalidRequest
from edge_sdk.devices.bootstrap.wheelhouse import DISTRIBUTIONS
from targets.schema import Target

# published for these machines only, each built for glibc; the others run wherever their board says
MACHINES = {"litert": ("aarch64", "x86_64"), "openvino": ("aarch64", "x86_64")}


def choose(target: Target, asked: Collection[str], before: Collection[str] = ()) -> tuple[str, ...]:
    """The runtimes to install, in the board's order.

    Args:
        target: the board; the first backend of each processor is the preferred runtime there.
        asked: for more of the board's runtimes.
        before: those that are installed; one that the board does not have any more is dropped.

    Raises:
        InvalidRequest: the board has no runtime that was asked for.
    """
    for name in asked:
        if name not in target.runtimes:
            raise InvalidRequest(
                "the board has no such runtime",
                where=target.name,
                got=repr(name),
                expected=" or ".join(target.runtimes),
                next_step=_published(name),
            )
    wanted = {*(processor.backends[0] for processor in target.processors), *asked, *before}
    return tuple(name for name in target.runtimes if name in wanted)


def _published(name: str) -> str | None:
    if name not in MACHINES:
        return None
    machines = " and ".join(MACHINES[name])
    return f"{name} is published for {machines} only: a 64-bit board with a 64-bit system may have it."


def among(wheels: Iterable[str]) -> tuple[str, ...]:
    """The runtimes among the wheels of a release, by their file names; sorted."""
    distributions = {wheel.partition("-")[0].replace("_", "-") for wheel in wheels}
    return tuple(sorted(name for name, one in DISTRIBUTIONS.items() if one in distributions))
