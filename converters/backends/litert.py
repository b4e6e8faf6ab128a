"""The LiteRT backend: any source that lowers to the TFLite-level graph becomes a `.tflite` file."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from attrs import frozen

from converters import registry, resizing
from converters.memory import hand_back
from converters.quantize.integer.ranges import METHODS
from converters.quantize.integer.repairs import REPAIRS
from converters.quantize.scheme import IO_KINDS, PRECISIONS
from converters.verdict import Verdict
from device_agent.errors import UnsupportedOperator

if TYPE_CHECKING:
    from converters.artifact import Artifact
    from converters.graph.ir import Graph
    from converters.model import Model, Operator
    from converters.partition.types import Recipe
    from converters.progress import Progress
    from converters.quantize.integer.litert_engine import LiteRTEngine
    from converters.quantize.samples.calibration import Calibration

LEAST_VERSION = "1.0.1"  # the first release of ai-edge-litert; every operator written here is older than it
LEAST_TFLITE_VERSION = "2.14.0"  # the last release of tflite-runtime, and what is tried out

LAYOUT = frozenset({"RESHAPE", "TRANSPOSE", "SQUEEZE", "EXPAND_DIMS"})
ARITHMETIC = frozenset({"MUL", "ADD", "SUB", "DIV"})


class LiteRTBackend:
    """Compiles for LiteRT, or for TFLite, as it was called before; see `Backend`.

    Args:
        name: the runtime's name.
        least_version: the least version of it that can run what is compiled here.
    """

    computes = True
    places = False
    precisions = PRECISIONS
    ends = IO_KINDS
    ranges = METHODS
    repairs = tuple(REPAIRS)

    def __init__(self, name: str, least_version: str) -> None:
        self.name = name
        self._least_version = least_version

    def judge(self, model: Model) -> tuple[Verdict, ...]:
        """What each source operator becomes after all rewrites, or why it cannot be lowered."""
        from converters.quantize.integer.coverage import integer_forms

        graph, verdicts = registry.reader(model.format).lower(model)
        if graph is None:
            return verdicts
        before = _by_source(graph)
        rewrite(graph, model)
        after = _by_source(graph)
        integer = integer_forms(graph, self.name) if model.quantized is None else {}
        explained = [
            _explained(operator, verdict, before[operator.index], after[operator.index]).with_integer(
                integer.get(operator.index, {})
            )
            for operator, verdict in zip(model.operators, verdicts, strict=True)
        ]
        opened = resizing.opened(model) if model.dynamic else None
        if opened is not None and opened.refusal is not None:
            explained[opened.refused] = opened.refusal
        return tuple(explained)

    def compile(
        self, model: Model, recipe: Recipe, calibration: Calibration | None, progress: Progress
    ) -> Artifact:
        """The model as a `.tflite` file with the signature `serving_default`."""
        from converters.backends.compiled import artifact_of
        from converters.graph.write import write

        if model.quantized is None:
            return self.engine(model, calibration, progress).build(recipe.scheme).artifact
        lowered = _lowered(model, progress)
        return artifact_of(
            lowered.graph,
            write(lowered.graph),
            model,
            precision=recipe.precision,
            runtime=self.name,
            least_version=self._least_version,
            rewrites=lowered.rewrites,
        )

    def engine(self, model: Model, calibration: Calibration | None, progress: Progress) -> LiteRTEngine:
        """What builds the model in any scheme: the model lowered and rewritten.

        Args:
            model: from a reader; float.
            calibration: for the ranges of activations; None where no static scheme will be asked for.
            progress: told of lowering, and of calibration when it comes.

        Raises:
            UnsupportedOperator: an operator cannot be lowered.
        """
        from converters.quantize.integer.litert_engine import LiteRTEngine

        lowered = _lowered(model, progress)
        return LiteRTEngine(
            model,
            lowered.graph,
            calibration,
            runtime=self.name,
            least_version=self._least_version,
            progress=progress,
            opened=lowered.opened,
            rewrites=lowered.rewrites,
        )


@frozen
class _Lowered:
    """A model's graph, rewritten; `opened` where its sizes stay open."""

    graph: Graph
    rewrites: dict[str, int]
    opened: resizing.Opened | None


def _lowered(model: Model, progress: Progress) -> _Lowered:
    progress("lowering", 0, 1)
    graph, verdicts = registry.reader(model.format).lower(model)
    if graph is None:
        raise _refused(model, verdicts)
    opened = None
    if model.dynamic:
        opened = resizing.opened(model)
        if opened.graph is None:
            raise _refused(model, (opened.refusal,) if opened.refusal is not None else ())
        graph, rewrites = opened.graph, opened.rewrites
    else:
        rewrites = rewrite(graph, model)
    hand_back()  # what lowering read and rewrites replaced is as large as the graph
    progress("lowering", 1, 1)
    return _Lowered(graph, rewrites, opened)


def rewrite(graph: Graph, model: Model) -> dict[str, int]:
    """Rewrite a model's graph in place; how often each rewrite applied.

    Args:
        graph: of the model.
        model: where it comes from.

    Raises:
        InvalidModel: operators of the user's own TFLite file do not fit their tensors.
    """
    from converters.graph import passes
    from converters.readers.tflite import malformed

    with malformed(model):
        return passes.run(graph)


def _refused(model: Model, verdicts: tuple[Verdict, ...]) -> UnsupportedOperator:
    refusals = [str(verdict) for verdict in verdicts if not verdict.ok]
    return UnsupportedOperator(
        f"{len(refusals)} of {len(model.operators)} operators cannot be lowered",
        where=model.path.name,
        got="; ".join(refusals[:5]),
        next_step="`edge plan` shows each operator.",
    )


def _by_source(graph: Graph) -> dict[int, tuple[str, ...]]:
    """Source operator -> the types of the graph operators that stand for it, in execution order."""
    found: defaultdict[int, tuple[str, ...]] = defaultdict(tuple)
    for operator in graph.operators:
        for source in operator.sources:
            found[source] += (operator.type,)
    return found


def _explained(
    operator: Operator, verdict: Verdict, before: tuple[str, ...], after: tuple[str, ...]
) -> Verdict:
    """A yes that says what became of an operator that was lowered as `before` and rewritten to `after`."""
    kept = tuple(kind for kind in after if kind in before)
    hosts = " and ".join(dict.fromkeys(after))
    becomes: tuple[str, ...] = ()
    if not before and not after:
        reason = verdict.reason
    elif kept or (after and not before):
        becomes = kept or after
        reason = f"{operator.type} as {' + '.join(becomes)}"
    elif after and ARITHMETIC.issuperset(before):
        reason = f"folded into the weights of {hosts}"
    elif after and LAYOUT.issuperset(before):
        reason = f"layout only: carried by {hosts}"
    elif after:
        becomes = tuple(dict.fromkeys(after))
        reason = f"{operator.type} as part of {hosts}"
    elif LAYOUT.issuperset(before):
        reason = "layout only: no operator left"
    else:
        reason = "folded away: no operator left"
    return Verdict.yes(reason, operator=operator.type, place=operator.name, becomes=becomes)


backend = LiteRTBackend("litert", LEAST_VERSION)
tflite = LiteRTBackend("tflite", LEAST_TFLITE_VERSION)
