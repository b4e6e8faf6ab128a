"""What OpenVINO's answer means for the operators of the source; decided from texts and lists alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from converters.verdict import Verdict

if TYPE_CHECKING:
    from converters.model import Model
    from converters.openvino.opened import OpenModel
    from converters.openvino.roads import Road


def condensed(message: str) -> str:
    """OpenVINO's reason in one line, without the places in its own sources."""
    kept = []
    for line in message.splitlines():
        text = re.sub(r"Exception from \S+:\d+:|Check '.*' failed at \S+:\d+:|\S+\.[ch]pp:\d+:?", "", line)
        text = re.sub(r"FrontEnd API failed with \w+:?", "", text)
        if text.strip():
            kept.append(" ".join(text.split()))
    return " ".join(dict.fromkeys(kept))[:400]


def accepted(model: Model, opened: OpenModel) -> tuple[Verdict, ...]:
    """What became of each operator of a model that OpenVINO took."""
    makers = {name: operator for operator in opened.operators for name in (operator.name, *operator.tensors)}
    found = []
    for operator, names in zip(model.operators, tensors_of(model), strict=True):
        kinds = tuple(dict.fromkeys(makers[name].type for name in names if name in makers))
        reason = f"{operator.type} as {' + '.join(kinds)}" if kinds else "part of another operator, or folded"
        found.append(Verdict.yes(reason, operator=operator.type, place=operator.name, becomes=kinds))
    return tuple(found)


def tensors_of(model: Model) -> list[tuple[str, ...]]:
    """The names of what each source operator gives, as OpenVINO knows them; none where it does not."""
    match model.format:
        case "onnx":
            return [tuple(node.output) for node in model.payload.graph.node]
        case "torch":
            return tensors_of(model.payload.onnx)
        case "tflite" | "openvino":
            return [(operator.name,) for operator in model.operators]
    return [()] * len(model.operators)


def refusals(model: Model, said: Sequence[tuple[Road, str]]) -> tuple[Verdict, ...]:
    """A no for each operator of a model that OpenVINO refused."""
    reason = "; ".join(dict.fromkeys(condensed(message) for _, message in said))
    return tuple(
        Verdict.no(reason, operator=operator.type, place=operator.name) for operator in model.operators
    )
