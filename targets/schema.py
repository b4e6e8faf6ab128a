"""What a board is: `Target`, `Processor`, and board files read with the offending key in the error."""

from __future__ import annotations

import difflib
import tomllib
from functools import cache
from importlib import resources
from pathlib import Path

from attrs import frozen

from device_agent import codec
from device_agent.errors import FileMissing, InvalidRequest, InvalidTarget, UnknownTarget

# what a processor may compute in. The precisions of models follow from it (converters.partition.precisions):
# one with int8 and float32 is taken to have the kernels of all of them, 16 bits included, as a CPU's runtime
# does; an NPU that has no float is only int8, and int16x8 where it names int16.
DTYPES = ("int8", "int16", "float16", "float32")


@frozen
class Processor:
    """One processor of a board, and the backends that compile for it, the preferred one first."""

    name: str  # cpu, gpu, npu
    kind: str  # what it is, for people: "4x Cortex-A72 1.5 GHz"
    backends: tuple[str, ...]  # names of converter backends: litert, openvino, null
    dtypes: tuple[str, ...]  # what it computes in, of DTYPES and best first


@frozen
class Target:
    """A board: architecture, memory, processors in order of preference, and the runtimes it can have."""

    name: str
    title: str
    architecture: str  # x86_64, aarch64, armv7l, or "host": the machine the SDK runs on
    ram_bytes: int | None  # None: read from the machine
    runtimes: dict[str, str]  # runtime -> the least version supported
    processors: tuple[Processor, ...]
    source: str  # where the figures come from
    flash_bytes: int | None = None  # what models may take of it; None: enough


def load_target(name: str) -> Target:
    """The board of that name, or of that file where `name` is a path to a .toml.

    Raises:
        UnknownTarget: no board of that name; near names are offered.
        InvalidTarget: the file has an unknown or missing key, or a value of the wrong type.
        FileMissing: `name` is a path and there is no such file.
    """
    if name.endswith(".toml") or "/" in name:
        path = Path(name)
        if not path.is_file():
            raise FileMissing("no such board file", where=name)
        return _parse(path.read_text(), where=name, name=path.stem)
    boards = board_names()
    if name not in boards:
        near = difflib.get_close_matches(name, boards, n=3, cutoff=0.4)
        hint = f"Did you mean {' or '.join(near)}? " if near else ""
        raise UnknownTarget(
            "unknown target",
            got=repr(name),
            next_step=f"{hint}`edge targets list` shows all {len(boards)}; a board file goes by its path.",
        )
    return _read_builtin(name)


def board_names() -> tuple[str, ...]:
    """The names of the boards that ship with the SDK, sorted."""
    folder = resources.files("targets") / "boards"
    return tuple(sorted(item.name[:-5] for item in folder.iterdir() if item.name.endswith(".toml")))


@cache
def _read_builtin(name: str) -> Target:
    text = (resources.files("targets") / "boards" / f"{name}.toml").read_text()
    return _parse(text, where=f"targets/boards/{name}.toml", name=name)


def _parse(text: str, *, where: str, name: str) -> Target:
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as e:
        raise InvalidTarget("not valid TOML", where=where, got=str(e)) from e
    known = {"title", "architecture", "flash_bytes", "ram_bytes", "runtimes", "processors", "source"}
    for key in data.keys() - known:
        near = difflib.get_close_matches(key, known, n=1)
        raise InvalidTarget(
            "unknown key", where=where, got=repr(key), expected=" or ".join(near) or ", ".join(sorted(known))
        )
    data = {"ram_bytes": None, **data, "name": name}
    try:
        target = codec.from_json(data, Target, where=where, exact=True)
    except InvalidRequest as e:
        raise InvalidTarget(e.what, where=where, got=e.got) from e
    if not target.processors:
        raise InvalidTarget("a board needs at least one processor", where=where, got="processors = []")
    unknown = [dtype for p in target.processors for dtype in p.dtypes if dtype not in DTYPES]
    if unknown:
        raise InvalidTarget(
            "a processor computes in an unknown dtype",
            where=where,
            got=f"dtypes = [{unknown[0]!r}]",
            expected=" or ".join(DTYPES),
        )
    missing = [name for p in target.processors for name in p.backends if name not in target.runtimes]
    if missing:
        raise InvalidTarget(
            "a processor's backend has no runtime on this board",
            where=where,
            got=missing[0],
            expected=f"one of [runtimes]: {', '.join(target.runtimes)}",
        )
    return target
