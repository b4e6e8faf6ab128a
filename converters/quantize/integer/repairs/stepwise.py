"""Runs a graph on several samples, from one operator to the next, so that it may change on the way."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from converters.graph.ir import Graph
from converters.graph.write import write
from converters.quantize.integer.tracing import Tracing

if TYPE_CHECKING:
    import numpy as np


class Stepwise:
    """A graph that has run up to one of its operators on all samples.

    What later operators read is held for every sample, and let go of when the last of them has run.

    Args:
        graph: its operators that have not run may still be given other constants.
        samples: arrays by public input name.
    """

    def __init__(self, graph: Graph, samples: Sequence[Mapping[str, np.ndarray]]) -> None:
        self._graph = graph
        self._samples = len(samples)
        self._next = 0
        self._values = {
            tensor: [sample[public] for sample in samples] for public, tensor in graph.inputs.items()
        }

    def run(self, end: int) -> None:
        """Run the operators before the one with this index.

        Raises:
            QuantizationError: LiteRT refuses them.
        """
        operators = self._graph.operators[self._next : end]
        self._next = max(self._next, end)
        if not operators:
            return
        later = {name for operator in self._graph.operators[end:] for name in operator.inputs}
        read = dict.fromkeys(name for operator in operators for name in operator.inputs if name is not None)
        made = dict.fromkeys(name for operator in operators for name in operator.outputs)
        held = dict.fromkeys(name for operator in operators for name in operator.intermediates)
        given = [name for name in read if name in self._values]
        kept = [name for name in made if name in later]
        tensors = {name: self._graph.tensors[name] for name in (*read, *made, *held)}
        part = Graph(tensors, operators, {name: name for name in given}, {name: name for name in kept})
        tracing = Tracing(part, write(part))
        results: dict[str, list[np.ndarray]] = {name: [] for name in kept}
        for index in range(self._samples):
            tracing.run({name: self._values[name][index] for name in given})
            for name in kept:
                results[name].append(tracing.value(name).copy())
        self._values = {name: arrays for name, arrays in self._values.items() if name in later} | results

    def values(self, name: str) -> list[np.ndarray]:
        """A tensor that has been made and is still read, of each sample."""
        return self._values[name]


def most_samples(graph: Graph, budget: int) -> int:
    """How many samples' values fit in so many bytes where the graph holds most of them, taken as float32."""
    last = {name: index for index, operator in enumerate(graph.operators) for name in operator.inputs}
    live: dict[str, int] = {name: 4 * math.prod(graph.tensors[name].shape) for name in graph.inputs.values()}
    most = 1
    for index, operator in enumerate(graph.operators):
        live |= {name: 4 * math.prod(graph.tensors[name].shape) for name in operator.outputs}
        most = max(most, sum(live.values()))
        live = {name: size for name, size in live.items() if last.get(name, -1) > index}
    return max(1, budget // most)
