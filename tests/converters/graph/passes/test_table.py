"""All rewrites as a set: documented, and within reach of the oldest runtime that is compiled for."""

import re
from pathlib import Path

import pytest

from converters.backends.litert import LEAST_TFLITE_VERSION
from converters.graph.passes import manager
from converters.graph.passes.dead import remove_dead
from converters.graph.runtimes import least_runtime

ROOT = Path(__file__).resolve().parents[4]
EVERY = {rewrite.__name__: rewrite for rewrite in (*manager.REWRITES, *manager.FINAL, remove_dead)}


def test_documentation_names_each():
    """docs/optimize.md has a row for each rewrite, with the equation that its function states."""
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|$", (ROOT / "docs/optimize.md").read_text(), re.M))
    assert {name: equation(rewrite) for name, rewrite in EVERY.items()} == rows


def equation(rewrite):
    """The first line of a docstring."""
    return (rewrite.__doc__ or "").strip().splitlines()[0].replace("|", "\\|")


@pytest.mark.parametrize("name", [name for name in EVERY if name != "remove_dead"])
def test_each_has_a_file_and_a_test(name):
    """One rewrite a file, with a test of that name."""
    assert (ROOT / f"converters/graph/passes/{name}.py").is_file()
    assert (ROOT / f"tests/converters/graph/passes/test_{name}.py").is_file()


# what rewrites put in place of other builtins, at the version of float32
MADE = [
    "FULLY_CONNECTED",
    "GELU",
    "HARD_SWISH",
    "L2_NORMALIZATION",
    "LEAKY_RELU",
    "MUL",
    "RELU",
    "RELU6",
    "RELU_0_TO_1",
    "RELU_N1_TO_1",
    "RESHAPE",
    "RSQRT",
    "SOFTMAX",
    "SQRT",
    "SQUARE",
    "SQUARED_DIFFERENCE",
    "TRANSPOSE",
]


def test_runtime_of_what_is_made():
    """No rewrite asks for a newer runtime than the tflite backend promises."""
    found = least_runtime({(builtin, 6 if builtin == "FULLY_CONNECTED" else 1) for builtin in MADE})
    assert _numbers(found) <= _numbers(LEAST_TFLITE_VERSION)


def test_made_is_complete():
    """The list above is what the sources name in `become` and `fuse`."""
    sources = "".join(path.read_text() for path in (ROOT / "converters/graph/passes").glob("*.py"))
    named = set(re.findall(r'become\([^)]*?"([A-Z0-9_]+)"', sources, re.S))
    assert named <= set(MADE)


def _numbers(version):
    return tuple(map(int, version.split(".")))
