"""The registry of lowerings, and what one is given: a `Node` with its attributes read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

if TYPE_CHECKING:
    import onnx

    from converters.lowering.context import Context

    Lowering = Callable[[Context, "Node"], None]

FLOAT = ("float32",)
NUMBERS = ("float32", "int32", "int64")
SMALL = {"int8": "int32", "uint8": "int32", "int16": "int32"}  # exact in int32, and wraps around alike
CARRIED = ("float32", "int32", "int64", "bool", "int8", "uint8", "int16")


class Refused(Exception):
    """A lowering's way to say no; the driver makes a `Verdict` of it."""

    def __init__(
        self,
        reason: str,
        *,
        got: object = None,
        limit: object = None,
        help: str | None = None,  # noqa: A002 - the name it has in a Verdict
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.got = None if got is None else str(got)
        self.limit = None if limit is None else str(limit)
        self.help = help


@frozen
class Node:
    """An ONNX node: its inputs and outputs with None for absent ones, its attributes as Python values."""

    index: int
    type: str
    name: str
    inputs: tuple[str | None, ...]
    outputs: tuple[str | None, ...]
    opset: int  # the version of the operator set the node's type comes from
    attributes: dict[str, Any] = field(factory=dict)

    def input(self, place: int) -> str:
        """The name of an input that must be there."""
        name = self.optional(place)
        if name is None:
            raise Refused(f"its input {place} is missing")
        return name

    def optional(self, place: int) -> str | None:
        """The name of an input, None where it is absent."""
        return self.inputs[place] if place < len(self.inputs) else None

    def output(self) -> str:
        """The name of its first output.

        Raises:
            Refused: another output is used too, or the first one is absent.
        """
        more = [name for name in self.outputs[1:] if name is not None]
        if more:
            raise Refused("only its first output can be computed", got=f"{more[0]!r} is used too", limit=1)
        if not self.outputs or self.outputs[0] is None:
            raise Refused("it has no output")
        return self.outputs[0]

    def integer(self, name: str, default: int) -> int:
        """An integer attribute."""
        return int(self.attributes.get(name, default))

    def number(self, name: str, default: float) -> float:
        """A float attribute."""
        return float(self.attributes.get(name, default))

    def text(self, name: str, default: str) -> str:
        """A string attribute."""
        value = self.attributes.get(name, default)
        return value.decode(errors="replace") if isinstance(value, bytes) else str(value)

    def integers(self, name: str) -> tuple[int, ...] | None:
        """A list of integers, None where the attribute is absent."""
        value = self.attributes.get(name)
        return None if value is None else tuple(int(item) for item in value)


@frozen
class Entry:
    """A registered lowering and the dtypes its first input may have; `through`: see `widening`."""

    function: Lowering
    dtypes: tuple[str, ...]
    through: Mapping[str, str] = field(factory=dict)


_ENTRIES: dict[str, Entry] = {}


def lowers(
    *types: str, dtypes: tuple[str, ...] = FLOAT, through: Mapping[str, str] | None = None
) -> Callable[[Lowering], Lowering]:
    """Register a function as the lowering of these ONNX operators.

    Args:
        dtypes: what their first input may be.
        through: dtypes that are computed in another one, with a CAST before and after.
    """

    def register(function: Lowering) -> Lowering:
        for name in types:
            if name in _ENTRIES:
                raise ValueError(f"{name} is lowered twice")
            _ENTRIES[name] = Entry(function, dtypes, through or {})
        return function

    return register


def entry(operator: str) -> Entry | None:
    """The lowering of an ONNX operator of the standard domain, None if there is none."""
    return _ENTRIES.get(operator)


def known() -> tuple[str, ...]:
    """The ONNX operators that can be lowered, by name."""
    return tuple(sorted(_ENTRIES))


def read_node(index: int, proto: onnx.NodeProto, opset: int) -> Node:
    """A node with its attributes read."""
    from onnx import helper

    return Node(
        index,
        proto.op_type,
        proto.name or f"{proto.op_type}_{index}",
        tuple(name or None for name in proto.input),
        tuple(name or None for name in proto.output),
        opset,
        {attribute.name: helper.get_attribute_value(attribute) for attribute in proto.attribute},
    )
