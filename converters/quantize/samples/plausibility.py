"""Whether calibration samples look like what the model was trained on, judged by what it answers to them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from attrs import define, field

from converters.quantize.samples.calibration import FEW_SAMPLES

if TYPE_CHECKING:
    import numpy as np

    from converters.model import Model
    from converters.quantize.samples.calibration import Calibration, InputValues

HARDLY = 0.05  # an output that changes by less than this share of its span over the samples hardly changes
LITTLE = 0.5  # scores that are no probabilities change by more, where inputs have their right size
CERTAIN = 1 - 1e-6  # a probability above this is saturated in float32
ALMOST_ALL = 0.9  # the share of saturated answers that is a sign
MANY = 0.25  # the share that is one together with inputs that look wrong
_PIXEL = 128  # images that were not scaled have some pixel above
# operators that scale an input before anything else is computed, in the spelling of every format
_SCALING = frozenset({"sub", "mul", "div", "add", "cast", "batchnormalization", "rescaling", "normalization"})
_AT_THE_START = 4  # operators among which the scaling ones are looked for

_QUESTION = "are they prepared as the model expects?"


def notes(model: Model, data: Calibration, outputs: Iterable[Mapping[str, np.ndarray]]) -> tuple[str, ...]:
    """What suggests that the samples are out of the model's range; nothing of it is proof.

    Inputs that are far too small leave a network with its biases: it answers the same to all of them. Inputs
    that are far too large saturate it: every answer is certain. Both can be right (samples of one class
    only, a model that is sure), so these are notes, and fewer than `FEW_SAMPLES` samples say nothing.

    Args:
        model: the source.
        data: the samples, checked.
        outputs: what the source model computes of them in floating point, by output name.
    """
    given = {spec.shape for spec in model.inputs}
    totals = {
        spec.name: _Output(classes=len(spec.shape) == 2 and spec.shape[1] >= 2 and spec.shape not in given)
        for spec in model.outputs
    }
    for one in outputs:
        for name, total in totals.items():
            total.add(one[name])
    found = [
        said
        for name, total in totals.items()
        if total.samples >= FEW_SAMPLES and (said := total.note(name, bool(_pixels(model, data))))
    ]
    if found:
        return (*found[:1], *_about_inputs(model, data))
    if any(total.probabilities for total in totals.values()) or _scales(model):
        return ()  # neither constant nor saturated: as pixels as they are would not be, or they are scaled
    return tuple(
        f"{_whole(name, values)}: right only if the model scales them itself"
        for name, values in _pixels(model, data).items()
    )


def _about_inputs(model: Model, data: Calibration) -> tuple[str, ...]:
    """What the inputs hold, where that may be the cause."""
    said = [
        f"{_whole(name, values)}: a model may expect 0 to 1, or -1 to 1"
        for name, values in _pixels(model, data).items()
    ]
    images = {spec.name for spec in model.inputs if len(spec.shape) == 4 and {1, 3} & {*spec.shape[1:]}}
    said += [
        f"input {name!r} lies between {values.minimum:g} and {values.maximum:g}: a model may expect 0 to 255"
        for name, values in _floats(model, data).items()
        if name in images and values.minimum >= -1.01 and values.maximum <= 1.01
    ]
    return tuple(said)


def _whole(name: str, values: InputValues) -> str:
    return (
        f"input {name!r} holds whole numbers from {values.minimum:g} to {values.maximum:g}, as pixels that "
        "were not scaled"
    )


def _floats(model: Model, data: Calibration) -> dict[str, InputValues]:
    names = [spec.name for spec in model.inputs if spec.dtype.startswith("float")]
    return {name: data.values[name] for name in names if name in data.values}


def _pixels(model: Model, data: Calibration) -> dict[str, InputValues]:
    """Float inputs that hold whole numbers of 0 to 255 only."""
    return {
        name: values
        for name, values in _floats(model, data).items()
        if values.whole and values.minimum >= 0 and _PIXEL <= values.maximum <= 255
    }


def _scales(model: Model) -> bool:
    return any(operator.type.lower() in _SCALING for operator in model.operators[:_AT_THE_START])


@define
class _Output:
    """What one output was over the samples."""

    classes: bool  # whether it looks like class scores
    samples: int = 0
    probabilities: bool = True
    _rows: int = 0
    _certain: int = 0
    _answers: set[int] = field(factory=set)
    _least: np.ndarray | None = None
    _greatest: np.ndarray | None = None

    def add(self, values: np.ndarray) -> None:
        """Take in what the model answers to a sample."""
        import numpy as np

        self.samples += 1
        least, greatest = self._least, self._greatest
        if least is None or greatest is None or least.shape != values.shape:
            self._least, self._greatest = values.copy(), values.copy()
        else:
            np.minimum(least, values, out=least)
            np.maximum(greatest, values, out=greatest)
        rows = values.reshape(len(values), -1) if values.ndim else values.reshape(1, 1)
        self._rows += len(rows)
        if self.classes:
            self._answers.update(rows.argmax(axis=1).tolist())
        single = rows.shape[1] == 1
        whole = single or np.abs(rows.sum(axis=1) - 1).max(initial=0.0) < 1e-3
        self.probabilities &= bool(
            (single or self.classes) and whole and rows.min(initial=0.0) >= 0 and rows.max(initial=0.0) <= 1
        )
        best = np.maximum(rows, 1 - rows).max(axis=1) if single else rows.max(axis=1)
        self._certain += int((best > CERTAIN).sum())

    def note(self, name: str, pixels: bool) -> str | None:
        """What is odd about it; `pixels` says that the inputs look as if they had not been scaled."""
        import numpy as np

        if self._least is None or self._greatest is None or not self._least.size:
            return None
        change = float((self._greatest.astype(np.float64) - self._least).max())
        span = float(self._greatest.max()) - float(self._least.min())
        if len(self._answers) == 1 and (self.probabilities or change < LITTLE * span):
            (answer,) = self._answers
            return (
                f"the model answers class {answer} to all {self.samples} samples (output {name!r}): "
                f"{_QUESTION} Are they of one class?"
            )
        if change < HARDLY * span or change == 0:
            much = f"by at most {100 * change / span:.2g} % of its span" if span > 0 else "by nothing"
            return f"output {name!r} changes {much} over {self.samples} samples: {_QUESTION}"
        if self.probabilities and self._certain >= self._rows * (MANY if pixels else ALMOST_ALL):
            share = f"{100 * self._certain / self._rows:.0f} %"
            return (
                f"the model is certain, to the last digit, of {share} of its answers (output {name!r}): "
                f"{_QUESTION}"
            )
        return None
