"""NNCF's functions as this package uses them: kept quiet, its errors mapped. Runs in the child."""

from __future__ import annotations

import contextlib
import logging
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from device_agent.errors import QuantizationError

if TYPE_CHECKING:
    from converters.openvino.tracing import Samples

GROUP = 64  # input channels of a matrix that share a step in int4; a smaller power of two where it must be
LEAST_GROUP = 4
# alpha, by which SmoothQuant shares a range between activations and weights: NNCF's own for MatMul, and what
# the paper has for the rest, which NNCF leaves alone unless it is asked
ALPHA_MATMUL, ALPHA_CONVOLUTION = 0.95, 0.5
_WEIGHTED = frozenset(("MatMul", "Convolution", "GroupConvolution", "ConvolutionBackpropData"))
_UNPACKING = frozenset(
    ("Convert", "Subtract", "Multiply", "Reshape", "Transpose")
)  # between them and weights
_SMOOTHING = "nncf_smooth_quant"  # in the names of the factors that it puts into a model


def quantized(model: Any, samples: Samples, head: Mapping[str, Any]) -> Any:
    """A model with quantised weights and activations.

    Args:
        model: float; may be changed.
        samples: to calibrate on, all of them.
        head: of the request; see `nncf_child`.

    Raises:
        QuantizationError: NNCF refuses; says why.
    """
    with _quiet() as nncf:
        repairs = head["repairs"]
        alphas = nncf.AdvancedSmoothQuantParameters(convolution=ALPHA_CONVOLUTION, matmul=ALPHA_MATMUL)
        advanced = nncf.AdvancedQuantizationParameters(
            disable_bias_correction=not {"bias_correction", "fast_bias_correction"} & set(repairs),
            activations_range_estimator_params=_ranges(head["ranges"]),
            smooth_quant_alphas=alphas,
        )
        return nncf.quantize(
            model,
            nncf.Dataset(samples),
            subset_size=len(samples),
            preset=nncf.QuantizationPreset.MIXED,
            model_type=nncf.ModelType.TRANSFORMER if "smooth_quant" in repairs else None,
            fast_bias_correction="bias_correction" not in repairs,
            ignored_scope=nncf.IgnoredScope(names=list(head["ignored"]), validate=False),
            advanced_parameters=advanced,
        )


def compressed(model: Any, bits: int) -> tuple[Any, dict[str, int]]:
    """A model with weights of 8 or 4 bits, and how many were compressed: to 8 bits, and to fewer.

    Raises:
        QuantizationError: NNCF refuses; says why.
    """
    before = _stored(model)
    with _quiet() as nncf:
        if bits == 8:
            made = nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_ASYM)
        else:
            made = nncf.compress_weights(
                model,
                mode=nncf.CompressWeightsMode.INT4_SYM,
                group_size=GROUP,
                advanced_parameters=nncf.AdvancedCompressionParameters(
                    group_size_fallback_mode=nncf.GroupSizeFallbackMode.ADJUST,
                    min_adjusted_group_size=LEAST_GROUP,
                ),
            )
    found = _stored(made)
    found.subtract(before)
    return made, {"weight-int8": found["i8"] + found["u8"], "weight-int4": found["i4"] + found["u4"]}


def weights_of(model: Any) -> dict[str, str]:
    """What the weights of operators are stored in: by the operator's name `i8`, `u4`, `f32`, ..."""
    found = {}
    for node in model.get_ordered_ops():
        if node.get_type_name() in _WEIGHTED:
            source = node.input_value(1).get_node()
            while source.get_type_name() in _UNPACKING:
                source = source.input_value(0).get_node()
            if source.get_type_name() == "Constant":
                found[node.get_friendly_name()] = source.get_element_type().get_type_name()
    return found


def changed(source: Any, made: Any) -> dict[str, int]:
    """What each repair did: the factors of SmoothQuant, and biases that are others than before."""
    products = (node for node in made.get_ops() if node.get_type_name() == "Multiply")
    factors = sum(_SMOOTHING in node.get_friendly_name() for node in products)
    biases, other = _biases(source), _biases(made)
    return {
        "smooth_quant": factors,
        "biases": sum(
            name in other and not np.array_equal(value, other[name]) for name, value in biases.items()
        ),
    }


def _ranges(name: str) -> Any:
    from nncf.quantization import range_estimator

    parameters = range_estimator.RangeEstimatorParametersSet
    if name == "minmax":
        return parameters.MINMAX
    return parameters.HISTOGRAM if name == "mse" else range_estimator.RangeEstimatorParameters()


def _stored(model: Any) -> Counter[str]:
    """How many operators have weights stored in each type."""
    return Counter(weights_of(model).values())


def _biases(model: Any) -> dict[str, np.ndarray]:
    found = {}
    for node in model.get_ops():
        if node.get_type_name() == "Add":
            for index in (0, 1):
                value = node.input_value(index).get_node()
                if value.get_type_name() == "Constant":
                    found[node.get_friendly_name()] = value.get_data()
    return found


@contextlib.contextmanager
def _quiet() -> Iterator[Any]:
    """NNCF, its progress bars and logs kept away: in an error they would be all that is quoted."""
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        import nncf

        nncf.set_log_level(logging.ERROR)
        try:
            yield nncf
        except Exception as e:
            raise QuantizationError(
                "NNCF refuses the model", got=f"{type(e).__name__}: {' '.join(str(e).split())[:400]}"
            ) from e
