"""The way between the agent and one worker's keeper: made, let go of, and what is told at its end."""

from __future__ import annotations

import asyncio
import os
import select
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType

import device_agent
from device_agent import codec, compiled, log
from device_agent.bundle import MAX_FILES
from device_agent.errors import EdgeError, InvalidRequest, WorkerFailed
from device_agent.isolation import Isolation
from device_agent.keeper import POLLRDHUP, Ending, Order

STDERR_TAIL_BYTES = 4000
CLOSE_DEADLINE_S = 3.0  # for a keeper to end its worker and say how that was
CONNECT_TIMEOUT_S = 5.0
_STREAM_LIMIT_BYTES = 1 << 20
_STDERR_PIECE_BYTES = 1 << 16
_STDERR_PAUSE_S = 0.02  # after each piece: a worker that floods its stderr must wait, not the agent


class Link:
    """Frames to and from a worker, the end of its stderr, and its keeper's last word. Made by `make`."""

    def __init__(
        self,
        frames: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        control: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        stderr: asyncio.StreamReader,
        process: asyncio.subprocess.Process | None,
    ) -> None:
        self.reader, self.writer = frames
        self.over = False  # nothing more can be asked of the worker
        self._control, self._hold = control
        self._process = process
        self._stderr = bytearray()
        self._stderr_from = stderr
        self._draining = asyncio.create_task(self._drain())
        self._ending = asyncio.create_task(self._wait())

    @classmethod
    async def make(
        cls,
        label: str,
        model: Path,
        isolation: Isolation,
        parts: Mapping[str, Path] = MappingProxyType({}),
        cache: Path | None = None,
    ) -> Link:
        """Have a worker made that may read this model's files and nothing else of ours.

        It may write to the cache, where there is one and room for it.

        Raises:
            WorkerFailed: it cannot be made, or a file cannot be opened.
        """
        if len(parts) > MAX_FILES:
            raise WorkerFailed(
                "a model has too many files", where=label, got=str(len(parts)), expected=f"<= {MAX_FILES}"
            )
        cache_bytes = None
        if cache is not None:  # in a thread: a medium may hang
            cache_bytes = await asyncio.to_thread(_prepare, label, cache, (model, *parts.values()))
        ours, theirs = socket.socketpair()
        errors_from, errors_to = os.pipe()
        files = [theirs.fileno(), errors_to]
        control: socket.socket | None = None
        try:
            for path in (model, *parts.values()):
                files.append(os.open(path, os.O_RDONLY | os.O_CLOEXEC))  # noqa: PERF401 - to close them on an error
            if cache_bytes is not None and cache is not None:
                files.append(os.open(cache, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW))
            process = None
            if isolation.unit_socket is not None:
                control = await asyncio.to_thread(_connect, isolation.unit_socket)
            else:
                control, process = await _spawn(errors_to)
            order = Order(
                isolation.limits,
                isolation.unit_socket is not None,
                isolation.hide,
                tuple(parts),
                cache_bytes,
            )
            socket.send_fds(control, [codec.dumps(order).encode() + b"\n"], files)
        except OSError as e:
            ours.close()
            os.close(errors_from)
            if control is not None:
                control.close()
            raise WorkerFailed("cannot start a worker", where=label, got=str(e)) from e
        finally:
            theirs.close()
            for file in files[1:]:
                os.close(file)
        return cls(
            await asyncio.open_unix_connection(sock=ours, limit=_STREAM_LIMIT_BYTES),
            await asyncio.open_unix_connection(sock=control),
            await _pipe_reader(errors_from),
            process,
        )

    @property
    def hung_up(self) -> bool:
        """Whether the worker has ended, as the kernel knows it: this process may not have been told yet."""
        if self.over or self.reader.at_eof() or self.writer.transport.is_closing():
            return True
        poll = select.poll()
        poll.register(self.writer.get_extra_info("socket").fileno(), POLLRDHUP | select.POLLHUP)
        return bool(poll.poll(0))

    def let_go(self) -> None:
        """Have the worker ended by its keeper; whoever reads from it sees the end at once."""
        self.over = True
        self.writer.transport.abort()
        with suppress(OSError):  # the keeper has gone already
            if self._hold.can_write_eof() and not self._hold.transport.is_closing():
                self._hold.write_eof()

    async def close(self) -> Ending | None:
        """Let go if that has not been done, and wait for the end of everything.

        Returns:
            How the worker ended; None where its keeper could not say.
        """
        if not self._ending.done() and not self.over:
            self.let_go()
        return await self.ended()

    async def ended(self) -> Ending | None:
        """How the worker ended; its keeper is ended by force if it does not say so in time."""
        done, _ = await asyncio.wait({self._ending}, timeout=CLOSE_DEADLINE_S)
        if not done:
            self.let_go()
            done, _ = await asyncio.wait({self._ending}, timeout=CLOSE_DEADLINE_S)
        if not done and self._process is not None:
            with suppress(ProcessLookupError):
                self._process.kill()
        self._hold.close()
        self.writer.close()
        if self._process is not None:
            await self._process.wait()
        ending = await self._ending
        # whoever of its processes is left may hold its stderr open
        await asyncio.wait({self._draining}, timeout=CLOSE_DEADLINE_S)
        self._draining.cancel()
        return ending

    def said(self) -> str:
        """The end of what the worker wrote to stderr."""
        return bytes(self._stderr).decode(errors="replace").strip()

    async def _wait(self) -> Ending | None:
        try:
            line = await self._control.read()
            return codec.from_json(line, Ending, where="the keeper") if line else None
        except (OSError, InvalidRequest, RecursionError):
            return None
        finally:
            self.over = True

    async def _drain(self) -> None:
        while chunk := await self._stderr_from.read(_STDERR_PIECE_BYTES):
            self._stderr += chunk
            del self._stderr[:-STDERR_TAIL_BYTES]
            if len(chunk) == _STDERR_PIECE_BYTES:
                await asyncio.sleep(_STDERR_PAUSE_S)


