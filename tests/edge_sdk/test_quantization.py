"""`edge_sdk.quantize` as a build pipeline uses it: arrays in, an artifact and its search out."""

from pathlib import Path

import numpy as np
import pytest

import edge_sdk
from converters.convert import Conversion
from device_agent.bundle import read_bundle
from device_agent.errors import AccuracyMissed, CalibrationError, InvalidRequest
from edge_sdk.saving import SEARCH_FILE, TEXT_FILE

DIGITS = Path(__file__).resolve().parents[2] / "examples/digits"
MODEL = DIGITS / "digits.onnx"


@pytest.fixture(scope="module")
def digits() -> dict[str, np.ndarray]:
    """Forty images to calibrate with, forty to judge on, and the labels of those."""
    with np.load(DIGITS / "test.npz") as test:
        return {"x": test["image"][:40], "test": test["image"][40:80], "labels": test["label"][40:80]}


def test_what_a_build_pipeline_gets(digits: dict[str, np.ndarray], tmp_path: Path) -> None:
    """The artifact, the search, and on demand the files; nothing is written before."""
    found = edge_sdk.quantize(
        MODEL, calibration=digits["x"], validation=digits["test"], labels=digits["labels"], max_drop=5.0
    )
    assert found.search is not None
    assert ("int8", "top1", 40) == (found.artifact.precision, found.search.metric, found.search.count)
    saved = found.save(tmp_path / "build", name="mine")
    assert found.artifact.data == saved.file.read_bytes()
    assert "mine" == read_bundle(saved.bundle.path).config.name
    assert saved.bundle.path == tmp_path / "build/bundle"
    assert saved.report == tmp_path / "build" / SEARCH_FILE
    assert (tmp_path / "build" / TEXT_FILE).exists()


def test_the_recipe_that_was_found_makes_the_same_file(digits: dict[str, np.ndarray]) -> None:
    """What a search ended with can be made again without one."""
    model = edge_sdk.load(MODEL)
    found = edge_sdk.quantize(
        model,
        calibration=digits["x"],
        precision="int16x8",
        ranges="mse",
        repairs=["equalization"],
        max_drop=5,
    )
    recipe = found.conversion.plan.recipe
    assert ("int16x8", "mse", ("equalization",)) == (recipe.precision, recipe.ranges, recipe.repairs)
    plan = edge_sdk.plan(model, "local", precision="int16x8", ranges="mse", repairs=["equalization"])
    again = edge_sdk.convert(model, plan, calibration=digits["x"])
    assert (None, found.artifact.sha256) == (again.search, again.artifact.sha256)


def test_a_miss_is_an_error_that_holds_the_best(digits: dict[str, np.ndarray], tmp_path: Path) -> None:
    """The nearest conversion is in `best`, to be looked at or saved all the same."""
    with pytest.raises(AccuracyMissed, match="no candidate keeps the accuracy") as caught:
        edge_sdk.quantize(MODEL, calibration=digits["x"], precision="int8", max_drop=0, prove=True)
    best = caught.value.best
    assert isinstance(best, Conversion)
    quantization = edge_sdk.Quantization(best)
    assert quantization.search is not None
    assert not quantization.search.met
    assert quantization.search.lacks in str(caught.value)
    quantization.save(tmp_path)


def test_what_cannot_be_judged_or_searched() -> None:
    """Samples are needed; float32 has nothing to lose; labels are of samples."""
    model = edge_sdk.load(MODEL)
    with pytest.raises(CalibrationError, match="auto needs calibration data"):
        edge_sdk.convert(model, edge_sdk.plan(model, "local"))
    with pytest.raises(CalibrationError, match="judged on samples"):
        edge_sdk.convert(model, edge_sdk.plan(model, "local", precision="dynamic", max_drop=1.0))
    with pytest.raises(InvalidRequest, match="labels without samples"):
        edge_sdk.convert(model, edge_sdk.plan(model, "local"), labels=[1])


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"precision": "float32", "metric": "top1"}, "float32 loses nothing"),
        ({"ranges": "wide"}, "unknown way to choose ranges: got 'wide', expected minmax"),
        ({"repairs": ["prayer"]}, "unknown repair: got 'prayer', expected split_heads"),
        ({"max_drop": -1.0}, "max_drop makes no sense: got -1.0, expected 0 or more"),
        ({"confidence": 1.0}, "confidence makes no sense"),
        ({"time_budget": 0.0}, "time_budget makes no sense"),
        ({"memory_budget": 0}, "memory_budget makes no sense"),
    ],
)
def test_senseless_plans(asked, words: str) -> None:
    """What makes no sense is refused by the plan."""
    with pytest.raises(InvalidRequest, match=words):
        edge_sdk.plan(edge_sdk.load(MODEL), "local", **asked)


def test_an_npu_is_offered_nothing_wider(digits: dict[str, np.ndarray], tmp_path: Path) -> None:
    """On a processor that is int8 only, a search ends where int8 ends, and other precisions are refused."""
    board = tmp_path / "npu.toml"
    board.write_text(
        'title = "An NPU"\narchitecture = "host"\nsource = "a test"\n[runtimes]\nlitert = "2.3.0"\n'
        '[[processors]]\nname = "npu"\nkind = "int8 only"\nbackends = ["litert"]\ndtypes = ["int8"]\n'
    )
    with pytest.raises(
        InvalidRequest, match="no processor of npu computes in int16x8: got int16x8, expected int8"
    ):
        edge_sdk.plan(edge_sdk.load(MODEL), str(board), precision="int16x8")
    with pytest.raises(AccuracyMissed) as caught:
        edge_sdk.quantize(
            MODEL,
            calibration=digits["x"],
            target=str(board),
            max_drop=0,
            prove=True,
            ranges="minmax",
            repairs=(),
        )
    search = caught.value.best.search
    assert [("int8", {})] == [(one.scheme.precision, one.scheme.exceptions) for one in search.candidates]


def test_an_iterator_is_not_judged_on(digits: dict[str, np.ndarray]) -> None:
    """What can be read only once cannot be calibrated with and judged on: it is said before it is read."""
    samples = iter(digits["test"])
    with pytest.raises(InvalidRequest, match=r"can be read only once.*`validation`"):
        edge_sdk.quantize(MODEL, calibration=samples, labels=digits["labels"])
    assert len(digits["test"]) == len(list(samples))
