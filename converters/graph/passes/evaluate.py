"""The value of operators whose inputs are constants, computed by LiteRT's own kernels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from attrs import evolve

from converters.graph.ir import Graph, GraphOperator


def evaluate(graph: Graph, operators: Sequence[GraphOperator]) -> dict[str, np.ndarray]:
    """The outputs of operators of a graph that read constants and each other only, in execution order.

    They are run as a model of their own. One that its kernel refuses, or whose result is not of the shape
    and dtype that the graph states, has no value here, and so have those that read it.
    """
    together = _run(graph, operators)
    if together is not None:
        return together
    found: dict[str, np.ndarray] = {}
    for operator in operators:
        known = evolve(
            graph, tensors=graph.tensors | {n: evolve(graph.tensors[n], data=v) for n, v in found.items()}
        )
        if all(name is None or known.tensors[name].data is not None for name in operator.inputs):
            found |= _run(known, [operator]) or {}
    return found


def _run(graph: Graph, operators: Sequence[GraphOperator]) -> dict[str, np.ndarray] | None:
    """The values of all outputs, None where one cannot be had."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    from converters.graph.write import write

    made = [name for operator in operators for name in operator.outputs]
    used = {name for operator in operators for name in operator.inputs if name is not None} | set(made)
    tensors = {name: evolve(tensor) for name, tensor in graph.tensors.items() if name in used}
    alone = Graph(tensors, list(operators), {}, {name: name for name in made})
    try:
        interpreter = Interpreter(
            model_content=write(alone),
            num_threads=1,
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
        interpreter.allocate_tensors()
        interpreter.invoke()
    except (ValueError, RuntimeError):  # the kernel refuses; the runtime of the whole model will say so
        return None
    values = {}
    for name, row in zip(made, interpreter.get_output_details(), strict=True):
        value = interpreter.get_tensor(row["index"])
        stated = graph.tensors[name]
        if value.shape != stated.shape or value.dtype.name != stated.dtype:
            return None
        values[name] = np.array(value)
    return values
