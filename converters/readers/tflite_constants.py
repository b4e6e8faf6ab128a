"""A TFLite file's constants: those that nothing reads, and those that are stored smaller than they are."""

from __future__ import annotations

import numpy as np

from converters.graph.ir import Graph, GraphTensor


def drop_unused(graph: Graph) -> None:
    """Drop tensors that no operator, input or output names; files hold some."""
    used = {*graph.inputs.values(), *graph.outputs.values()}
    for operator in graph.operators:
        used.update(name for name in operator.inputs if name is not None)
        used.update(operator.outputs, operator.intermediates)
    for name in graph.tensors.keys() - used:
        del graph.tensors[name]


def widen_constants(graph: Graph) -> None:
    """`DEQUANTIZE(constant)` -> the float32 constant it gives, so that the model is a float model.

    That of a float16 constant, or of an integer one: scale * (q - zero point) in float32, as the kernel
    computes it (https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/dequantize.h).
    """
    ends = set(graph.outputs.values())
    for operator in list(graph.operators):
        if operator.type != "DEQUANTIZE" or operator.outputs[0] in ends:
            continue
        stored, made = graph.tensors[operator.inputs[0] or ""], graph.tensors[operator.outputs[0]]
        value = _value(stored)
        if value is not None and made.dtype == "float32" and value.shape == made.shape:
            made.data = value
            graph.operators.remove(operator)
    drop_unused(graph)


def _value(stored: GraphTensor) -> np.ndarray | None:
    if stored.data is None or (stored.quantization is None and stored.dtype != "float16"):
        return None
    if stored.dtype == "float16":
        return stored.data.astype(np.float32)
    if stored.dtype not in ("int8", "uint8", "int16") or stored.quantization is None:
        return None
    scale = np.array(stored.quantization.scale, np.float32)
    zero_point = np.array(stored.quantization.zero_point, np.float32)
    if len(scale) > 1:
        axis = stored.quantization.axis
        if not 0 <= axis < len(stored.shape) or stored.shape[axis] != len(scale):
            return None
        shape = [-1 if place == axis else 1 for place in range(len(stored.shape))]
        scale, zero_point = scale.reshape(shape), zero_point.reshape(shape)
    widened: np.ndarray = scale * (stored.data.astype(np.float32) - zero_point)
    return widened.reshape(stored.shape)
