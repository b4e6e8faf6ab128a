"""How a runtime was chosen, for people and as JSON (API: docs/report-schema.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import frozen

from device_agent import codec
from edge_sdk.bench.choice import CHOSEN, EXCLUDED, Contender, Ratio
from edge_sdk.bench.statistics import Percentile
from edge_sdk.report import layout
from edge_sdk.report.build import fidelity_report
from edge_sdk.report.layout import seconds, size
from edge_sdk.report.quantization import best_of

if TYPE_CHECKING:
    from device_agent.protocol import Measured
    from edge_sdk.candidates import Candidate
    from edge_sdk.fastest import Choice

HEADS = ("candidate", "accuracy", "size", "p50", "ratio", "")


@frozen
class AccuracyReport:
    """What a candidate keeps, judged by `metric`: `value` and `drop` are in `unit`, None where not judged."""

    metric: str
    unit: str
    value: float | None
    drop: float | None


@frozen
class CandidateReport:
    """A candidate, measured. `ratio` is its latency over the chosen one's.

    `latencies_ns` are those of each round. What was excluded before it was measured has none.
    """

    label: str
    runtime: str
    runtime_version: str
    precision: str
    io: str
    verdict: str
    reason: str
    accuracy: AccuracyReport | None
    size_bytes: int
    p50_ns: Percentile | None
    ratio: Ratio | None
    load_ns: int | None
    peak_rss_bytes: int | None
    latencies_ns: tuple[tuple[int, ...], ...]


@frozen
class RefusedReport:
    """What was out before anything was measured, and its error as `--json` has errors."""

    label: str
    error: dict[str, Any]


@frozen
class ChoiceReport:
    """The choice of `edge deploy --runtime auto`: `sentence` explains it."""

    sentence: str
    chosen: str
    confidence: float
    rounds: int
    settled: bool
    candidates: tuple[CandidateReport, ...]
    refused: tuple[RefusedReport, ...]

    def to_json(self) -> dict[str, Any]:
        """The report as plain JSON data."""
        data: dict[str, Any] = codec.to_json(self)
        return data


def choice_report(choice: Choice) -> ChoiceReport:
    """The report of a choice that was made on a device."""
    decision = choice.decision
    measured = choice.compared.candidates if choice.compared is not None else (None,) * len(choice.candidates)
    return ChoiceReport(
        sentence=decision.sentence,
        chosen=choice.chosen.label,
        confidence=decision.confidence,
        rounds=decision.rounds,
        settled=decision.settled,
        candidates=tuple(
            _candidate(candidate, contender, one)
            for candidate, contender, one in zip(
                choice.candidates, decision.contenders, measured, strict=True
            )
        ),
        refused=tuple(RefusedReport(each.label, each.error.to_json()) for each in choice.refused),
    )


def print_choice(report: ChoiceReport) -> None:
    """The candidates, what was measured of each and why it was kept or not; then the choice in a sentence."""
    layout.table(HEADS, [_row(candidate) for candidate in report.candidates])
    layout.lines(f"{refused.label}: {refused.error['error']}" for refused in report.refused)
    layout.lines(["", f"{report.sentence}.", ""])


def choice_cell(report: ChoiceReport) -> str:
    """The choice in a table of several devices."""
    rivals = [each for each in report.candidates if each.ratio is not None]
    return f"{report.chosen}, " + (
        ", ".join(f"{each.label} {each.ratio}" for each in rivals) if rivals else "the only one"
    )


def _candidate(candidate: Candidate, contender: Contender, measured: Measured | None) -> CandidateReport:
    conversion = candidate.conversion
    artifact = conversion.artifact
    return CandidateReport(
        label=contender.label,
        runtime=artifact.runtime,
        runtime_version=artifact.runtime_version if measured is None else measured.runtime_version,
        precision=artifact.precision,
        io=conversion.plan.recipe.io,
        verdict=contender.verdict,
        reason=contender.reason,
        accuracy=_accuracy(candidate),
        size_bytes=artifact.size_bytes,
        p50_ns=None if contender.latency is None else contender.latency.p50,
        ratio=contender.ratio,
        load_ns=None if measured is None else measured.load_ns,
        peak_rss_bytes=None if measured is None else measured.peak_rss_bytes,
        latencies_ns=() if measured is None else measured.latencies_ns,
    )


def _accuracy(candidate: Candidate) -> AccuracyReport | None:
    """What was judged of a candidate: by a search, or as far as its fidelity says."""
    search, found = candidate.search, fidelity_report(candidate.conversion.fidelity)
    if search is not None and candidate.conversion.search is None:
        return AccuracyReport(search.metric, search.unit, search.reference, 0.0)
    if search is not None:
        best = best_of(search)
        drop = None if best.judgement is None else best.judgement.drop
        return AccuracyReport(search.metric, search.unit, best.value, drop)
    if found is None:
        return None
    if found.top1_agreement is not None:
        share = 100 * found.top1_agreement
        return AccuracyReport("agreement", "points", share, 100 - share)
    return AccuracyReport("snr", "dB", found.snr_db, None)


def _row(candidate: CandidateReport) -> tuple[str, ...]:
    p50, ratio = candidate.p50_ns, candidate.ratio
    latency = "-"
    if p50 is not None:
        latency = seconds(p50.value)
        if p50.low is not None and p50.high is not None:
            latency += f"\n{seconds(p50.low)} to {seconds(p50.high)}"
    return (
        candidate.label,
        _accuracy_cell(candidate.accuracy),
        size(candidate.size_bytes),
        latency,
        "1" if candidate.verdict == CHOSEN else "-" if ratio is None else str(ratio).replace(" (", "\n("),
        f"excluded: {candidate.reason}" if candidate.verdict == EXCLUDED else candidate.verdict,
    )


def _accuracy_cell(accuracy: AccuracyReport | None) -> str:
    """`top1 90.25` and how much worse than float that is."""
    if accuracy is None:
        return "-"
    if accuracy.value is None:
        return "exact" if accuracy.unit == "dB" else "not judged"
    unit = "" if accuracy.unit == "points" else f" {accuracy.unit}"
    drop = "" if not accuracy.drop else f"\ndrop {accuracy.drop:.2f}"
    return f"{accuracy.metric} {accuracy.value:.4g}{unit}{drop}"
