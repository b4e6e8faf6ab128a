"""What a search found, as text and as one row of a longer report."""

import pytest

from converters.partition.types import Accuracy, Recipe
from edge_sdk.report import quantization
from tests.edge_sdk.report.searches import MET, MISSED

LONG = (
    "auto: int8 first; while that loses too much: other ranges; equalization; float32 for the layers that "
    "lose most"
)
UNNAMED = (
    "judged by top1 with labels, else agreement or snr with the float model; a drop of at most the metric's "
    "own limit"
)


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> str:
    """The text of a search that reached its goal, on a terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    return quantization.rendered("net", MET)


def test_the_whole_search_is_told(shown: str) -> None:
    """Value, drop and its bounds, latency and size against plain int8, every candidate with its reason."""
    assert max(map(len, shown.splitlines())) <= 80
    words = " ".join(shown.split())
    for told in (
        "net keeps its accuracy as int8, 2 layers in int16x8, ranges mse, equalization",
        "top1 97.60 points, float 98.00 points: a drop of 0.40 points",
        "(-0.40 to 1.10 at 95 % each way, McNemar, 200 samples)",
        "at most 0.50 points allowed, as seen: reached",
        "float32 3.6 ms, plain int8 1.55 ms, this 1.61 ms (1.04 of plain int8)",
        "plain int8 300.0 kB, this 310.0 kB",
        "the goal is reached; 3 tried in 12.3 s",
        "only 16 calibration samples",
        "#1: a drop of 6.00 points, 0.5 allowed",
        "3 pairs of layers share their channels' ranges",
        "61.4 %",
        "LEAKY_RELU float32 it has no int16x8 form",
    ):
        assert told in words


def test_the_worst_layers_come_first(shown: str) -> None:
    """Layers are in order of their signal to noise; exact ones come last, unnamed ones by their tensor."""
    far = shown.split("Layers farthest")[1].splitlines()
    order = [line for line in far if "SOFTMAX" in line or "CONV_2D" in line or "exact" in line]
    assert ["12.2 dB", "61.5 dB", "exact"] == [
        next(word for word in ("12.2 dB", "61.5 dB", "exact") if word in line) for line in order
    ]
    assert order[0].startswith("b ")


def test_a_miss_says_what_is_lacking() -> None:
    """A search that missed its goal says so in its title, and what the best lacks."""
    words = " ".join(quantization.rendered("net", MISSED).split())
    assert "net misses its accuracy as int8, equalization" in words
    assert "missed, 0.50 points too many" in words
    assert "Latency not measured" in words


def test_the_row_of_longer_reports() -> None:
    """Conversions and deployments say in one row what was found."""
    _, row = quantization.accuracy_row(MET)
    assert "the best of 3 candidates: int8, 2 layers in int16x8, ranges mse, equalization" in row


@pytest.mark.parametrize(
    ("recipe", "told"),
    [
        (Recipe("int8", "integer"), []),
        (
            Recipe(
                "auto", "integer", None, ("equalization",), ("float32",), {}, Accuracy("auc", 0.1, 0.9, True)
            ),
            [
                LONG,
                "judged by auc; a drop of at most 0.1, proven at 90 %",
            ],
        ),
        (
            Recipe("auto", "integer", "mse", (), (), {}, Accuracy()),
            [
                "auto: int8 first; while that loses too much: mse ranges",
                UNNAMED,
            ],
        ),
    ],
)
def test_what_a_plan_would_try(recipe: Recipe, told: list[str]) -> None:
    """A plan says in words what a search may try, and what it must keep."""
    assert told == quantization.planned(recipe)
