"""From a model and its plan to a `Conversion`: the artifact, the proof of its fidelity, golden samples."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import field, frozen

from converters import accuracy, registry, resizing
from converters.artifact import Artifact, opened
from converters.memory import hand_back
from converters.model import Model
from converters.partition.precisions import calibrated
from converters.partition.types import Plan, Recipe, planned_inputs
from converters.quantize.accuracy.divergence import located
from converters.quantize.accuracy.fidelity import (
    Fidelity,
    check_float,
    check_kept,
    compare,
    measure,
    other_kernels,
    tensor_of,
    tolerance_of,
    with_seen_range,
)
from converters.quantize.accuracy.recording import Recording, recorded
from converters.quantize.samples import plausibility
from converters.quantize.samples.calibration import Calibration
from converters.quantize.samples.sources import WAYS
from converters.quantize.scheme import AUTO
from converters.rounding import to_be_run
from device_agent import codec
from device_agent.bundle import Preprocessing, TensorSpec
from device_agent.errors import (
    CalibrationError,
    FidelityError,
    InvalidModel,
    InvalidRequest,
    UnsupportedOperator,
)
from device_agent.tensors import Tensor, pack

if TYPE_CHECKING:
    import numpy as np

    from converters.backends.base import Backend
    from converters.progress import Progress
    from converters.quantize.samples.validation import Validation
    from converters.quantize.search.types import Search

FIDELITY_SAMPLES = 200  # enough for a steady SNR; more would only make `convert` wait
GOLDEN_SAMPLES = 4
FALLBACKS_TOLD = 5
GENERATED_SAMPLES = 8
_INTEGERS_BELOW = (10, 2, 1)  # tried in turn


@frozen
class Conversion:
    """What became of a model: the artifact to deploy, and how it compares with its source.

    `baseline` is the float32 artifact, `artifact` itself where the plan asks for float32 or the model was
    quantised before. A fidelity is None where the runtime computes nothing (the null runtime). Golden inputs
    and outputs are safetensors blobs with tensors named `<sample>/<tensor>`, as the host computed them.
    `notes` are what a user should know of the model and the data it was made with: too few samples, a cast.
    `search` is what a search found, None where the plan asked for none; `plan` is then what was carried out.
    `preprocessing` is how images became the model's input, None where it was not made with images.
    """

    model: Model
    plan: Plan
    artifact: Artifact
    baseline: Artifact
    fidelity: Fidelity | None
    baseline_fidelity: Fidelity | None
    golden_inputs: bytes = field(repr=False)
    golden_outputs: bytes = field(repr=False)
    golden_samples: int
    notes: tuple[str, ...] = ()
    search: Search | None = None
    preprocessing: Preprocessing | None = None


def convert(
    model: Model,
    plan: Plan,
    *,
    calibration: Calibration | None,
    progress: Progress,
    validation: Validation | None = None,
    resume: Path | None = None,
) -> Conversion:
    """Compile `model` as `plan` says and measure what that did to it; see `edge_sdk.convert`.

    Without calibration data a conversion that needs none is compared on generated inputs, and says so in
    `Fidelity.data`; one that does is refused.
    """
    if plan.model_sha256 != model.sha256:
        raise InvalidRequest("the plan was made for another model", got=plan.model, expected=model.path.name)
    if plan.inputs != planned_inputs(model):
        raise _planned_otherwise(model, plan)
    if not plan.accepted:
        raise refused(plan)
    backend = registry.backend(plan.segments[0].backend)
    kept = model.quantized is not None  # there is nothing to quantise, and no other form of it
    asked = plan.recipe
    searches = asked.precision == AUTO or (asked.accuracy is not None and asked.precision != "float32")
    if backend.computes and not kept:
        _check_samples(plan, calibration, searches=searches)
    fidelity = baseline_fidelity = None
    data, expected = calibration or generated(model), None
    notes = model.notes + data.notes
    if backend.computes:
        # before anything is compiled: the source's runtime and the target's never hold weights together
        data, expected = _sources_outputs(model, calibration)
        if calibration is not None:
            notes += plausibility.notes(model, data, expected.outputs())
    baseline = backend.compile(model, plan.recipe if kept else Recipe("float32", "float"), None, progress)
    hand_back()
    if expected is not None:
        try:
            baseline_fidelity = compare(baseline, expected.reference, data.source, expected.pairs(data))
            if kept or (model.precision == "int8" and other_kernels(baseline_fidelity, baseline)):
                check_kept(baseline_fidelity, baseline)
            else:
                check_float(baseline_fidelity, baseline, tolerance_of(model))
        except FidelityError as e:
            raise located(e, model, baseline, expected, data) from e
        if model.dynamic:
            check_resized(model, baseline)
        baseline = with_seen_range(baseline, baseline_fidelity)
    search: Search | None = None
    left: tuple[str, ...] = ()
    if kept or plan.recipe.precision == "float32":
        artifact, fidelity = baseline, baseline_fidelity
    else:
        if searches and calibration is not None:
            found = accuracy.find(
                model, plan, backend, calibration, validation, resume=resume, progress=progress
            )
            search, artifact, plan = found.search, found.built.artifact, found.plan
        else:
            artifact, left = _compiled(backend, model, plan, calibration, progress)
        if expected is not None:
            fidelity = compare(artifact, expected.reference, data.source, expected.pairs(data))
    golden_inputs, golden_outputs, count = golden(artifact, data)  # as the host runs it
    artifact = to_be_run(artifact, plan.execution, baseline_fidelity)
    made = Conversion(
        model=model,
        plan=plan,
        artifact=artifact,
        baseline=baseline,
        fidelity=fidelity,
        baseline_fidelity=baseline_fidelity,
        golden_inputs=golden_inputs,
        golden_outputs=golden_outputs,
        golden_samples=count,
        notes=notes + left,
        search=search,
        preprocessing=data.preprocessing,
    )
    if search is not None and not search.met:
        error = accuracy.missed(search, model.path.name)
        error.best = made
        raise error
    return made


def _compiled(
    backend: Backend, model: Model, plan: Plan, calibration: Calibration | None, progress: Progress
) -> tuple[Artifact, tuple[str, ...]]:
    """The model as the plan says, and a note of operators that cannot be in its precision."""
    engine = backend.engine(model, calibration, progress)
    if engine is None:
        return backend.compile(model, plan.recipe, calibration, progress), ()
    scheme = plan.recipe.scheme
    built = engine.build(scheme)
    accuracy.check_fallbacks(built, scheme, plan.recipe)
    notes = tuple(
        f"{each.type} {each.layer!r} is in {each.precision}, not in {scheme.precision}: {each.reason}"
        for each in built.fallbacks
    )
    more = len(notes) - FALLBACKS_TOLD
    return built.artifact, notes if more <= 0 else (*notes[:FALLBACKS_TOLD], f"and {more} more operators")


def _check_samples(plan: Plan, calibration: Calibration | None, *, searches: bool) -> None:
    """Refuse what needs samples and has none, before anything is made."""
    precision = plan.recipe.precision
    if calibration is None and calibrated(precision):
        raise CalibrationError(f"{precision} needs calibration data, and none was given", next_step=WAYS)
    if calibration is None and searches:
        raise CalibrationError("accuracy is judged on samples, and none were given", next_step=WAYS)


def refused(plan: Plan) -> UnsupportedOperator:
    """The error that says why a plan was refused: every distinct reason, up to five; and what takes it."""
    reasons = list(dict.fromkeys(str(verdict) for verdict in plan.refusals))
    more = f" And {len(reasons) - 5} more." if len(reasons) > 5 else ""
    able = [each.runtime for each in plan.alternatives if each.accepted]
    takes = f" `--runtime {able[0]}` takes it." if able else ""
    return UnsupportedOperator(
        f"{len(plan.refusals)} of {len(plan.operators)} operators cannot run on {plan.target}",
        where=plan.model,
        got=f"{plan.runtime}: " + "; ".join(reason.rstrip(".") for reason in reasons[:5]),
        next_step=f"`edge plan` shows each operator.{more}{takes}",
    )


def check_resized(model: Model, baseline: Artifact) -> None:
    """Compare a float model whose sizes stay open with its source at other sizes; FidelityError beyond it."""
    reference_name, reference = registry.reader(model.format).reference(model)
    for other in resizing.variants(model):
        found = measure(baseline, reference_name, reference, generated(other), limit=2)
        check_float(found, baseline, tolerance_of(model))


def _planned_otherwise(model: Model, plan: Plan) -> InvalidRequest:
    """The error that names what is fixed in the plan in another way than in the model."""
    planned, given = codec.to_json(plan.inputs), codec.to_json(planned_inputs(model))
    differing = [key for key in planned if planned[key] != given[key]]
    return InvalidRequest(
        "the plan was made for this file with its inputs fixed in another way",
        where=plan.model,
        got="; ".join(f"{key} {given[key]}" for key in differing),
        expected="; ".join(f"{key} {planned[key]}" for key in differing),
        next_step="Plan the model as it was loaded, or load it as the plan says.",
    )


def _sources_outputs(model: Model, calibration: Calibration | None) -> tuple[Calibration, Recording]:
    """The samples to compare on, and what the source computes of them.

    Generated integers may be what the source cannot run on: indices past the end of a table (token types),
    lengths past the end of a sequence. So they are drawn from fewer, down to zeros, until it can.

    Raises:
        InvalidModel: the source cannot be run, on any of them.
    """
    if calibration is not None:
        return calibration, recorded(model, calibration, FIDELITY_SAMPLES)
    for below in _INTEGERS_BELOW:
        data = generated(model, below=below)
        try:
            return data, recorded(model, data, FIDELITY_SAMPLES)
        except InvalidModel as e:
            cause = e
    raise InvalidModel(
        "the source model cannot be run on generated inputs",
        where=str(model.path),
        got=str(cause.got),
        next_step="Give samples of real inputs: `--calibration samples.npz`.",
    ) from cause


def generated(model: Model, *, below: int = _INTEGERS_BELOW[0]) -> Calibration:
    """Seeded inputs, uniform in [0, 1): to compare models, never to calibrate.

    Integers are below `below`, quantised inputs any of their steps.
    """
    import numpy as np

    def samples() -> Iterator[dict[str, np.ndarray]]:
        generator = np.random.default_rng(0)
        for _ in range(GENERATED_SAMPLES):
            yield {spec.name: draw(generator, spec, below) for spec in model.inputs}

    return Calibration("generated inputs, uniform in [0, 1)", GENERATED_SAMPLES, samples)


def draw(generator: np.random.Generator, spec: TensorSpec, below: int = _INTEGERS_BELOW[0]) -> np.ndarray:
    """A generated input: see `generated`."""
    if spec.dtype.startswith("float"):
        return generator.random(spec.shape).astype(spec.dtype)
    import numpy as np

    if spec.quantization is not None:
        limits = np.iinfo(spec.dtype)
        return generator.integers(limits.min, limits.max + 1, spec.shape).astype(spec.dtype)
    high = min(below, 2) if spec.dtype == "bool" else below
    return generator.integers(0, high, spec.shape).astype(spec.dtype)


def golden(artifact: Artifact, data: Calibration) -> tuple[bytes, bytes, int]:
    """Golden inputs and outputs of an artifact, computed here by its own runtime on one thread.

    Returns:
        The inputs and the outputs as safetensors blobs, and the number of samples.
    """
    step = max(1, data.count // GOLDEN_SAMPLES)
    inputs: dict[str, Tensor] = {}
    outputs: dict[str, Tensor] = {}
    count = 0
    session = opened(artifact)
    for sample in islice(data.samples(), 0, step * GOLDEN_SAMPLES, step):
        feed = {spec.name: tensor_of(sample[spec.name], spec) for spec in artifact.inputs}
        session.set_inputs(feed)
        session.invoke()
        inputs.update({f"{count}/{name}": tensor for name, tensor in feed.items()})
        outputs.update({f"{count}/{name}": tensor for name, tensor in session.get_outputs().items()})
        count += 1
    return pack(inputs), pack(outputs), count
