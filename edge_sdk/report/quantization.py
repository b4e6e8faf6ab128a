"""What a search for a precision found: `quantization.json` (API: docs/report-schema.md), and its text."""

from __future__ import annotations

import hashlib
import io
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

from converters.quantize.scheme import AUTO, STATIC
from device_agent import codec
from edge_sdk.report import layout
from edge_sdk.report.layout import Row, seconds, size
from edge_sdk.report.result import SCHEMA_VERSION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from converters.convert import Conversion
    from converters.partition.types import Recipe
    from converters.quantize.engine import LayerError
    from converters.quantize.search.types import Candidate, Search

WORST = 8  # layers shown: the JSON has them all


def document(conversion: Conversion, search: Search) -> dict[str, Any]:
    """All of a search and what it was made for, as plain JSON data: the content of `quantization.json`."""
    model, artifact = conversion.model, conversion.artifact
    return {
        "schema_version": SCHEMA_VERSION,
        "model": {"name": model.name, "path": str(model.path), "sha256": model.sha256},
        "target": conversion.plan.target,
        "recipe": codec.to_json(conversion.plan.recipe),
        "file": artifact.title,
        "sha256": artifact.sha256,
        "files": {title: hashlib.sha256(data).hexdigest() for title, data in artifact.files.items()},
        "runtime": artifact.runtime,
        "execution": codec.to_json(artifact.execution),
        "precision": artifact.precision,
        "float_operators": list(artifact.float_operators),
        "search": codec.to_json(search),
    }


def rendered(name: str, search: Search) -> str:
    """The text of `show`, for a file."""
    text = io.StringIO()
    with redirect_stdout(text):
        show(name, search)
    return text.getvalue()


def show(name: str, search: Search) -> None:
    """A search for people: what was found, what was tried and why, and where the accuracy is lost.

    Args:
        name: the model's.
        search: what was found.
    """
    best = best_of(search)
    verdict = "keeps its accuracy" if search.met else "misses its accuracy"
    layout.show(f"{name} {verdict} as {scheme_words(best)}", _rows(search, best))
    layout.lines(["", "Tried:"])
    layout.table(
        ("#", "step", search.metric, "drop", "latency", "size", ""),
        [_tried(candidate, best, search) for candidate in search.candidates],
    )
    layout.lines(["", *(f"#{candidate.number}: {candidate.reason}" for candidate in search.candidates)])
    if best.effects:
        layout.lines(["", f"Repairs of #{best.number}:"])
        layout.table(
            ("repair", "changed", "what it did"),
            [(effect.repair, str(effect.changed), effect.what) for effect in best.effects],
        )
    if search.culprits:
        layout.lines(["", "Layers that cost most: the share of the error that goes when one alone is float:"])
        layout.table(
            ("layer", "operator", "share"),
            [(c.label or c.layer, c.type, f"{100 * c.gain:.1f} %") for c in search.culprits[:WORST]],
        )
    if search.errors:
        layout.lines(["", f"Layers farthest from the float model in #{best.number}:"])
        layout.table(
            ("layer", "operator", "in", "SNR", "cosine", "range", "cut"),
            list(map(_far, _worst(search.errors))),
        )
    if best.fallbacks:
        layout.lines(["", f"Not in {best.scheme.precision}:"])
        layout.table(
            ("layer", "operator", "in", "why"),
            [(f.layer, f.type, f.precision, f.reason) for f in best.fallbacks],
        )


def planned(recipe: Recipe) -> list[str]:
    """What a plan would have tried, and what for; no line where it asks for no search."""
    asked = recipe.accuracy
    if asked is None:
        return []
    lines = []
    if recipe.precision == AUTO:
        ranges = f"{recipe.ranges} ranges" if recipe.ranges is not None else "other ranges"
        names = recipe.repairs if recipe.repairs is not None else ("repairs",)
        wider = f"{' or '.join(recipe.steps)} for the layers that lose most" if recipe.steps else ""
        tries = [each for each in (ranges, ", ".join(names), wider) if each]
        lines.append(f"auto: int8 first; while that loses too much: {'; '.join(tries)}")
    metric = asked.metric or "top1 with labels, else agreement or snr with the float model"
    drop = "the metric's own limit" if asked.max_drop is None else f"{asked.max_drop:g}"
    proof = f", proven at {100 * asked.confidence:g} %" if asked.prove else ""
    lines.append(f"judged by {metric}; a drop of at most {drop}{proof}")
    return lines


def best_of(search: Search) -> Candidate:
    """The candidate that a search ended with."""
    return next(candidate for candidate in search.candidates if candidate.number == search.best)


def plain_of(search: Search) -> Candidate | None:
    """The plain int8 candidate: nothing mended, every layer alike; None where none was tried."""
    plain = (
        one
        for one in search.candidates
        if one.scheme.precision == "int8" and not (one.scheme.exceptions or one.scheme.repairs)
    )
    return next(plain, None)


