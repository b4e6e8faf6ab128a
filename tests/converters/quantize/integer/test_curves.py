"""Functions of one tensor become one table."""

import numpy as np
import pytest

from converters.graph.ir import Graph, GraphOperator, GraphTensor
from converters.graph.write import write
from converters.quantize.integer import quantizer
from converters.quantize.integer.prepared import Prepared, Range
from converters.quantize.scheme import STATIC, Scheme
from tests.converters.quantize.integer.rules import proof

X = np.linspace(-8, 6, 64, dtype=np.float32)[None]
SOFTPLUS = [("EXP", "x", "e"), ("ADD", "e one", "s"), ("LOG", "s", "y")]
# x (e^2x + 2 e^x) / (e^2x + 2 e^x + 2)
MISH = [
    ("MINIMUM", "x most", "m"), ("EXP", "m", "e"), ("ADD", "e two", "a"), ("MUL", "e a", "p"),
    ("ADD", "p two", "q"), ("DIV", "p q", "r"), ("MUL", "x r", "y"),
]  # fmt: skip
TABLE = ["CAST", "ADD", "GATHER"]


def chain(rows: list[tuple[str, str, str]], *outputs: str) -> Prepared:
    """Operators as (type, inputs, output) with the ranges of `X`."""
    constants = {"one": 1.0, "two": 2.0, "most": 20.0}
    tensors = {"x": GraphTensor("x", X.shape, "float32")}
    for _, inputs, output in rows:
        tensors[output] = GraphTensor(output, X.shape, "float32")
        for name in inputs.split():
            if name in constants:
                tensors[name] = GraphTensor(name, (), "float32", np.array(constants[name], np.float32))
    operators = [GraphOperator(kind, [*inputs.split()], [output], {}, (0,)) for kind, inputs, output in rows]
    graph = Graph(tensors, operators, {"x": "x"}, {name: name for name in (outputs or ("y",))})
    whole = Graph(tensors, operators, {"x": "x"}, {output: output for _, _, output in rows})
    seen = {"x": X, **proof.computed(whole, {"x": X})}
    return Prepared(graph, {name: Range(float(a.min()), float(a.max())) for name, a in seen.items()})


def types(prepared: Prepared, scheme: Scheme) -> list[str]:
    made, fallbacks = quantizer.apply(prepared, scheme)
    assert () == fallbacks
    return [operator.type for operator in made.operators]


@pytest.mark.parametrize("rows", [SOFTPLUS, MISH], ids=["softplus", "mish"])
@pytest.mark.parametrize("precision", STATIC)
def test_a_chain_is_as_exact_as_a_table(rows: list[tuple[str, str, str]], precision: str) -> None:
    """Half a step of its input and half a step of its output, where e^x alone would leave nothing."""
    prepared = chain(rows)
    made, _ = quantizer.apply(prepared, Scheme(precision))
    assert TABLE == [operator.type for operator in made.operators]
    given = proof.steps_of(X, made.tensors["x"])
    got = proof.litert(write(made), {"x": given})
    assert not isinstance(got, str), got
    real = proof.computed(prepared.graph, {"x": proof.real_of(given, made.tensors["x"])})["y"]
    assert np.abs(got["y"] - proof.steps_of(real, made.tensors["y"]).astype(int)).max() <= 1


def test_what_others_read_is_made() -> None:
    """What lies within is an output too: the table ends there, and the LOG of it is apart."""
    assert [*TABLE, "LOG"] == types(chain(SOFTPLUS, "s", "y"), Scheme())


def test_a_layer_that_the_scheme_names_stays_apart() -> None:
    """A search may give it a precision of its own."""
    kinds = types(chain(MISH), Scheme(exceptions={"e": "float32"}))
    assert "EXP" in kinds


def test_what_has_kernels_and_is_not_steep_stays_apart() -> None:
    """x sigmoid(x) is as good, and faster, as two operators."""
    assert ["LOGISTIC", "MUL"] == types(chain([("LOGISTIC", "x", "s"), ("MUL", "x s", "y")]), Scheme())


def test_the_graph_that_is_given_is_not_changed() -> None:
    """A scheme with float layers is made of it afterwards."""
    prepared = chain(MISH)
    quantizer.apply(prepared, Scheme())
    assert [kind for kind, _, _ in MISH] == [operator.type for operator in prepared.graph.operators]
