"""The result of `edge inspect`: its JSON is API (docs/report-schema.md), and its text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from attrs import frozen

from converters.preflight import FORMULA, Compiled, Fit, Preflight, TargetCheck
from converters.verdict import Verdict
from device_agent import codec
from edge_sdk.report import layout
from edge_sdk.report.layout import Row, size
from edge_sdk.report.result import SCHEMA_VERSION

if TYPE_CHECKING:
    from converters.model import Operator
    from device_agent.bundle import TensorSpec

MANY_PLACES = 5  # of one reason: more are counted, the JSON has them all


@frozen
class InspectReport:
    """What a model is and needs; `preflight` is flattened into it."""

    schema_version: int
    preflight: Preflight

    @classmethod
    def of(cls, preflight: Preflight) -> InspectReport:
        """The report of what `edge_sdk.inspect` found."""
        return cls(SCHEMA_VERSION, preflight)

    def to_json(self) -> dict[str, Any]:
        """The report as plain JSON data."""
        found, model = self.preflight, self.preflight.model
        target: dict[str, Any] | None = None
        if found.target is not None:
            checked: dict[str, Any] = codec.to_json(found.target)
            target = {"name": checked.pop("target"), "accepted": found.target.accepted, **checked}
        return {
            "schema_version": self.schema_version,
            "name": model.name,
            "path": str(model.path),
            "format": model.format,
            "sha256": model.sha256,
            "size_bytes": model.size_bytes,
            "quantized": model.quantized,
            "notes": list(model.notes),
            "parameters": model.parameters,
            "inputs": codec.to_json(model.inputs),
            "outputs": codec.to_json(model.outputs),
            "operator_counts": dict(found.operator_counts),
            "operators": _operators(model.operators),
            "compiled": codec.to_json(found.compiled),
            "refusals": codec.to_json(found.refusals),
            "target": target,
        }


def _operators(operators: tuple[Operator, ...]) -> Any:
    return codec.to_json(operators)


def print_inspection(report: InspectReport) -> None:
    """A model: what goes in and out, what it holds and costs, what a board refuses of it."""
    found, model = report.preflight, report.preflight.model
    rows = [
        ("Format", f"{model.format}, {size(model.size_bytes)}, sha256 {model.sha256[:12]}"),
        ("Inputs", "\n".join(map(_spec, model.inputs))),
        ("Outputs", "\n".join(map(_spec, model.outputs))),
        ("Operators", f"{len(model.operators)}: {_counts(found.operator_counts)}"),
        ("Parameters", f"{model.parameters:,}"),
    ]
    if found.compiled is not None:
        rows += _cost_rows(found.compiled)
    if model.notes:
        rows.append(("Note", "\n".join(model.notes)))
    layout.show(model.path.name, rows)
    if found.compiled is not None:
        _print_compiled(found.compiled)
    if found.refusals:
        layout.lines(["", "No TFLite runtime can run all of it:", *_grouped(found.refusals)])
    if found.target is not None:
        layout.lines([""])
        _print_target(found.target, shown=found.refusals)


def _cost_rows(compiled: Compiled) -> Iterator[Row]:
    yield "Work", f"{compiled.macs:,} multiply-accumulates a run"
    for precision, memory in compiled.memory.items():
        parts = f"weights {size(memory.weights)}, arena {size(memory.arena)}, file {size(memory.file)}"
        yield f"In {precision}", parts


def _print_compiled(compiled: Compiled) -> None:
    layout.lines(
        ["", f"As it is compiled, before quantisation: needs TFLite {compiled.least_runtime} or later"]
    )
    rows = [
        (str(use.count), use.type, str(use.version), use.runtime or "not told", f"{use.macs:,}")
        for use in compiled.operators
    ]
    layout.table(("count", "operator", "version", "since TFLite", "MACs"), rows)


def _print_target(check: TargetCheck, *, shown: tuple[Verdict, ...]) -> None:
    verdict = "fits" if check.accepted else "does not fit" if not check.refusals else "is refused"
    runtime = f"{check.runtime} >= {check.runtime_version}"
    where = f" on {check.processor}" if check.processor is not None else ""
    rows = [("Runtime", f"{runtime}{where}, {check.precision}")]
    if check.ram is not None:
        rows.append(("RAM", _fit(check.ram) + f"\nestimate: {FORMULA}"))
    if check.flash is not None and check.flash.available is not None:
        rows.append(("Flash", _fit(check.flash) + "\nestimate: the file"))
    layout.show(f"{check.target}: the model {verdict}", rows)
    if check.refusals and check.refusals != shown:
        layout.lines(["Refused:", *_grouped(check.refusals)])


def _fit(fit: Fit) -> str:
    if fit.available is None:
        return f"needs about {size(fit.needed)}; the board does not say what it has"
    return f"needs about {size(fit.needed)} of {size(fit.available)}" + ("" if fit.fits else ": too much")


def _grouped(refusals: tuple[Verdict, ...]) -> Iterator[str]:
    """One line a reason, with the operators and places it is given for."""
    places: dict[tuple[str, str, str | None, str | None, str | None], list[str]] = {}
    for verdict in refusals:
        key = (verdict.operator, verdict.reason, verdict.got, verdict.limit, verdict.help)
        places.setdefault(key, []).append(verdict.place)
    for (operator, reason, got, limit, advice), found in places.items():
        named = [repr(place) for place in found if place]
        more = f" and {len(named) - MANY_PLACES} more" if len(named) > MANY_PLACES else ""
        at = f" at {', '.join(named[:MANY_PLACES])}{more}" if named else ""
        text = str(Verdict.no(reason, got=got, limit=limit, help=advice))
        yield f"  {len(found)} x {operator}: {text}{'' if text.endswith('.') else '.'}{at and f' Found{at}.'}"


def _spec(spec: TensorSpec) -> str:
    order = f" {spec.layout}" if spec.layout is not None else ""
    text = f"{spec.name}: {spec.dtype}{list(spec.shape)}{order}"
    held = spec.quantization
    if held is None:
        return text
    if len(held.scale) > 1:
        return f"{text}, {len(held.scale)} scales on axis {held.axis}"
    return f"{text} = {held.scale[0]:g} x (q - {held.zero_point[0]})"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in Counter(counts).most_common())