def _prepare(label: str, cache: Path, model: Sequence[Path]) -> int | None:
    """To how many bytes a model's cache may come; None where there can be none: a model works without."""
    try:
        found = compiled.prepare(cache, sum(file.stat().st_size for file in model))
    except (EdgeError, OSError) as e:
        log.warning("no cache", model=label, reason=str(e))
        return None
    if found is None:
        log.warning("no cache", model=label, reason="there is no room for it")
    return found


def _connect(path: Path) -> socket.socket:
    """Have systemd start a worker's unit; its launcher first reads which release it is to be of."""
    control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        control.settimeout(CONNECT_TIMEOUT_S)
        control.connect(os.fsencode(path))
        control.sendall(os.environ.get("EDGE_AGENT_RELEASE", "").encode() + b"\n")
    except OSError:
        control.close()
        raise
    return control


async def _spawn(stderr: int) -> tuple[socket.socket, asyncio.subprocess.Process]:
    # where this very package is (a folder, or the agent's archive) goes before all else
    search = [str(Path(device_agent.__file__).parent.parent), os.environ.get("PYTHONPATH", "")]
    ours, theirs = socket.socketpair()
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "device_agent.keeper"),
            stdin=theirs.fileno(),
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            # `-m` puts the working folder first on Python's path: never one that holds a model's files
            cwd="/",
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, search))},
            start_new_session=True,
        )
    except OSError:
        ours.close()
        raise
    finally:
        theirs.close()
    return ours, process


async def _pipe_reader(file: int) -> asyncio.StreamReader:
    reader = asyncio.StreamReader(limit=_STDERR_PIECE_BYTES)
    protocol = asyncio.StreamReaderProtocol(reader)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, os.fdopen(file, "rb", 0))
    return reader
