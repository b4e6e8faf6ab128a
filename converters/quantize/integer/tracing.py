"""A graph in LiteRT whose every tensor can be looked at after a run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from converters.quiet import quiet
from device_agent.errors import QuantizationError

if TYPE_CHECKING:
    import numpy as np

    from converters.graph.ir import Graph

MOST_THREADS = 4


class Tracing:
    """A loaded graph.

    LiteRT keeps all tensors (`experimental_preserve_all_tensors`): of what a delegate takes over they are
    made outputs, so that their values are computed and kept too. On a network of MobileNetV2's size a run
    takes a fifth of what it takes without the delegate.

    Args:
        graph: whose tensors are wanted.
        data: the graph as `write` gives it: its tensors have the order of `graph.tensors`.

    Raises:
        QuantizationError: LiteRT refuses it.
    """

    def __init__(self, graph: Graph, data: bytes) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._inputs = dict(graph.inputs)
        self._place = {name: index for index, name in enumerate(graph.tensors)}
        self._shapes = {name: graph.tensors[tensor].shape for name, tensor in graph.inputs.items()}
        threads = min(MOST_THREADS, os.cpu_count() or 1)
        try:
            with quiet():
                self._interpreter: Any = Interpreter(
                    model_content=data, num_threads=threads, experimental_preserve_all_tensors=True
                )
                self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as e:
            raise QuantizationError("LiteRT refuses the model", got=str(e).strip()[:500]) from e

    def run(self, sample: Mapping[str, np.ndarray]) -> None:
        """Run one sample, arrays by public input name; no view of an earlier run may still be held.

        Raises:
            QuantizationError: LiteRT cannot run it.
        """
        try:
            shapes = {name: tuple(sample[name].shape) for name in self._inputs}
            if shapes != self._shapes:
                for name, shape in shapes.items():
                    self._interpreter.resize_tensor_input(self._place[self._inputs[name]], shape)
                self._interpreter.allocate_tensors()
                self._shapes = shapes
            for name, tensor in self._inputs.items():
                self._interpreter.set_tensor(self._place[tensor], sample[name])
            self._interpreter.invoke()
        except (ValueError, RuntimeError) as e:
            raise QuantizationError("LiteRT cannot run the model", got=str(e).strip()[:500]) from e

    def value(self, tensor: str) -> np.ndarray:
        """The tensor's value after the last run: a view, to be let go of before the next one."""
        array: np.ndarray = self._interpreter.tensor(self._place[tensor])()
        return array


def computed(graph: Graph) -> list[str]:
    """The float tensors of a graph that are no constants, in the order in which they get their values."""
    order = dict.fromkeys(graph.inputs.values())
    order.update(dict.fromkeys(name for operator in graph.operators for name in operator.outputs))
    return [
        name for name in order if graph.tensors[name].dtype == "float32" and graph.tensors[name].data is None
    ]
