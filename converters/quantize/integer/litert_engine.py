"""`LiteRTEngine`: builds one model for LiteRT or tflite-runtime in any scheme, and looks inside it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from attrs import evolve, frozen

from converters.backends.compiled import artifact_of
from converters.graph.cost import macs_of
from converters.graph.read import read
from converters.graph.write import write
from converters.quantize.engine import Built, Effect, Fallback, Layer, LayerError
from converters.quantize.integer import quantizer, weights
from converters.quantize.integer.assignment import FLOAT, computes, refusal
from converters.quantize.integer.layer_errors import layer_errors
from converters.quantize.integer.prepared import Prepared, Range, copied
from converters.quantize.integer.ranges import METHODS, choose
from converters.quantize.integer.repairs import REPAIRS
from converters.quantize.integer.repairs.base import Context
from converters.quantize.integer.statistics import Statistics, collect
from converters.quantize.samples.sources import WAYS
from converters.quantize.scheme import MIXED, STATIC, Scheme
from device_agent.errors import CalibrationError, InvalidRequest

if TYPE_CHECKING:
    import numpy as np

    from converters.graph.ir import Graph, GraphOperator
    from converters.model import Model
    from converters.progress import Progress
    from converters.quantize.samples.calibration import Calibration
    from converters.resizing import Opened


MOST_KEPT = 8  # repaired graphs: each may hold weights of its own


class LiteRTEngine:
    """See `Engine`.

    Args:
        model: what the graph was made of.
        graph: float32, lowered and rewritten; not changed.
        calibration: samples for the ranges of activations, which static schemes need.
        runtime: `litert`, or `tflite` for tflite-runtime, whose kernels know less.
        least_version: the least version of it that can run what is built.
        progress: told of calibration.
        opened: where sizes of the graph stay open.
        rewrites: how often each applied to the graph, for the artifacts.
    """

    steps = ("int16x8", FLOAT)

    def __init__(
        self,
        model: Model,
        graph: Graph,
        calibration: Calibration | None,
        *,
        runtime: str,
        least_version: str,
        progress: Progress,
        opened: Opened | None = None,
        rewrites: Mapping[str, int] | None = None,
    ) -> None:
        self.ranges = METHODS
        self.repairs = tuple(REPAIRS)
        self._model, self._graph, self._calibration = model, graph, calibration
        self.name = runtime
        self._runtime, self._least_version, self._progress = runtime, least_version, progress
        self._opened, self._rewrites = opened, dict(rewrites or {})
        self._statistics: Statistics | None = None
        self._made: dict[tuple[str, str, tuple[str, ...]], _Repaired] = {}

    def layers(self) -> tuple[Layer, ...]:
        """The operators that touch floats, in execution order."""
        made = {name: one.outputs[0] for one in self._graph.operators for name in one.outputs}
        return tuple(
            Layer(
                name=operator.outputs[0],
                type=operator.type,
                label=self._label(operator),
                macs=macs_of(self._graph, operator),
                precisions=(*self._integer(operator), FLOAT),
                inputs=tuple(made[name] for name in operator.inputs if name in made),
            )
            for operator in self._graph.operators
            if computes(self._graph, operator)
        )

    def build(self, scheme: Scheme) -> Built:
        """The model in that scheme; see `Engine`."""
        parts = self._quantized(scheme)
        graph, data = parts.graph, write(parts.graph)
        if self._opened is not None and graph is not self._graph:
            from converters.resizing import restated

            data = restated(data, self._opened)
            graph = read(data, where=self._model.path.name)
        rewrites = dict(self._rewrites)
        if parts.widened_channels:
            rewrites["keep_biases"] = parts.widened_channels
        artifact = artifact_of(
            graph,
            data,
            self._model,
            precision=MIXED if scheme.exceptions else scheme.precision,
            runtime=self._runtime,
            least_version=self._least_version,
            rewrites=rewrites,
        )
        return Built(artifact, parts.effects, parts.fallbacks)

    def errors(self, scheme: Scheme, samples: Iterable[Mapping[str, np.ndarray]]) -> tuple[LayerError, ...]:
        """The error of each layer's output; see `Engine`."""
        static = scheme.precision in STATIC  # repairs change what the tensors of the float graph hold
        reference = self._repaired(scheme).prepared.graph if static else self._graph
        return layer_errors(reference, self._quantized(scheme).graph, self.layers(), samples)

    def _quantized(self, scheme: Scheme) -> _Parts:
        if scheme.precision == FLOAT:
            return _Parts(self._graph)
        if scheme.precision not in STATIC:
            graph, fallbacks = weights.apply(self._graph, scheme.precision, runtime=self._runtime)
            return _Parts(graph, fallbacks=fallbacks)
        repaired = self._repaired(scheme)
        prepared = _unclipped(repaired, scheme)
        made = quantizer.applied(prepared, scheme, runtime=self._runtime)
        return _Parts(made.graph, repaired.effects, made.fallbacks, made.widened_channels)

    def _repaired(self, scheme: Scheme) -> _Repaired:
        """The graph with ranges chosen and repairs applied, which schemes share whatever their exceptions.

        What the first repairs of a longer list did is taken from where they were applied before.
        """
        key = (scheme.precision, scheme.ranges, scheme.repairs)
        if key not in self._made:
            if scheme.repairs:
                *earlier, name = scheme.repairs
                before = self._repaired(evolve(scheme, repairs=tuple(earlier)))
                self._made[key] = self._repair(name, before, scheme)
            else:
                statistics = self._calibrated(scheme)
                prepared = Prepared(self._graph, _chosen(statistics, scheme))
                self._made[key] = _Repaired(prepared, statistics, ())
        found = self._made.pop(key)
        self._made[key] = found  # the last that was asked for is the last to go
        while len(self._made) > MOST_KEPT:
            del self._made[next(iter(self._made))]
        return found

    def _repair(self, name: str, before: _Repaired, scheme: Scheme) -> _Repaired:
        if name not in REPAIRS:
            raise InvalidRequest("unknown repair", got=repr(name), expected=" or ".join(REPAIRS))
        prepared, samples = copied(before.prepared), self._samples(scheme)

        def recalibrate() -> None:
            context.statistics = collect(prepared.graph, samples, self._progress)
            prepared.ranges = _chosen(context.statistics, scheme)

        context = Context(
            samples,
            before.statistics,
            evolve(scheme, exceptions={}),
            recalibrate,
            self._progress,
            self._runtime,
        )
        effect = REPAIRS[name](prepared, context)
        effects = (*before.effects, effect)
        if not effect.changed:
            return evolve(before, effects=effects)
        return _Repaired(prepared, context.statistics, effects)

    def _samples(self, scheme: Scheme) -> Calibration:
        if self._calibration is None:
            raise CalibrationError(
                f"{scheme.precision} needs calibration data, and none was given", next_step=WAYS
            )
        return self._calibration

    def _calibrated(self, scheme: Scheme) -> Statistics:
        """Of the graph as it was given."""
        if self._statistics is None:
            self._statistics = collect(self._graph, self._samples(scheme), self._progress)
        return self._statistics

    def _integer(self, operator: GraphOperator) -> tuple[str, ...]:
        return tuple(
            precision
            for precision in STATIC
            if refusal(self._graph, operator, precision, self._runtime, None) is None
        )

    def _label(self, operator: GraphOperator) -> str:
        names = {one.index: one.name for one in self._model.operators}
        found = [names[source] for source in operator.sources if names.get(source)]
        return ", ".join(found) or operator.outputs[0]


