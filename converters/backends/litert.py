"""The LiteRT backend: any source that lowers to the TFLite-level graph becomes a `.tflite` file."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING

from converters import registry, resizing
from converters.artifact import Artifact
from converters.memory import hand_back
from converters.verdict import Verdict
from device_agent.bundle import TensorSpec
from device_agent.errors import UnsupportedOperator

if TYPE_CHECKING:
    from converters.graph.ir import Graph
    from converters.model import Model, Operator
    from converters.partition.types import Recipe
    from converters.progress import Progress
    from converters.quantize.calibration import Calibration
    from converters.quantize.engine import Engine

LEAST_VERSION = "1.0.1"  # the first release of ai-edge-litert; every operator written here is older than it
LEAST_TFLITE_VERSION = "2.14.0"  # the last release of tflite-runtime, and what is tried out

# Integer kernels round differently, and over a network the steps add up: LiteRT's kernels for other
# processors come out up to 2 steps apart, those of older runtimes up to 4. (LiteRT 1.0.1 and 2.3.0 on
# x86-64 agree exactly.)
TOLERANCE_STEPS = 4.0
# Float kernels sum in another order: about 1e-6 of an operator's values, 1e-5 over a deep network. 1e-3
# leaves room for half-precision accumulation on small cores and still catches every wrong weight. It is
# an absolute bound for outputs of about 1 (scores, normalised values), as outputs of networks mostly are.
TOLERANCE_FLOAT = 1e-3

LAYOUT = frozenset({"RESHAPE", "TRANSPOSE", "SQUEEZE", "EXPAND_DIMS"})
ARITHMETIC = frozenset({"MUL", "ADD", "SUB", "DIV"})


class LiteRTBackend:
    """Compiles for LiteRT, or for TFLite, as it was called before; see `Backend`.

    Args:
        name: the runtime's name.
        least_version: the least version of it that can run what is compiled here.
    """

    computes = True

    def __init__(self, name: str, least_version: str) -> None:
        self.name = name
        self._least_version = least_version

    def judge(self, model: Model) -> tuple[Verdict, ...]:
        """What each source operator becomes after all rewrites, or why it cannot be lowered."""
        graph, verdicts = registry.reader(model.format).lower(model)
        if graph is None:
            return verdicts
        before = _by_source(graph)
        rewrite(graph, model)
        after = _by_source(graph)
        explained = [
            _explained(operator, verdict, before[operator.index], after[operator.index])
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
        from converters.graph.read import read
        from converters.graph.write import write
        from converters.quantize import int8

        progress("lowering", 0, 1)
        graph, verdicts = registry.reader(model.format).lower(model)
        if graph is None:
            raise _refused(model, verdicts)
        is_int8 = recipe.precision == "int8"
        quantizes = is_int8 and model.quantized is None
        opened = None
        if model.dynamic:
            opened = resizing.opened(model)
            if opened.graph is None:
                raise _refused(model, (opened.refusal,) if opened.refusal is not None else ())
            graph, rewrites = opened.graph, opened.rewrites
        else:
            rewrites = rewrite(graph, model, quantizes=quantizes)
        hand_back()  # what lowering read and rewrites replaced is as large as the graph
        progress("lowering", 1, 1)
        if quantizes:
            quantized = int8.quantize(graph, calibration, io=recipe.io, progress=progress)
            data = resizing.restated(quantized.data, opened) if opened is not None else quantized.data
            if quantized.widened_channels:
                rewrites["keep_biases"] = quantized.widened_channels
        else:
            data = write(graph)
        del graph  # its constants are as large as the file
        compiled = read(data, where=model.path.name)
        layouts = {spec.name: spec.layout for spec in (*model.inputs, *model.outputs)}
        return Artifact(
            title=f"{_file_name(model.name)}_{recipe.precision}.tflite",
            data=data,
            runtime=self.name,
            runtime_version=self._least_version,
            precision=recipe.precision,
            inputs=_specs(compiled, compiled.inputs, layouts),
            outputs=_specs(compiled, compiled.outputs, layouts),
            operators=tuple(operator.type for operator in compiled.operators),
            float_operators=int8.float_operators(compiled, ends_convert=is_int8),
            tolerance={name: _tolerance(compiled, tensor) for name, tensor in compiled.outputs.items()},
            rewrites=rewrites,
        )

    def engine(self, model: Model, calibration: Calibration | None, progress: Progress) -> Engine | None:
        """What builds the model in any scheme; see `Backend`."""
        from converters.quantize.litert_engine import LiteRTEngine

        progress("lowering", 0, 1)
        graph, verdicts = registry.reader(model.format).lower(model)
        if graph is None:
            raise _refused(model, verdicts)
        rewrite(graph, model, quantizes=True)
        progress("lowering", 1, 1)
        return LiteRTEngine(
            model, graph, calibration,
            runtime=self.name, least_version=self._least_version, progress=progress,
        )  # fmt: skip


def rewrite(graph: Graph, model: Model, *, quantizes: bool = False) -> dict[str, int]:
    """Rewrite a model's graph in place; how often each rewrite applied.

    Args:
        graph: of the model.
        model: where it comes from.
        quantizes: it is quantised afterwards: no operators come in that have no int8 form.

    Raises:
        InvalidModel: operators of the user's own TFLite file do not fit their tensors.
    """
    from converters.graph import passes
    from converters.readers.tflite import malformed

    with malformed(model):
        return passes.run(graph, skip=passes.FLOAT_ONLY if quantizes else ())


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


def _specs(graph: Graph, named: dict[str, str], layouts: dict[str, str | None]) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(
            name, tensor.dtype, tensor.signature or tensor.shape, layouts.get(name), tensor.quantization
        )
        for name, tensor in ((name, graph.tensors[place]) for name, place in named.items())
    )


def _tolerance(graph: Graph, output: str) -> float:
    """How far a device may be from the host in that output, in the output's own unit."""
    tensor = graph.tensors[output]
    if not tensor.dtype.startswith("float"):
        return TOLERANCE_STEPS if tensor.quantization is not None else 0.0
    producer = graph.producer(output)
    if producer is not None and producer.type == "DEQUANTIZE" and producer.inputs[0] is not None:
        inside = graph.tensors[producer.inputs[0]].quantization
        if inside is not None:
            return TOLERANCE_STEPS * max(inside.scale)
    return TOLERANCE_FLOAT


def _file_name(name: str) -> str:
    """`name` in the characters a layer's title may have."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", name).lstrip("._-")[:100] or "model"


backend = LiteRTBackend("litert", LEAST_VERSION)
tflite = LiteRTBackend("tflite", LEAST_TFLITE_VERSION)
