"""A TFLite-level graph as an `Artifact`: what a caller must know of the file."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from converters.artifact import Artifact
from converters.quantize.integer.quantizer import float_operators
from device_agent.bundle import TensorSpec

if TYPE_CHECKING:
    from converters.graph.ir import Graph, GraphTensor
    from converters.model import Model

# Integer kernels round differently, and over a network the steps add up: LiteRT's kernels for other
# processors come out up to 2 steps apart, those of older runtimes up to 4. (LiteRT 1.0.1 and 2.3.0 on
# x86-64 agree exactly.)
TOLERANCE_STEPS = 4.0
# Float kernels sum in another order: about 1e-6 of an operator's values, 1e-5 over a deep network. 1e-3
# leaves room for half-precision accumulation on small cores and still catches every wrong weight. It is
# an absolute bound for outputs of about 1 (scores, normalised values), as outputs of networks mostly are.
TOLERANCE_FLOAT = 1e-3


def artifact_of(
    graph: Graph,
    data: bytes,
    model: Model,
    *,
    precision: str,
    runtime: str,
    least_version: str,
    rewrites: dict[str, int],
) -> Artifact:
    """The artifact that is a graph's file.

    Args:
        graph: as the file holds it.
        data: the file.
        model: what it was made of.
        precision: what the artifact is called by.
        runtime: that runs it.
        least_version: of the runtime.
        rewrites: how often each applied.
    """
    layouts = {spec.name: spec.layout for spec in (*model.inputs, *model.outputs)}
    return Artifact(
        title=f"{file_name(model.name)}_{precision}.tflite",
        data=data,
        runtime=runtime,
        runtime_version=least_version,
        precision=precision,
        inputs=_specs(graph, graph.inputs, layouts),
        outputs=_specs(graph, graph.outputs, layouts),
        operators=tuple(operator.type for operator in graph.operators),
        float_operators=float_operators(graph, ends_convert=precision != "float32"),
        tolerance={name: _tolerance(graph, tensor) for name, tensor in graph.outputs.items()},
        rewrites=rewrites,
    )


def _specs(graph: Graph, named: dict[str, str], layouts: dict[str, str | None]) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(
            name, tensor.dtype, tensor.signature or tensor.shape, layouts.get(name), tensor.quantization
        )
        for name, tensor in ((name, graph.tensors[place]) for name, place in named.items())
    )


def _tolerance(graph: Graph, output: str) -> float:
    """How far a device may be from the host in that output, in the output's own unit (integers: steps).

    Values come to a float output from quantised ones as well, where parts of the graph compute in float:
    those that are within reach of it bound its error.
    """
    tensor = graph.tensors[output]
    if not tensor.dtype.startswith("float"):
        return TOLERANCE_STEPS * _coarseness(graph, tensor) if tensor.quantization is not None else 0.0
    makers = {name: operator for operator in graph.operators for name in operator.outputs}
    pending, seen, steps = [output], {output}, [0.0]
    while pending:
        operator = makers.get(pending.pop())
        if operator is None:
            continue
        for name in operator.inputs:
            if name is None or name in seen or graph.tensors[name].data is not None:
                continue
            seen.add(name)
            held = graph.tensors[name]
            if held.quantization is not None:
                steps.append(max(held.quantization.scale) * _coarseness(graph, held))
            else:
                pending.append(name)
    return TOLERANCE_STEPS * max(steps) or TOLERANCE_FLOAT


def _coarseness(graph: Graph, tensor: GraphTensor) -> float:
    """What one step of error is in a tensor's steps: int16 values that come from int8 ones are as coarse."""
    activations = (held for held in graph.tensors.values() if held.data is None)
    mixed = tensor.dtype == "int16" and any(held.dtype == "int8" for held in activations)
    return 65535 / 255 if mixed else 1.0


def file_name(name: str) -> str:
    """`name` in the characters a layer's title may have."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", name).lstrip("._-")[:100] or "model"
