"""HTTP/1.1 over whatever stream a transport dials, and the lease that keeps an on-demand agent running."""

from __future__ import annotations

import http.client
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO, cast

from device_agent.errors import AgentUnreachable, EdgeError, ProtocolError, from_json
from edge_sdk.devices.transports.base import Stream

TIMEOUT_S = 30.0  # for an answer's next byte; the agent answers everything but events at once


class AgentConnection(http.client.HTTPConnection):
    """An HTTP connection whose stream comes from `dial`."""

    def __init__(self, dial: Callable[[], Stream], *, timeout_s: float = TIMEOUT_S) -> None:
        super().__init__("agent", timeout=timeout_s)
        self._dial = dial

    def connect(self) -> None:
        """Dial; called by `request` where there is no stream yet."""
        stream = self._dial()
        stream.settimeout(self.timeout)
        self.sock = stream  # http.client needs no more of a socket than a Stream has

    def pipelined(self) -> BinaryIO:
        """The file that answers come on, for a caller that sends without waiting for them."""
        if self.sock is None:
            self.connect()
        return cast(BinaryIO, self.sock.makefile("rb"))


class PipelinedResponse(http.client.HTTPResponse):
    """An answer that leaves the file it is read from open, for the next one."""

    def __init__(self, answers: BinaryIO) -> None:
        super().__init__(_Lent(answers))  # type: ignore[arg-type] # it only asks it for a file


class _Lent:
    """A file that who got it cannot close; what `HTTPResponse` asks of a socket and of a file."""

    def __init__(self, file: BinaryIO) -> None:
        self.readline = file.readline
        self.read = file.read

    def makefile(self, _mode: str) -> _Lent:
        return self

    def flush(self) -> None:
        """There is nothing to write; asked for from Python 3.13 on when an answer is collected."""

    def close(self) -> None:
        """Leave it open."""


@contextmanager
def mapped(where: str) -> Iterator[None]:
    """Errors of sockets and of HTTP as ours. `where` says what was being talked to."""
    try:
        yield
    except EdgeError:
        raise
    except TimeoutError as e:
        raise AgentUnreachable(
            "the agent did not answer in time",
            where=where,
            next_step="See its log with `edge agent logs`, or end it with `edge agent stop`.",
        ) from e
    except (OSError, http.client.IncompleteRead) as e:
        raise AgentUnreachable(
            "the connection to the agent broke",
            where=where,
            got=str(e) or type(e).__name__,
            next_step="Run the command again; `edge agent logs` shows what the agent last wrote.",
        ) from e
    except http.client.HTTPException as e:
        raise ProtocolError(
            "the agent's answer is not HTTP",
            where=where,
            got=repr(e)[:200],
            next_step="Something else answers there: look at the device's --agent-command, and at what that "
            "prints before it leads to the agent.",
        ) from e


def checked(response: http.client.HTTPResponse, where: str) -> http.client.HTTPResponse:
    """`response` itself if it is a success; raises the error that it holds otherwise."""
    if response.status < 400:
        return response
    body = response.read()
    try:
        error = from_json(body)
    except ProtocolError as e:
        raise ProtocolError(
            "the agent answered with an error that is not one of ours",
            where=where,
            got=f"HTTP {response.status} {body[:200]!r}",
            next_step="Agent and host may be of different versions: `edge agent stop`, then try again.",
        ) from e
    raise error


class Lease:
    """An open `GET /edge/v1/lease`: while it is held, an on-demand agent does not end.

    Raises:
        AgentUnreachable: nothing answers, or the agent is about to end.
    """

    def __init__(self, connection: AgentConnection, where: str) -> None:
        self._connection = connection
        try:
            with mapped(where):
                self._connection.request("GET", "/edge/v1/lease")
                self._response = checked(self._connection.getresponse(), where)
        except EdgeError:
            self._connection.close()
            raise

    def release(self) -> None:
        """Give it up; the agent sees the stream end."""
        self._response.close()
        self._connection.close()
