"""`f(weights . x + b) * c -> f((c weights) . x + c b)` for f the identity or Relu. Runs in the child."""

from __future__ import annotations

from typing import Any

import numpy as np
import openvino

_PRODUCTS = ("MatMul", "Convolution", "GroupConvolution")


def fold_scales(model: Any) -> int:
    """Fold constant factors of channels into the weights and biases before them, in place.

    OpenVINO folds those right behind a MatMul itself, but when it compiles a float model: not when it
    converts one, and no more once weights are quantised. Behind integer weights such a factor, left by a
    normalisation or put there by SmoothQuant, makes OpenVINO 2026.4 compute rubbish
    (docs/quantization/openvino.md). Of quantised weights the steps are multiplied, which is exact.

    Returns:
        How many were folded.
    """
    folded = 0
    for node in model.get_ordered_ops():
        if node.get_type_name() != "Multiply":
            continue
        for place in (0, 1):
            factor = node.input_value(1 - place).get_node()
            if factor.get_type_name() != "Constant":
                continue
            if _fold(node, node.input_value(place), factor.get_data()):
                folded += 1
                break
    if folded:
        model.validate_nodes_and_infer_types()
    return folded


def _fold(multiply: Any, scaled: Any, factor: np.ndarray) -> bool:
    """Fold one factor, if it can be."""
    source, biases, rectified = scaled, [], False
    while (node := source.get_node()).get_type_name() not in _PRODUCTS:
        if len(source.get_target_inputs()) != 1:
            return False
        constant = _constant(node)
        if node.get_type_name() == "Relu":
            rectified = True
            source = node.input_value(0)
        elif node.get_type_name() == "Add" and constant is not None:
            biases.append((node, constant))
            source = node.input_value(1 - constant)
        else:
            return False
    if len(source.get_target_inputs()) != 1 or (rectified and factor.min() <= 0):
        return False
    channels = _channels(node, factor)
    place = _scale_of(node)
    if channels is None or place is None:
        return False
    holder, index = place
    _replace(holder, index, channels)
    for bias, constant in biases:
        values = bias.input_value(constant).get_node().get_data()
        bias.input(constant).replace_source_output(_float(values * factor))
    names = multiply.output(0).get_names()
    multiply.output(0).replace(scaled)
    scaled.get_tensor().set_names(names)
    return True


def _constant(node: Any) -> int | None:
    """Which operand of a node of two is a constant."""
    if node.get_input_size() != 2:
        return None
    return next((i for i in (1, 0) if node.input_value(i).get_node().get_type_name() == "Constant"), None)


def _channels(product: Any, factor: np.ndarray) -> np.ndarray | None:
    """A factor of a product's channels in the shape of its weights; None where it is none of channels."""
    rank = product.get_output_partial_shape(0).rank
    weights = product.input_value(1).get_partial_shape()
    if rank.is_dynamic or weights.is_dynamic or factor.dtype != np.float32 or factor.ndim > rank.get_length():
        return None
    shape = tuple(weights.to_shape())
    matrix = product.get_type_name() == "MatMul"
    if matrix and len(shape) != 2:
        return None
    axis = rank.get_length() - 1 if matrix else 1
    aligned = (1,) * (rank.get_length() - factor.ndim) + factor.shape
    if factor.size > 1 and aligned[axis] != factor.size:
        return None  # it differs along another axis
    if matrix:
        transposed = product.get_attributes()["transpose_b"]
        count = shape[0 if transposed else 1]
        wanted: tuple[int, ...] = (-1, 1) if transposed else (1, -1)
    elif product.get_type_name() == "Convolution":
        count, wanted = shape[0], (-1, *(1 for _ in shape[1:]))
    else:
        count, wanted = shape[0] * shape[1], (*shape[:2], *(1 for _ in shape[2:]))
    if factor.size not in (1, count):
        return None
    return np.broadcast_to(factor.reshape(-1), (count,)).reshape(wanted)


def _scale_of(product: Any) -> tuple[Any, int] | None:
    """The node and its operand that hold what weights are multiplied by: they themselves, or their steps."""
    weights = product.input_value(1).get_node()
    if weights.get_type_name() == "Constant" and weights.get_data().dtype == np.float32:
        return product, 1
    if weights.get_type_name() == "Multiply" and weights.input_value(0).get_node().get_type_name() in (
        "Convert",
        "Subtract",
    ):
        steps = weights.input_value(1).get_node()
        if steps.get_type_name() == "Constant" and steps.get_data().dtype == np.float32:
            return weights, 1
    return None


def _replace(holder: Any, index: int, factor: np.ndarray) -> None:
    values = holder.input_value(index).get_node().get_data()
    holder.input(index).replace_source_output(_float(values * factor))


def _float(values: np.ndarray) -> Any:
    return openvino.op.Constant(np.ascontiguousarray(values, np.float32)).output(0)