def accuracy_row(search: Search) -> Row:
    """What a search found, as one row of a longer report."""
    best, count = best_of(search), len(search.candidates)
    tried = "the first candidate" if count == 1 else f"the best of {count} candidates"
    return (
        "Accuracy",
        f"{_accuracy(search, best)}\n{tried}: {scheme_words(best)}; {_goal(search)}",
    )


def scheme_words(candidate: Candidate) -> str:
    """A candidate's scheme in a few words: `int8, 2 layers in int16x8, ranges mse, equalization`."""
    scheme = candidate.scheme
    words = [scheme.precision]
    for precision in dict.fromkeys(scheme.exceptions.values()):
        count = sum(other == precision for other in scheme.exceptions.values())
        words.append(f"{count} {'layer' if count == 1 else 'layers'} in {precision}")
    if scheme.precision in STATIC and scheme.ranges != "minmax":
        words.append(f"ranges {scheme.ranges}")
    return ", ".join((*words, *scheme.repairs))


def _rows(search: Search, best: Candidate) -> list[Row]:
    rows = [
        ("Accuracy", _accuracy(search, best)),
        ("Goal", _goal(search)),
        ("Judged on", f"{search.count} samples of {search.samples}"),
        ("Latency", _latency(search, best)),
        ("Size", _size(search, best)),
        ("Search", f"{search.stopped}; {len(search.candidates)} tried in {search.seconds:.1f} s"),
    ]
    if search.notes:
        rows.append(("Note", "\n".join(search.notes)))
    return rows


def _accuracy(search: Search, best: Candidate) -> str:
    value = "not judged" if best.value is None else _amount(best.value, search.unit)
    text = f"{search.metric} {value}, float {_amount(search.reference, search.unit)}"
    judged = best.judgement
    if judged is None:
        return text
    low, high = _number(judged.lower, search.unit), _number(judged.upper, search.unit)
    bounds = f"{low} to {high} at {100 * judged.confidence:g} % each way"
    return (
        f"{text}: a drop of {_amount(judged.drop, search.unit)}\n"
        f"({bounds}, {judged.method}, {judged.samples} samples)"
    )


def _goal(search: Search) -> str:
    goal = search.goal
    how = f"proven at {100 * goal.confidence:g} %" if goal.prove else "as seen"
    allowed = f"at most {_amount(goal.max_drop, search.unit)} allowed, {how}"
    return f"{allowed}: reached" if search.met else f"{allowed}: missed, {search.lacks}"


def _latency(search: Search, best: Candidate) -> str:
    plain = plain_of(search)
    known = [
        (what, ns)
        for what, ns in (
            ("float32", search.reference_latency_ns),
            ("plain int8", None if plain is None or plain is best else plain.latency_ns),
            ("this", best.latency_ns),
        )
        if ns is not None
    ]
    if best.latency_ns is None:
        return "not measured"
    text = ", ".join(f"{what} {seconds(ns)}" for what, ns in known)
    if plain is not None and plain is not best and plain.latency_ns:
        text += f" ({best.latency_ns / plain.latency_ns:.2f} of plain int8)"
    return f"{text}, on one thread here"


def _size(search: Search, best: Candidate) -> str:
    plain = plain_of(search)
    if best.size_bytes is None:
        return "not built"
    if plain is None or plain is best or plain.size_bytes is None:
        return size(best.size_bytes)
    return f"plain int8 {size(plain.size_bytes)}, this {size(best.size_bytes)}"


def _tried(candidate: Candidate, best: Candidate, search: Search) -> tuple[str, ...]:
    judged = candidate.judgement
    fate = "best" if candidate is best else "kept" if candidate.kept else "rejected"
    return (
        str(candidate.number),
        candidate.step,
        "-" if candidate.value is None else _number(candidate.value, search.unit),
        "-" if judged is None else _number(judged.drop, search.unit),
        "-" if candidate.latency_ns is None else seconds(candidate.latency_ns),
        "-" if candidate.size_bytes is None else size(candidate.size_bytes),
        fate,
    )


def _worst(errors: Sequence[LayerError]) -> list[LayerError]:
    """The layers with the least signal to noise; those that are exact come last."""
    return sorted(errors, key=lambda one: float("inf") if one.snr_db is None else one.snr_db)[:WORST]


def _far(error: LayerError) -> tuple[str, ...]:
    return (
        error.label or error.layer,
        error.type,
        error.precision,
        "exact" if error.snr_db is None else f"{error.snr_db:.1f} dB",
        f"{error.cosine:.4f}",
        "-" if error.range_use is None else f"{100 * error.range_use:.0f} %",
        "-" if error.saturation is None else f"{100 * error.saturation:.2g} %",
    )


def _amount(value: float, unit: str) -> str:
    return f"{_number(value, unit)} {unit}".rstrip()


def _number(value: float, unit: str = "") -> str:
    return f"{value:.2f}" if unit == "points" else f"{value:.4g}"
