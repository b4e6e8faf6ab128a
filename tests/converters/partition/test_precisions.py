"""Which precisions a processor has, and what `auto` means on it."""

import pytest

from converters import registry
from converters.partition.precisions import calibrated, precisions_of, settled
from converters.partition.types import Accuracy, Recipe
from converters.quantize.scheme import PRECISIONS
from targets.schema import Processor

AUTO = Recipe("auto", "integer", None, ("equalization",), accuracy=Accuracy(max_drop=0.5))


LITERT, NULL = registry.backend("litert"), registry.backend("null")


def processor(*dtypes: str) -> Processor:
    return Processor("cpu", "", ("litert",), dtypes)


@pytest.mark.parametrize(
    ("dtypes", "precisions"),
    [
        (("int8", "float32"), PRECISIONS),
        (("int8",), ("int8",)),
        (("int8", "int16"), ("int8", "int16x8")),
        (("float32",), ("weight-int8", "weight-int4", "float16", "float32")),
        (("float16",), ("float16",)),
        ((), ()),
    ],
)
def test_what_a_processor_has(dtypes, precisions):
    """A CPU has all precisions, an NPU those that its own dtypes give."""
    assert precisions == precisions_of(processor(*dtypes), LITERT)


@pytest.mark.parametrize(
    ("dtypes", "steps"),
    [(("int8", "float32"), ("int16x8", "float32")), (("int8", "int16"), ("int16x8",)), (("int8",), ())],
)
def test_a_search_is_offered_what_the_processor_has(dtypes, steps):
    """`auto` stays a search where the processor is int8, with the steps it has; so does a named precision."""
    found = settled(AUTO, processor(*dtypes), LITERT)
    assert ("auto", steps, AUTO.accuracy) == (found.precision, found.steps, found.accuracy)
    assert steps == settled(Recipe("int8", "integer"), processor(*dtypes), LITERT).steps


@pytest.mark.parametrize(
    ("dtypes", "backend", "precision"),
    [
        (("int8", "float32"), NULL, "int8"),  # the null backend: there is nothing to compare
        (("float32",), LITERT, "float32"),
        (("float16",), LITERT, "float16"),
    ],
)
def test_auto_without_a_search(dtypes, backend, precision):
    """Where there is nothing to search, `auto` is the first precision the processor has, and asks nothing."""
    found = settled(AUTO, processor(*dtypes), backend)
    assert (precision, None, None) == (found.precision, found.accuracy, found.repairs)


def test_what_a_processor_has_not():
    """A precision that the processor has not, and `auto` on one that has none, cannot be carried out."""
    assert None is settled(Recipe("int16x8", "integer"), processor("int8"), LITERT)
    assert None is settled(AUTO, processor("int16"), LITERT)


def test_which_precisions_need_samples():
    """Those that quantise activations beforehand, and `auto`, which begins with one."""
    assert ["auto", "int8", "int16x8"] == [name for name in ("auto", *PRECISIONS) if calibrated(name)]


def test_openvino_has_fewer():
    """What a backend does not make is not there, whatever the processor computes in."""
    openvino = registry.backend("openvino")
    cpu = processor("int8", "float32")
    assert ("int8", "weight-int8", "weight-int4", "float16", "float32") == precisions_of(cpu, openvino)
    assert None is settled(Recipe("dynamic", "float"), cpu, openvino)
    assert ("auto", ("float32",)) == (
        settled(AUTO, cpu, openvino).precision,
        settled(AUTO, cpu, openvino).steps,
    )
