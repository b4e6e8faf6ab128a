"""Several devices at once, a bounded number at a time; the failure of one is its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from device_agent.errors import EdgeError
from edge_sdk.devices import selection
from edge_sdk.devices.ssh_keys import Passphrases

T = TypeVar("T")
AT_ONCE = 4  # each is mostly waiting, but a shared uplink is not made faster by more


def for_each(
    names: Sequence[str], work: Callable[[str], T], at_once: int = AT_ONCE
) -> dict[str, T | EdgeError]:
    """Do something for each device; what it gave, or the error it ended with, by the device's name.

    An exception that is none of ours, and Ctrl-C, end all of it: what has not begun is not begun.
    """
    pool = ThreadPoolExecutor(at_once, thread_name_prefix="device")

    def guarded(name: str) -> T | EdgeError:
        try:
            return work(name)
        except EdgeError as e:
            return e

    try:
        futures = {name: pool.submit(guarded, name) for name in names}
        found = {name: future.result() for name, future in futures.items()}
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()
    return found


def reachable(names: Sequence[str]) -> dict[str, EdgeError | None]:
    """For each device the error that keeps its agent from being reached; None where it answers."""
    ask = Passphrases()

    def reach(name: str) -> None:
        with selection.open_device(name, ask=ask):
            return

    return for_each(names, reach)
