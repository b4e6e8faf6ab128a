"""What OpenVINO's answer means for the operators of the source; decided from texts and lists alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from converters.verdict import Verdict

if TYPE_CHECKING:
    from converters.model import Model, Operator
    from converters.openvino.opened import OpenModel
    from converters.openvino.roads import Road

_PLACES = re.compile(  # in OpenVINO's own sources and passes
    r"Exception from \S+:\d+:|Check '[^\n]*' failed at \S+:\d+:|\S+\.[ch]pp:\d+:?"
    r"|FrontEnd API failed with \w+:|Model wasn't fully converted\.|Summary:|^-- "
    r"|To facilitate the conversion[^\n]*|\[ov::\S+\] END: node: [^\n]* CALLBACK HAS THROWN:",
    re.MULTILINE,
)
_LONGEST = 300  # characters of a reason
_LISTED = re.compile(
    r"(?:(?:No conversion rule|no translator) found for operations?(?:\(s\))?|Conversion is failed for):"
    r" ([^\n]+)",
    re.IGNORECASE,
)
_FIRST = (  # what OpenVINO stops at
    re.compile(r"No translator found for (\S+) node"),
    re.compile(r"while working with operation of type (\S+) and name"),
)
_NAMED = ("onnx", "openvino", "torch")  # formats of which the frontend keeps the tensors' names
_UNNAMED = "what OpenVINO's frontend makes of it"
_HELP = "Replace it, or choose another runtime."


def condensed(message: str) -> str:
    """OpenVINO's reason in one line, without the places in its own sources."""
    text = re.sub(r"Error is encountered while working[^\n]*", "", _PLACES.sub("", message))
    lines = [" ".join(line.split()) for line in text.splitlines()]
    return " ".join(dict.fromkeys(filter(None, lines)))[:_LONGEST].rstrip(". ")


def accepted(model: Model, opened: OpenModel) -> tuple[Verdict, ...]:
    """What became of each operator of a model that OpenVINO took; a no for those that it cannot run."""
    refused = {operator for operator in opened.operators if operator.name in opened.unsupported}
    makers = {name: operator for operator in opened.operators for name in (operator.name, *operator.tensors)}
    found = []
    for operator, names in zip(model.operators, tensors_of(model), strict=True):
        kinds = tuple(dict.fromkeys(kind for name in names for kind in opened.translated.get(name, ())))
        here = {makers[name] for name in names if name in makers}
        kinds = kinds or tuple(sorted({one.type for one in here}))
        if here & refused:
            stopping = " and ".join(sorted({one.type for one in here & refused}))
            found.append(_no(operator, f"OpenVINO's CPU plugin cannot run {stopping}"))
        elif opened.road.lowered or model.format not in _NAMED:
            found.append(_yes(operator, f"{operator.type} through {opened.road.name}", (_UNNAMED,)))
        elif kinds:
            found.append(_yes(operator, f"{operator.type} as {' + '.join(kinds)}", kinds))
        else:
            found.append(_yes(operator, "folded away: no operator left", ()))
    if refused and all(verdict.ok for verdict in found):
        stopping = ", ".join(sorted({operator.type for operator in refused}))
        found[0] = _no(model.operators[0], f"OpenVINO's CPU plugin cannot run {stopping}")
    return tuple(found)


def refusals(model: Model, said: Sequence[tuple[Road, str]]) -> tuple[Verdict, ...]:
    """A no for the operators that OpenVINO stopped at; the others were not reached, or are none to stop at.

    Args:
        model: that was refused.
        said: OpenVINO's messages; what it said to the model's own form goes by operators.
    """
    message = said[0][1] if said else f"OpenVINO does not read the format {model.format}"
    reason = condensed(message)
    listed = _LISTED.search(message)
    places = set(_named(model, message, listed.group(1) if listed else None)) or {0}
    stopped = " and ".join(dict.fromkeys(model.operators[place].type for place in sorted(places)))
    other = "OpenVINO has a rule for it" if listed else f"not reached: OpenVINO stopped at {stopped}"
    return tuple(
        _no(operator, reason) if operator.index in places else _yes(operator, other, ())
        for operator in model.operators
    )


def tensors_of(model: Model) -> list[tuple[str, ...]]:
    """The names of what each source operator gives, as OpenVINO knows them; none where it does not."""
    match model.format:
        case "onnx":
            return [tuple(filter(None, node.output)) for node in model.payload.graph.node]
        case "torch":
            return tensors_of(model.payload.onnx)
        case "openvino":
            return [(operator.name,) for operator in model.operators]
    return [()] * len(model.operators)


def _named(model: Model, message: str, listed: str | None) -> list[int]:
    """The operators that a message names: by type, or by a tensor that they give or read."""
    if listed is not None:
        kinds = {re.sub(r"-\d+$", "", name.strip()).rpartition(".")[2] for name in listed.split(",")}
    else:
        kinds = {found.group(1) for pattern in _FIRST if (found := pattern.search(message))}
    by_type = [op.index for op in model.operators if op.type.removeprefix("CUSTOM:") in kinds]
    return by_type or _by_tensor(model, message)


def _by_tensor(model: Model, message: str) -> list[int]:
    """The operators that read or give the longest tensor name in a message."""
    if model.format != "tflite":
        found = [op for op in model.operators if len(op.name) > 1 and _in(op.name, message)]
        return [max(found, key=lambda op: len(op.name)).index] if found else []
    from converters.readers.tflite import graph_of

    graph = graph_of(model)
    names = [name for name in graph.tensors if len(name) > 1 and _in(name, message)]
    if not names:
        return []
    longest = max(names, key=len)
    return [i for i, op in enumerate(graph.operators) if longest in (*op.inputs, *op.outputs)]


def _in(name: str, message: str) -> bool:
    return re.search(rf"(?<![\w/]){re.escape(name)}(?![\w/])", message) is not None


def _no(operator: Operator, reason: str) -> Verdict:
    return Verdict.no(reason, operator=operator.type, place=operator.name, help=_HELP)


def _yes(operator: Operator, reason: str, becomes: tuple[str, ...]) -> Verdict:
    return Verdict.yes(reason, operator=operator.type, place=operator.name, becomes=becomes)
