"""A TFLite-level graph as an `Artifact`: what a caller must know of the file."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from converters.artifact import Artifact
from converters.quantize.quantizer import float_operators
from device_agent.bundle import TensorSpec

if TYPE_CHECKING:
    from converters.graph.ir import Graph
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
        title=f"{_file_name(model.name)}_{precision}.tflite",
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
