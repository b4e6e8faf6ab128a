"""What a model consists of: its operators, their names and costs. Runs in the child."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from attrs import frozen

NO_OPERATORS = frozenset({"Parameter", "Result", "Constant"})
# they stand around what computes; told of only where nothing else is left
_CARRYING = frozenset({"Transpose", "Convert", "FakeQuantize", "Reshape", "Unsqueeze", "Squeeze"})
_FUSED = "fused_names_0"
Entry = tuple[str, str, int, list[str], list[str], bool]  # as `opened.OpenOperator`


@frozen
class Translated:
    """What a frontend made of one source operator: nodes by friendly name and type, the last one first."""

    tensors: tuple[str, ...]  # their names in the source's file
    nodes: tuple[tuple[str, str], ...]


def translated(model: Any) -> list[Translated]:
    """What the frontend made of each source operator whose results it kept the names of."""
    found = []
    for node in model.get_ordered_ops():
        names = [name for port in node.outputs() for name in sorted(port.get_names())]
        if names and node.get_type_name() not in NO_OPERATORS:
            found.append(Translated(tuple(names), tuple(_own(node))))
    return found


def _own(node: Any) -> Iterator[tuple[str, str]]:
    """A node and those before it without a name in the source: they stand for the same operator."""
    waiting, seen = [node], {node.get_name()}
    while waiting:
        one = waiting.pop(0)
        yield one.get_friendly_name(), one.get_type_name()
        for port in one.inputs():
            source = port.get_source_output()
            other = source.get_node()
            named = other.get_type_name() in NO_OPERATORS or source.get_names()
            if not named and other.get_name() not in seen:
                seen.add(other.get_name())
                waiting.append(other)


def left(model: Any, made: Sequence[Translated]) -> dict[str, list[str]]:
    """By the tensors' names: the types of what was made of each source operator that is still there."""
    there: set[str] = set()
    types = {node.get_type_name() for node in model.get_ops()}
    for node in model.get_ops():
        there.add(node.get_friendly_name())
        info = node.get_rt_info()
        if _FUSED in info:
            there.update(str(info[_FUSED].astype(str)).split(","))
    found = {}
    for one in made:
        kinds = [kind for name, kind in reversed(one.nodes) if name in there and kind in types]
        computing = [kind for kind in kinds if kind not in _CARRYING] or kinds
        for name in one.tensors:
            found[name] = list(dict.fromkeys(computing))
    return found


def entries(model: Any, made: Sequence[Translated]) -> list[Entry]:
    """The operators in execution order, without constants and ends."""
    tensors = {one.nodes[0][0]: one.tensors for one in made}
    name_stably(model)
    found: list[Entry] = []
    for node in model.get_ordered_ops():
        if node.get_type_name() in NO_OPERATORS:
            continue
        read = [port.get_source_output().get_node() for port in node.inputs()]
        name = node.get_friendly_name()
        now = [label for port in node.outputs() for label in port.get_names()]
        found.append(
            (
                name,
                node.get_type_name(),
                macs_of(node),
                [other.get_friendly_name() for other in read if other.get_type_name() not in NO_OPERATORS],
                sorted({*tensors.get(name, ()), *now}),
                any(port.get_element_type().is_real() for port in (*node.inputs(), *node.outputs())),
            )
        )
    return found


def name_stably(model: Any) -> None:
    """Give nodes that nothing named a name by their place: OpenVINO's own counts all nodes of the process."""
    taken = {node.get_friendly_name() for node in model.get_ops()}
    for index, node in enumerate(model.get_ordered_ops()):
        if node.get_friendly_name() == node.get_name():
            label = f"{node.get_type_name()}.{index}"
            while label in taken:
                label += "."
            taken.add(label)
            node.set_friendly_name(label)


def macs_of(node: Any) -> int:
    """Multiply-accumulates of one run of a node, as `converters.graph.cost` counts them; open sizes are 1."""

    def sizes(port: Any) -> list[int]:
        shape = port.get_partial_shape()
        if shape.rank.is_dynamic:
            return []
        return [size.get_length() if size.is_static else 1 for size in shape]

    read = [sizes(port) for port in node.inputs()]
    made = math.prod(sizes(node.output(0))) if node.outputs() else 0
    match node.get_type_name():
        case "Convolution":
            return made * math.prod(read[1][1:])
        case "GroupConvolution":
            return made * math.prod(read[1][2:])
        case "ConvolutionBackpropData":
            return math.prod(read[0]) * math.prod(read[1][1:])
        case "GroupConvolutionBackpropData":
            return math.prod(read[0]) * math.prod(read[1][2:])
        case "MatMul":
            last = -2 if node.get_attributes()["transpose_a"] and len(read[0]) > 1 else -1
            return made * (read[0][last] if read[0] else 1)
        case "LSTMSequence" | "GRUSequence" | "RNNSequence":
            weights = sum(math.prod(shape[1:]) for shape in read if len(shape) == 3 and shape is not read[0])
            return math.prod(read[0][:2]) * weights
        case "LSTMCell" | "GRUCell" | "RNNCell":
            return read[0][0] * sum(math.prod(shape) for shape in read[-3:-1])
    return 0


def name_apart(model: Any) -> None:
    """Give the second and later of nodes of one name others: NNCF names what it is to leave alone."""
    seen: set[str] = set()
    for node in model.get_ordered_ops():
        label = node.get_friendly_name()
        number = 1
        while label in seen:
            number += 1
            label = f"{node.get_friendly_name()}#{number}"
        seen.add(label)
        if label != node.get_friendly_name():
            node.set_friendly_name(label)


def nodes(model: Any) -> list[tuple[str, str, list[str], int, bool]]:
    """The operators in execution order, without those that only make constants; see `integers.Node`."""
    name_stably(model)
    computed: set[str] = set()
    found = []
    for node in model.get_ordered_ops():
        kind, name = node.get_type_name(), node.get_friendly_name()
        sources = [port.get_source_output().get_node().get_friendly_name() for port in node.inputs()]
        read = [source for source in sources if source in computed]
        if kind in ("Parameter", "ReadValue") or read:
            computed.add(name)
        if read and kind != "Result":
            floats = any(port.get_element_type().is_real() for port in (*node.inputs(), *node.outputs()))
            found.append((name, kind, read, len(sources) - len(read), floats))
    return found
