"""Every rule in both precisions, on the runtimes themselves: integers only, and the float model's values."""

import numpy as np
import pytest

from converters.graph.runtimes import numbers, runtime_of
from converters.graph.versions import version
from converters.quantize.integer import rules
from converters.quantize.integer.rules import recurrent
from converters.quantize.scheme import STATIC
from tests.converters.quantize.integer.older_runtime import PYTHON, OlderRuntime
from tests.converters.quantize.integer.rules import proof
from tests.converters.quantize.integer.rules.cases import CASES, Case

# what has no integer form: the case's type or name, for the precisions; the reason is part of the fallback's
FLOAT = {
    "ATAN2 1x4x5x8 1x4x5x8": (("int16x8",), "all pairs of int16"),
    "L2_NORMALIZATION": (("int16x8",), "int8 only"),
    "LOG_SOFTMAX": (("int16x8",), "int8 only"),
    "ONE_HOT": (("int16x8",), "int8 only"),
    "POW 2x3x8 1x1x8c channels": (("int16x8",), "table for each of 8 constants is too large"),
    "REVERSE_SEQUENCE": (STATIC, "no integer form"),
}
TFLITE_FLOAT = FLOAT | {"DYNAMIC_UPDATE_SLICE": (("int16x8",), "int8 only")}


def check(case: Case, precision: str, runtime: str, *runs: proof.Run) -> None:
    """The case in that precision, or the reason why it is not."""
    known = TFLITE_FLOAT if runtime == "tflite" else FLOAT
    precisions, reason = known.get(case.name) or known.get(case.type) or ((), "")
    found = proof.prove(case, precision, runtime, *runs)
    if precision in precisions:
        assert reason in " ".join(found.fallbacks)
        return
    assert () == found.fallbacks + found.floats
    assert "" == found.said
    assert found.off <= case.steps[STATIC.index(precision)]


@pytest.mark.parametrize("precision", STATIC)
@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_litert_computes_it_in_integers(case: Case, precision: str) -> None:
    """With XNNPACK and without, within two steps of the output; what only moves values within one."""
    check(case, precision, "litert", proof.litert, proof.plain)


@pytest.mark.skipif(not PYTHON, reason="EDGE_TFLITE_PYTHON names no Python that has tflite-runtime 2.14")
@pytest.mark.parametrize("precision", STATIC)
@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_older_tflite_computes_it_in_integers(older: OlderRuntime, case: Case, precision: str) -> None:
    """tflite-runtime 2.14 has fewer kernels; what is made for it does without them."""
    check(case, precision, "tflite", older.run)


@pytest.mark.parametrize("precision", STATIC)
def test_operators_for_older_tflite_are_of_versions_that_it_has(precision: str) -> None:
    """The table of versions says so without the runtime at hand."""
    for case in CASES:
        graph = proof.prove(case, precision, "tflite").graph
        for operator in graph.operators:
            first = runtime_of(operator.type, version(graph, operator))
            assert first is not None, f"{case.name}: {operator.type}"
            assert numbers(first) <= (2, 14, 0), f"{case.name}: {operator.type}"


def test_every_rule_has_a_case() -> None:
    """A rule that nothing proves is a guess; of the recurrent ones test_recurrent.py proves each."""
    elsewhere = {"FILL", *recurrent.RULES}
    assert set() == set(rules.RULES) - {case.type for case in CASES} - elsewhere


def test_values_that_are_off_are_seen() -> None:
    """Seven steps are too many."""

    def wrong(model: bytes, feed: dict[str, np.ndarray]) -> dict[str, np.ndarray] | str:
        found = proof.litert(model, feed)
        if not isinstance(found, str):
            found["y0"] = found["y0"] ^ np.int8(7)
        return found

    case = next(case for case in CASES if case.type == "CEIL")
    with pytest.raises(AssertionError, match="<= 2"):
        check(case, "int8", "litert", wrong)
