"""Where OpenVINO runs the operators of a compiled model, and how that departs from what was asked.

A compiled model's graph tells of each operator what it was made of and in which precision it computes, and
the model on which processors it runs. Under HETERO each operator is compiled for the processor that it was
assigned before (its affinity), or not at all; so its sources' affinities tell where it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from device_agent.bundle import Execution
from device_agent.errors import WorkerFailed
from device_agent.execution import AUTO, HETERO, is_one_of, kind_of, named_in
from device_agent.protocol import PlacedOperator, Placement

NO_OPERATORS = ("Parameter", "Result", "Constant")  # of a model
_NO_LAYERS = ("Input", "Output", "Const")  # of a compiled one
_NAMED = 5  # operators that an error names


def assigned(model: Any, execution: Execution, answered: Mapping[str, str]) -> dict[str, str]:
    """Give every node of a model its processor, before it is compiled for HETERO.

    Constants, and what is computed of nothing else, go where what needs them goes.

    Args:
        model: an `ov.Model`, whose nodes' `affinity` is set.
        execution: whose affinities come first.
        answered: node -> processor, as `query_model` answered; for the other nodes.

    Returns:
        Node -> processor.

    Raises:
        WorkerFailed: an affinity is of an operator that the model does not have, or no processor can run one.
    """
    nodes = list(model.get_ordered_ops())
    unknown = execution.affinities.keys() - {node.get_friendly_name() for node in nodes}
    if unknown:
        raise WorkerFailed(
            "the model has no operator of that name, which has an affinity",
            got=_some(sorted(unknown)),
            next_step="Name operators as the model's file does.",
        )
    found = {**answered, **execution.affinities}
    stuck = [node for node in nodes if node.get_friendly_name() not in found]
    if stuck:
        raise WorkerFailed(
            f"no processor of {execution.device} can run an operator of the model",
            got=_some([f"{node.get_friendly_name()} ({node.get_type_name()})" for node in stuck]),
        )
    needs: dict[str, str] = {}  # of what is computed of constants only
    for node in reversed(nodes):
        name = node.get_friendly_name()
        home = execution.affinities.get(name) or needs.get(name) or found[name]
        found[name] = home
        for source in _constant_sources(node):
            needs.setdefault(source, home)
    for node in nodes:
        node.get_rt_info()["affinity"] = found[node.get_friendly_name()]
    return found


def read(compiled: Any, homes: Mapping[str, str]) -> tuple[PlacedOperator, ...]:
    """The operators of a compiled model.

    Args:
        compiled: an `ov.CompiledModel`.
        homes: node of the model -> processor; for HETERO.
    """
    # a name in brackets is of a processor that only helps until another is ready
    used = [str(name).strip("()") for name in compiled.get_property("EXECUTION_DEVICES")]
    nodes = list(compiled.get_runtime_model().get_ordered_ops())
    rows: list[tuple[int, PlacedOperator]] = []
    at: dict[str, str] = {}  # those passed already
    for node in nodes:
        info = {key: _text(value) for key, value in node.get_rt_info().items()}
        name = node.get_friendly_name()
        sources = tuple(filter(None, info.get("originalLayersNames", "").split(",")))
        before = [at.get(value.get_node().get_friendly_name(), "") for value in node.input_values()]
        home = next((homes[source] for source in sources if source in homes), "")
        at[name] = used[0] if len(used) == 1 else home or next(filter(None, before), used[0])
        kind = info.get("layerType", node.get_type_name())
        if kind not in _NO_LAYERS:
            precision = info.get("runtimePrecision", "")
            operator = PlacedOperator(name, kind, at[name], precision, sources)
            rows.append((int(info.get("execOrder", "0")), operator))
    if len(used) == 1:  # else each processor counts its own
        rows.sort(key=lambda row: row[0])
    return tuple(operator for _, operator in rows)


def departures(
    asked: str, affinities: Mapping[str, str], placed: Sequence[PlacedOperator]
) -> tuple[str, ...]:
    """What runs elsewhere than asked, as a sentence for each operator.

    Args:
        asked: the device of an `Execution`.
        affinities: operator of the model -> processor.
        placed: the operators as they run.
    """
    found = []
    for operator in placed:
        wanted = _wanted(asked, affinities, operator)
        if wanted and not any(is_one_of(name, operator.device) for name in wanted):
            found.append(
                f"{operator.name} ({operator.type}) runs on {operator.device}, not on {' or '.join(wanted)}"
            )
    return tuple(found)


def against(execution: Execution, placed: tuple[PlacedOperator, ...]) -> Placement:
    """Where a model runs, against what was asked for.

    Raises:
        WorkerFailed: the execution is strict, and operators run elsewhere.
    """
    found = departures(execution.device, execution.affinities, placed)
    if found and execution.strict:
        raise WorkerFailed(
            f"{len(found)} of {len(placed)} operators would run elsewhere than asked",
            got=_some(found, "; "),
            expected=execution.device,
            next_step="Deploy without --strict to allow it, or for the processor that can run them.",
        )
    return Placement(execution.device, placed, found)


def _wanted(asked: str, affinities: Mapping[str, str], operator: PlacedOperator) -> tuple[str, ...]:
    """The processors of which one was asked for; none where any will do."""
    names = named_in(asked)
    if kind_of(asked) == AUTO:
        return names[:1]  # the list is in order of preference; further down is what it falls back to
    if kind_of(asked) == HETERO:
        own = dict.fromkeys(affinities[source] for source in operator.sources if source in affinities)
        return tuple(own) or names
    return names


def _constant_sources(node: Any) -> list[str]:
    """The inputs of a node that are computed of constants only."""
    sources = [value.get_node() for value in node.input_values()]
    return [source.get_friendly_name() for source in sources if _constant(source)]


def _constant(node: Any) -> bool:
    if node.get_type_name() == "Constant":
        return True
    # as Convert of the weights of an IR that is compressed to fp16
    return node.get_type_name() == "Convert" and _constant(node.input_value(0).get_node())


def _some(names: Sequence[str], separator: str = ", ") -> str:
    more = len(names) - _NAMED
    return separator.join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _text(value: Any) -> str:
    """Run-time information, which comes as text or wrapped."""
    return str(value.astype(str)) if hasattr(value, "astype") else str(value)
