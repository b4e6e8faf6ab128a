"""Chains of elementwise operators that are one function of one tensor, told by their values.

A function has many spellings (`x relu6(x + 3) / 6`, `x clip(x / 6 + 1/2, 0, 1)`). They are told by what they
compute on a grid in float64, not by how they are written.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import cache

import numpy as np
from attrs import frozen

from converters.graph.ir import GraphOperator
from converters.graph.passes.links import Links
from converters.graph.passes.patterns import BINARY, UNARY, in_float, scalar

_MOST = 32  # operators of a chain: erf by its polynomial has twenty
_TOLERANCE = 1e-6  # of the greater of |x| and |f|: erf's polynomial keeps to 1.5e-7

# both signs, dense where functions bend, no point on a round number but those where they have a kink
_SIDE = np.concatenate(
    [np.geomspace(1e-5, 0.0317, 12), np.linspace(0.0313, 9.97, 101), [1, 3, 6, 12.3, 19.7, 27.1]]
)
GRID = np.concatenate([-_SIDE[::-1], [0.0], _SIDE])

Function = Callable[[np.ndarray], np.ndarray]


@cache
def clip(low: float, high: float) -> Function:
    """The function that keeps values between two bounds."""
    return lambda x: np.clip(x, low, high)


def gelu(x: np.ndarray) -> np.ndarray:
    """`x (1 + erf(x / sqrt 2)) / 2`; https://arxiv.org/abs/1606.08415."""
    y: np.ndarray = x * (1 + np.vectorize(math.erf, otypes=[float])(x / math.sqrt(2))) / 2
    return y


def gelu_by_tanh(x: np.ndarray) -> np.ndarray:
    """`x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2`, from the same paper."""
    y: np.ndarray = x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2
    return y


def hard_swish(x: np.ndarray) -> np.ndarray:
    """`x relu6(x + 3) / 6`; https://arxiv.org/abs/1905.02244."""
    y: np.ndarray = x * np.clip(x + 3, 0, 6) / 6
    return y


_ACTIVATIONS: dict[str, Function] = {
    "NONE": lambda x: x,
    "RELU": clip(0, math.inf),
    "RELU6": clip(0, 6),
    "RELU_N1_TO_1": clip(-1, 1),
    "TANH": np.tanh,
}
_UNARY: dict[str, Function] = {
    "ABS": np.abs,
    "EXP": np.exp,
    "HARD_SWISH": hard_swish,
    "LOGISTIC": lambda x: 1 / (1 + np.exp(-x)),
    "NEG": np.negative,
    "RELU": _ACTIVATIONS["RELU"],
    "RELU6": _ACTIVATIONS["RELU6"],
    "RELU_0_TO_1": clip(0, 1),
    "RELU_N1_TO_1": _ACTIVATIONS["RELU_N1_TO_1"],
    "RSQRT": lambda x: 1 / np.sqrt(x),
    "SIGN": np.sign,
    "SQRT": np.sqrt,
    "SQUARE": np.square,
    "TANH": np.tanh,
}
_BINARY: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "ADD": np.add,
    "DIV": np.divide,
    "MAXIMUM": np.maximum,
    "MINIMUM": np.minimum,
    "MUL": np.multiply,
    "POW": np.power,
    "SQUARED_DIFFERENCE": lambda a, b: np.square(a - b),
    "SUB": np.subtract,
}
KNOWN = frozenset((*_UNARY, *_BINARY)) & (UNARY | BINARY)


@cache
def _on_grid(function: Function) -> np.ndarray:
    return function(GRID)


