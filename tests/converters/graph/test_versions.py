"""The versions of operators that depend on more than a dtype."""

from typing import Any

import pytest

from converters.graph.ir import Graph, GraphOperator, GraphTensor
from converters.graph.options import complete
from converters.graph.versions import version
from device_agent.bundle import Quantization


def _version(builtin: str, tensors: list[GraphTensor], **options: Any) -> int:
    names = [tensor.name for tensor in tensors]
    operator = GraphOperator(builtin, list(names[:-1]), names[-1:], complete(builtin, options))
    return version(Graph({tensor.name: tensor for tensor in tensors}, [operator], {}, {}), operator)


def _tensors(*shapes: tuple[int, ...], dtype: str = "float32") -> list[GraphTensor]:
    return [GraphTensor(f"t{place}", shape, dtype) for place, shape in enumerate(shapes)]


@pytest.mark.parametrize(("depth", "expected"), [(4, 1), (2, 6)])
def test_groups(depth, expected):
    """A convolution in groups came later."""
    assert expected == _version("CONV_2D", _tensors((1, 5, 5, 4), (6, 3, 3, depth), (6,), (1, 3, 3, 6)))


@pytest.mark.parametrize(("inputs", "expected"), [(3, 1), (4, 3)])
def test_bias_of_a_transposed_convolution(inputs, expected):
    """So did its bias."""
    shapes = [(4,), (2, 3, 3, 4), (1, 5, 5, 4), (2,)][:inputs]
    assert expected == _version("TRANSPOSE_CONV", _tensors(*shapes, (1, 7, 7, 2)))


@pytest.mark.parametrize(
    ("builtin", "options", "expected"),
    [
        ("RESIZE_BILINEAR", {}, 1),
        ("RESIZE_BILINEAR", {"alignCorners": True}, 1),
        ("RESIZE_BILINEAR", {"halfPixelCenters": True}, 3),
        ("RESIZE_NEAREST_NEIGHBOR", {"alignCorners": True}, 3),
    ],
)
def test_resizes(builtin, options, expected):
    """Half pixels and aligned corners came later."""
    assert expected == _version(builtin, _tensors((1, 2, 2, 1), (2,), (1, 4, 4, 1)), **options)


@pytest.mark.parametrize(("scales", "expected"), [((0.5,), (1, 2)), ((0.5, 0.25), (3, 5))])
def test_scales_per_channel(scales, expected):
    """A scale per channel came later."""
    real, held = _tensors((3, 2), (3, 2))
    held.dtype, held.quantization = "int8", Quantization(scales, (0,) * len(scales), 1)
    assert expected == (_version("QUANTIZE", [real, held]), _version("DEQUANTIZE", [held, real]))
