"""A model as OpenVINO holds it: in a child process, under the names, shapes and layouts of the `Model`."""

from __future__ import annotations

import json
import tempfile
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import define, field, frozen

from converters.openvino import roads
from converters.openvino.roads import Road
from converters.readers import child
from converters.readers.child import Child
from device_agent.errors import UnsupportedOperator

if TYPE_CHECKING:
    from converters.model import Model
    from converters.progress import Progress

OPEN_SECONDS = 900.0  # as PyTorch's export has
SAVE_SECONDS = 300.0
MODULE = "converters.openvino.child"
_READING = "reading for OpenVINO"
_KEPT = 1  # of models: planning, converting and quantising the same one opens it once


@frozen
class Files:
    """An IR: the operators in XML, and the constants."""

    xml: bytes = field(repr=False)
    weights: bytes = field(repr=False)


@frozen
class OpenOperator:
    """An operator of the opened model, in execution order.

    `name` is its own in the IR, `inputs` are the names of the operators that it reads, constants left out.
    `macs` are its multiply-accumulates (an open size counts as 1), `tensors` the names that its outputs have
    in the source's file, `floats` says whether it reads or gives floating point.
    """

    name: str
    type: str
    macs: int
    inputs: tuple[str, ...]
    tensors: tuple[str, ...] = ()
    floats: bool = True


@define(eq=False)
class OpenModel:
    """A model in a child process, which ends with `close` or the last reference to this.

    `process` keeps the model in floating point, as the requests of `converters.openvino.child` expect it.
    `road` is how it came there, `refused` what OpenVINO said to the roads before. `unsupported` are the names
    of operators that OpenVINO reads and cannot run on a CPU. `translated` says by a tensor's name in the
    source which types of operators were made of the one that gives it, of those that are left.
    """

    process: Child
    where: str
    road: Road
    refused: tuple[tuple[Road, str], ...]
    operators: tuple[OpenOperator, ...]
    unsupported: tuple[str, ...]
    translated: dict[str, tuple[str, ...]]
    version: str

    def save(self, *, fp16: bool) -> Files:
        """The IR; with `fp16` its float weights are stored in half precision.

        Raises:
            InvalidModel: OpenVINO cannot write it, or the process died.
        """
        with tempfile.TemporaryDirectory(prefix="edge-") as folder:
            self.ask({"kind": "save", "folder": folder, "fp16": fp16})
            return files_in(Path(folder))

    def ask(self, head: dict[str, object], payload: bytes = b"", *, seconds: float = SAVE_SECONDS) -> bytes:
        """The payload of the child's answer; raises what `Child.ask` raises."""
        return self.process.ask(head, payload, where=self.where, seconds=seconds).payload

    def close(self) -> None:
        """End the process."""
        self.process.close()


def files_in(folder: Path) -> Files:
    """The IR that a child wrote into a folder as `model.xml` and `model.bin`."""
    return Files((folder / "model.xml").read_bytes(), (folder / "model.bin").read_bytes())


@frozen
class Refusal:
    """OpenVINO takes a model on none of its roads; `roads` holds what it said to each."""

    roads: tuple[tuple[Road, str], ...]


def open_model(model: Model, progress: Progress) -> OpenModel:
    """The source of a model as OpenVINO's, in a process of its own; raises what `taken` and `reach` raise."""
    return taken(model, reach(model, progress))


def taken(model: Model, found: OpenModel | Refusal) -> OpenModel:
    """What was opened; UnsupportedOperator where OpenVINO refused it."""
    if isinstance(found, OpenModel):
        return found
    from converters.openvino.verdicts import condensed

    raise UnsupportedOperator(
        "OpenVINO cannot convert the model",
        where=str(model.path),
        got="; ".join(dict.fromkeys(condensed(message) for _, message in found.roads))
        or "no road for this format",
        next_step="`edge plan` shows each operator.",
    )


def reach(model: Model, progress: Progress) -> OpenModel | Refusal:
    """Try every road to a model as OpenVINO's, in a process of its own.

    Args:
        model: from a reader.
        progress: told of reading.

    Raises:
        InvalidModel: the process died over it.
        MissingDependency: openvino is not installed.
    """
    child.require("openvino", extra="openvino")
    progress(_READING, 0, 1)
    where = str(model.path)
    process = Child(MODULE, "OpenVINO")
    said: list[tuple[Road, str]] = []
    try:
        with child.at(model.path), tempfile.TemporaryDirectory(prefix="edge-") as folder:
            for road in roads.of(model, Path(folder)):
                answer = process.ask(
                    road.request(model), child.pack(road.bound), where=where, seconds=OPEN_SECONDS
                )
                if answer.kind == "opened":
                    progress(_READING, 1, 1)
                    listed, head = json.loads(answer.payload), answer.head
                    return OpenModel(
                        process,
                        where,
                        road,
                        tuple(said),
                        operators_in(listed["operators"]),
                        tuple(head["unsupported"]),
                        {name: tuple(kinds) for name, kinds in listed["translated"].items()},
                        str(head["version"]),
                    )
                said.append((road, str(answer.head["message"])))
    except BaseException:
        process.close()
        raise
    process.close()
    return Refusal(tuple(said))


def operators_in(entries: Iterable[list[object]]) -> tuple[OpenOperator, ...]:
    """The operators that a child listed, see `listing.entries`."""
    return tuple(_operator(entry) for entry in entries)


def _operator(entry: list[object]) -> OpenOperator:
    name, kind, macs, inputs, tensors, floats = entry
    return OpenOperator(
        str(name),
        str(kind),
        int(macs),  # type: ignore[call-overload]  # as `listing.entries` wrote it
        tuple(inputs),  # type: ignore[arg-type]
        tuple(tensors),  # type: ignore[arg-type]
        bool(floats),
    )


_cache: OrderedDict[tuple[object, ...], OpenModel] = OrderedDict()


def shared(model: Model, progress: Progress) -> OpenModel | Refusal:
    """`reach`, once for a model that is asked for again; the process ends when another one was opened.

    What is shared must not be closed, and its model in the child not be changed.
    """
    key = _key(model)
    found = _cache.pop(key, None)
    if found is None or not found.process.running:
        reached = reach(model, progress)
        if isinstance(reached, Refusal):
            return reached
        found = reached
    else:
        progress(_READING, 1, 1)
    _cache[key] = found
    while len(_cache) > _KEPT:
        _cache.popitem(last=False)  # ends with its last reference: an engine may still use it
    return found


def forget() -> None:
    """End the processes that are kept."""
    while _cache:
        _cache.popitem()[1].close()


def _key(model: Model) -> tuple[object, ...]:
    from converters.binding import described

    shaping = model.shaping
    return (
        model.sha256,
        model.format,
        tuple((spec.name, spec.dtype, spec.shape) for spec in (*model.inputs, *model.outputs)),
        tuple(sorted((name, described(value)) for name, value in shaping.bind.items())),
        shaping.layout,
        model.dynamic,
    )
