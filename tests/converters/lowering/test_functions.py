"""Functions of one number against ONNX Runtime."""

import numpy as np
import pytest
from onnx import helper

X = np.linspace(-3, 3, 60, dtype=np.float32).reshape(3, 4, 5)
INSIDE = X / 3.2


@pytest.mark.parametrize(
    ("operator", "values"),
    [
        *((name, X) for name in ("Ceil", "Round", "Sign", "Erf", "Sinh", "Cosh", "Atan", "Asinh")),
        *((name, INSIDE) for name in ("Asin", "Acos", "Atanh", "Tan")),
        ("Acosh", np.abs(X) + 1),
        ("Reciprocal", X + 0.01),
        ("Round", np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5], np.float32)),
        ("Erf", np.array([0.0, 1e-6, -1e-6, 30.0, -30.0], np.float32)),
    ],
)
def test_function(convert, operator, values):
    """Each function is within a few units of the last place of its largest value."""
    convert([helper.make_node(operator, ["x"], ["y"])], {"x": values}, tolerance=5e-6)


@pytest.mark.parametrize("dtype", ["float32", "int8", "int32", "int64"])
@pytest.mark.parametrize("operator", ["Abs", "Neg", "Sign"])
def test_signs(convert, operator, dtype):
    """The absolute value, the negative and the sign of every signed dtype."""
    values = np.array([-7, -1, 0, 1, 100], dtype)
    convert([helper.make_node(operator, ["x"], ["y"])], {"x": values}, dtype=dtype, opset=13)