@frozen
class Curve:
    """Operators that compute `root`'s output from one tensor and scalars; none else reads what lies between.

    `values` is that function on `GRID`.
    """

    root: GraphOperator
    source: str
    operators: tuple[GraphOperator, ...]
    values: np.ndarray

    def is_function(self, function: Function) -> bool:
        """Whether it computes that function."""
        return self.has(_on_grid(function))

    def has(self, expected: np.ndarray) -> bool:
        """Whether these are its values, within what float32 and an approximation of erf are off.

        At 0 they must agree exactly: `max(x, 1e-12)` is there to be divided by.
        """
        scale = np.maximum(np.abs(GRID), np.abs(expected))
        return bool(np.all(np.abs(self.values - expected) <= _TOLERANCE * scale))


def curves(links: Links, *, least: int = 2) -> list[Curve]:
    """Every chain of at least so many operators, the longest of a root first; the last root first."""
    found = links.memo.get("curves")
    if found is None:
        found = links.memo["curves"] = list(_curves(links))
    return [curve for curve in found if len(curve.operators) >= least]


def _curves(links: Links) -> Iterator[Curve]:
    order = {id(operator): place for place, operator in enumerate(links.graph.operators)}
    for root in reversed(links.operators(*KNOWN)):
        if in_float(links, root):
            for source, operators in reversed(list(_cuts(links, root, order))):
                values = _evaluate(links, source, sorted(operators, key=lambda op: order[id(op)]))
                if values is not None:
                    yield Curve(root, source, tuple(operators), values)


def fuse(
    links: Links, found: Callable[[Curve], tuple[str, dict[str, object]] | None], *, least: int = 2
) -> int:
    """Replace every chain that is a builtin by one operator.

    Args:
        links: of the graph.
        found: the builtin and the options that compute a chain, None for those that are none.
        least: operators of a chain.

    Returns:
        How many chains were replaced.
    """
    count = 0
    done: set[int] = set()
    for curve in curves(links, least=least):
        if (
            not any(id(operator) in done for operator in curve.operators)
            and (made := found(curve)) is not None
        ):
            links.become(curve.root, made[0], [curve.source], made[1], curve.operators)
            done.update(map(id, curve.operators))
            count += 1
    return count


def _cuts(
    links: Links, root: GraphOperator, order: dict[int, int]
) -> Iterator[tuple[str, list[GraphOperator]]]:
    """The single tensors that a root is a function of, nearest first, with the operators between."""
    shape = links.tensor(root.outputs[0]).shape
    region = [root]
    while len(region) <= _MOST:
        inside = {id(operator) for operator in region}
        made = {operator.outputs[0] for operator in region}
        frontier = {
            name
            for operator in region
            for name in operator.inputs
            if name is not None and name not in made and scalar(links, name) is None
        }
        if any(links.tensor(name).shape != shape for name in frontier):
            return
        if len(frontier) == 1:
            yield next(iter(frontier)), list(region)
        makers = [links.maker_of(name, *KNOWN) for name in frontier]
        ready = [
            maker
            for maker in makers
            if maker is not None
            and maker.outputs[0] not in links.outputs
            and in_float(links, maker)
            and all(id(reader) in inside for reader in links.readers(maker.outputs[0]))
        ]
        if not ready:
            return
        region.append(max(ready, key=lambda operator: order[id(operator)]))


def _evaluate(links: Links, source: str, operators: Sequence[GraphOperator]) -> np.ndarray | None:
    """The function on the grid in float64; None where it is undefined somewhere."""
    known: dict[str, np.ndarray] = {source: GRID}
    with np.errstate(all="ignore"):  # what is undefined is refused below
        for operator in operators:
            values = []
            for name in operator.inputs:
                number = scalar(links, name)
                values.append(np.full_like(GRID, number) if number is not None else known[name or ""])
            made = (
                _UNARY[operator.type](*values) if operator.type in _UNARY else _BINARY[operator.type](*values)
            )
            activation = _ACTIVATIONS.get(operator.options.get("fusedActivationFunction", "NONE"))
            if activation is None:
                return None
            known[operator.outputs[0]] = activation(made)
    result = known[operators[-1].outputs[0]]
    return result if np.isfinite(result).all() else None