@frozen
class _Parts:
    graph: Graph
    effects: tuple[Effect, ...] = ()
    fallbacks: tuple[Fallback, ...] = ()
    widened_channels: int = 0


@frozen
class _Repaired:
    """A float graph after repairs, the statistics of its activations, and what the repairs did."""

    prepared: Prepared
    statistics: Statistics
    effects: tuple[Effect, ...]


def _chosen(statistics: Statistics, scheme: Scheme) -> dict[str, Range]:
    bits = 16 if scheme.precision == "int16x8" else 8
    return choose(statistics, scheme.ranges, bits=bits, symmetric=bits == 16)


def _unclipped(repaired: _Repaired, scheme: Scheme) -> Prepared:
    """What is to be quantised, with whole ranges for what int16 layers of an int8 model make."""
    prepared, found = repaired.prepared, repaired.statistics.tensors
    wider = {name for name, precision in scheme.exceptions.items() if precision == "int16x8"}
    if not wider or scheme.ranges == METHODS[0]:
        return prepared
    ranges = {
        name: Range(found[name].minimum, found[name].maximum)
        for operator in prepared.graph.operators
        if operator.outputs[0] in wider
        for name in operator.outputs
        if name in found
    }
    return evolve(prepared, ranges={**prepared.ranges, **ranges})
