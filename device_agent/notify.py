"""Telling systemd that the agent is ready and alive; does nothing where systemd did not start it.

The protocol is sd_notify(3): datagrams of `KEY=value` lines to the socket that NOTIFY_SOCKET names.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from device_agent import log


@asynccontextmanager
async def reported() -> AsyncIterator[None]:
    """While in this context, the service is ready, and its watchdog is fed from the event loop itself."""
    # taken out of the environment: the agent's workers must not speak for it
    address = os.environ.pop("NOTIFY_SOCKET", "")
    interval_us = os.environ.pop("WATCHDOG_USEC", "")
    if not address:
        yield
        return
    _send(address, "READY=1")
    feeding = None
    if interval_us.isdecimal() and int(interval_us):
        feeding = asyncio.create_task(_feed(address, int(interval_us) / 2e6))
    try:
        yield
    finally:
        if feeding is not None:
            feeding.cancel()
            with suppress(asyncio.CancelledError):
                await feeding
        _send(address, "STOPPING=1")


async def _feed(address: str, interval_s: float) -> None:
    while True:
        _send(address, "WATCHDOG=1")
        await asyncio.sleep(interval_s)


def _send(address: str, message: str) -> None:
    name = "\0" + address[1:] if address.startswith("@") else address  # @: an abstract socket, unix(7)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(message.encode(), name)
    except OSError as e:  # systemd will draw its own conclusions; the agent goes on serving
        log.fault("systemd cannot be told", e, message=message)
