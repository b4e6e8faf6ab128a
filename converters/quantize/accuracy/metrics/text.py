"""Word and character (label) error rates of sequences of symbols."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import define

from converters.quantize.accuracy.metrics.common import Sums, checked
from converters.quantize.accuracy.metrics.outputs import batch_of, listed, named, only
from device_agent.errors import InvalidRequest, MetricError

if TYPE_CHECKING:
    from converters.model import Model
    from device_agent.bundle import TensorSpec

    Arrays = Mapping[str, np.ndarray]

# how symbols become a text: the greatest of each step; `ctc` drops repeats, then blanks, which are the last
# class (as in TensorFlow), `ctc0` the same with the first class (as in PyTorch), `argmax` drops nothing
DECODINGS = ("ctc", "ctc0", "argmax")
ENGLISH = " abcdefghijklmnopqrstuvwxyz'"  # what 28 symbols (and a blank) mean, as in DeepSpeech
PAD = -1  # shorter label rows are filled up with negative numbers


@define(kw_only=True)
class ErrorRate(Sums):
    """Edits that make the output the label (insert, delete, replace), per symbol of the label, in points.

    `cer` counts symbols. `wer` counts words: what lies between spaces where the label is text; where it is
    a list of symbols, each is a word. All edits of all samples are divided by all symbols, so a long
    sample weighs more (https://en.wikipedia.org/wiki/Word_error_rate). Lower is better.
    """

    output: str
    symbols: int  # scores per step, 0 where the output is symbols already
    decoding: str
    rows: int
    greater_is_better: bool = False

    def observe(self, outputs: Arrays, _reference: Arrays, label: Any) -> tuple[float, float]:
        """Edits and symbols of one sample."""
        array = outputs[self.output]
        steps = checked(array, self.output)
        best = steps.argmax(axis=-1) if self.symbols else steps.astype(np.int64)
        best = best.reshape(self.rows, -1)
        labels = [label] if self.rows == 1 and _is_one(label) else list(label)
        if len(labels) != self.rows:
            raise MetricError(
                "the label does not match the sample", got=f"{len(labels)} labels", expected=f"{self.rows}"
            )
        edits = length = 0
        for row, wanted in zip(best, labels, strict=True):
            expected, got = self._both(wanted, decoded(row, self.decoding, self.symbols - 1))
            edits += distance(expected, got)
            length += len(expected)
        return edits, length

    def of(self, sums: np.ndarray) -> np.ndarray:
        """The rate from the sums."""
        rate: np.ndarray = 100 * sums[..., 0] / sums[..., 1]
        return rate

    def _both(self, label: Any, found: list[int]) -> tuple[Sequence[Any], Sequence[Any]]:
        """Label and output in the same words or symbols."""
        if isinstance(label, str):
            text = self._text(label, found)
            return (label.split(), text.split()) if self.name.startswith("wer") else (label, text)
        array = np.atleast_1d(np.asarray(label))
        if array.ndim != 1 or array.dtype.kind not in "iu":
            raise MetricError(
                "the label is no text", got=repr(label)[:100], expected="text, or a list of whole numbers"
            )
        wanted = array[array > PAD].tolist()
        blank = {"ctc": self.symbols - 1, "ctc0": 0}.get(self.decoding)
        if blank in wanted and self.symbols:
            other = "ctc0" if self.decoding == "ctc" else "ctc"
            raise MetricError(
                f"the label holds {blank}, which is the blank of {self.decoding}",
                next_step=f"Is it `--metric {self.name.partition('@')[0]}@{other}`, or `argmax`?",
            )
        if wanted and self.symbols and max(wanted) >= self.symbols:
            raise MetricError(
                "the label is past the model's symbols",
                got=str(max(wanted)),
                expected=f"0 .. {self.symbols - 1}",
            )
        return wanted, found

    def _text(self, label: str, found: list[int]) -> str:
        first = 1 if self.decoding == "ctc0" else 0
        symbols = self.symbols - (self.decoding != "argmax")
        if symbols != len(ENGLISH):
            raise MetricError(
                "labels in text need the alphabet of DeepSpeech: space, a to z, apostrophe",
                got=f"{label[:50]!r}, and {symbols} symbols in output {self.output!r}",
                expected=f"{len(ENGLISH)} symbols, or labels that are lists of symbols",
            )
        return "".join(ENGLISH[symbol - first] for symbol in found)


def open_rate(name: str, model: Model, how: str | None, output: str | None) -> ErrorRate:
    """The error rate of a model's only output that is a sequence.

    Raises:
        InvalidRequest: a decoding of another name, or an output that the model does not have.
        MetricError: no output is a sequence, or several.
    """
    if how is not None and how not in DECODINGS:
        raise InvalidRequest(f"{name} has no such decoding", got=how, expected=" or ".join(DECODINGS))
    specs = [named(model, output)] if output is not None else list(model.outputs)
    found = [spec for spec in specs if _is_scores(spec) or _is_symbols(spec)]
    if not found:
        raise MetricError(
            f"{name} needs a sequence of scores or symbols",
            where=model.path.name,
            got=listed(specs),
            expected="float [N, steps, symbols] or whole numbers [N, steps]",
        )
    spec = only(found, model, name)
    full = f"{name}@{how}" if how is not None else name
    symbols = spec.shape[-1] if _is_scores(spec) else 0
    # symbols that come as such were decoded by the model itself
    decoding = how or ("ctc" if symbols else "argmax")
    if decoding == "ctc" and not symbols:
        raise InvalidRequest(
            "the blank of ctc is the last class, and symbols do not tell how many there are",
            where=spec.name,
            expected="ctc0 or argmax",
        )
    return ErrorRate(name=full, output=spec.name, symbols=symbols, decoding=decoding, rows=batch_of(model))


def decoded(steps: np.ndarray, decoding: str, last: int) -> list[int]:
    """Symbols of each step as the symbols of a text; see `DECODINGS`.

    Greedy CTC: Graves et al., "Connectionist Temporal Classification", ICML 2006, section 3.2.
    """
    if decoding == "argmax":
        return [int(symbol) for symbol in steps]
    blank = last if decoding == "ctc" else 0
    new = np.diff(steps, prepend=PAD) != 0
    return [int(symbol) for symbol in steps[new] if symbol != blank]


def distance(expected: Sequence[Any], got: Sequence[Any]) -> int:
    """Levenshtein's distance: the least number of insertions, deletions and replacements.

    https://en.wikipedia.org/wiki/Levenshtein_distance, two rows of the table at a time.
    """
    row = list(range(len(got) + 1))
    for number, one in enumerate(expected, 1):
        diagonal, row[0] = row[0], number
        for place, other in enumerate(got, 1):
            diagonal, row[place] = (
                row[place],
                min(row[place] + 1, row[place - 1] + 1, diagonal + (one != other)),
            )
    return row[-1]


def _is_one(label: Any) -> bool:
    """Whether this is the label of one row, not a list of such."""
    return isinstance(label, str) or np.ndim(label) == 1 or np.ndim(label) == 0


def _is_scores(spec: TensorSpec) -> bool:
    return len(spec.shape) == 3 and (spec.dtype.startswith("float") or spec.quantization is not None)


def _is_symbols(spec: TensorSpec) -> bool:
    return len(spec.shape) == 2 and spec.dtype.startswith("int") and spec.quantization is None
