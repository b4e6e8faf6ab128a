"""What a model can be on a device: converted for each runtime, and as float32 where that is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import evolve, frozen

from device_agent.errors import AccuracyMissed, EdgeError, InvalidRequest, RuntimeMissing, UnsupportedOperator
from device_agent.versions import numbers

if TYPE_CHECKING:
    from converters.convert import Conversion
    from converters.partition.types import Plan
    from converters.progress import Progress
    from converters.quantize.samples.calibration import Calibration
    from converters.quantize.search.types import Search
    from device_agent.protocol import AgentInfo
    from targets.schema import Target


@frozen
class Candidate:
    """A conversion that may be deployed: `openvino int8`.

    `search` is the one that judged it, None where none did; of a float32 model it is the search that had it
    as its reference.
    """

    label: str
    conversion: Conversion
    search: Search | None

    @property
    def runtime(self) -> str:
        """What runs it."""
        return self.conversion.artifact.runtime


@frozen
class Refused:
    """A runtime, or what was to be made for it, that was out before anything was measured."""

    label: str
    error: EdgeError


def runtimes_of(target: Target) -> tuple[str, ...]:
    """The runtimes that a board's processors may use, the preferred one first."""
    return tuple(dict.fromkeys(name for processor in target.processors for name in processor.backends))


def missing(info: AgentInfo, target: Target, runtime: str, device: str) -> RuntimeMissing | None:
    """Why a device cannot run what is made for a runtime; None where it can."""
    there = {one.name: one.version for one in info.runtimes}
    least = target.runtimes[runtime]
    if runtime in there and numbers(there[runtime]) >= numbers(least):
        return None
    old = there.get(runtime)
    return RuntimeMissing(
        "the device does not have the runtime" if old is None else "the runtime on the device is too old",
        where=device,
        got=f"{runtime} {old}" if old is not None else ", ".join(there) or "none",
        expected=f"{runtime} >= {least}",
        next_step=f"`edge devices install {device} --runtime {runtime}` brings it.",
    )


def made(
    runtimes: Iterable[str],
    plan: Callable[[str], Plan],
    convert: Callable[[str, Plan, Progress], Conversion],
    *,
    samples: Calibration,
    floats: bool,
    progress: Progress,
) -> tuple[tuple[Candidate, ...], tuple[Refused, ...]]:
    """A model converted for each runtime, in order; what cannot be made is refused with its reason.

    Args:
        runtimes: the preferred one first.
        plan: the model's plan for a runtime.
        convert: carries a plan out for a runtime; its AccuracyMissed holds the conversion that came nearest.
        samples: what golden samples are taken from.
        floats: the float32 model that a conversion was compared with is a candidate too.
        progress: called as `progress(what, done, total)`.
    """
    candidates: list[Candidate] = []
    refused: list[Refused] = []
    for runtime in runtimes:

        def told(what: str, done: int, total: int, runtime: str = runtime) -> None:
            progress(f"{runtime}: {what}", done, total)

        try:
            planned = plan(runtime)
            if not planned.accepted:
                raise _refused(planned)
            conversion = convert(runtime, planned, told)
            candidates.append(Candidate(_label(conversion), conversion, conversion.search))
        except AccuracyMissed as e:
            conversion = e.best
            refused.append(Refused(_label(conversion), e))
        except EdgeError as e:
            refused.append(Refused(runtime, e))
            continue
        if floats and conversion.artifact is not conversion.baseline:
            plain = as_float(conversion, planned, samples)
            candidates.append(Candidate(_label(plain), plain, conversion.search))
    return tuple(candidates), tuple(refused)


def as_float(conversion: Conversion, plan: Plan, samples: Calibration) -> Conversion:
    """The float32 model that a conversion was compared with, as a conversion of its own.

    Args:
        conversion: of a model that was quantised.
        plan: as it was before it was carried out.
        samples: what its golden samples are taken from.
    """
    from converters.convert import golden
    from converters.partition.planner import carried_out
    from converters.partition.types import Recipe

    inputs, outputs, count = golden(conversion.baseline, samples)
    return evolve(
        conversion,
        plan=carried_out(plan, Recipe("float32", "float"), {}),
        artifact=conversion.baseline,
        fidelity=conversion.baseline_fidelity,
        golden_inputs=inputs,
        golden_outputs=outputs,
        golden_samples=count,
        search=None,
    )


def none_made(refused: Iterable[Refused]) -> EdgeError:
    """The error where nothing is left: that of the nearest to its accuracy, else the preferred runtime's."""
    errors = [one.error for one in refused]
    near = [error for error in errors if isinstance(error, AccuracyMissed)]
    if near:
        return min(near, key=_drop)
    return errors[0] if errors else InvalidRequest("there is no runtime to convert for")


def journal(file: str | Path | None, runtime: str) -> Path | None:
    """The file that keeps what the search for a runtime tried: each has its own."""
    if file is None:
        return None
    path = Path(file)
    return path.with_name(f"{path.stem}-{runtime}{path.suffix}")


def _label(conversion: Conversion) -> str:
    return f"{conversion.artifact.runtime} {conversion.artifact.precision}"


def _drop(error: AccuracyMissed) -> float:
    """How much worse than float the best that was found is."""
    search = error.best.search
    best = next(one for one in search.candidates if one.number == search.best)
    return float("inf") if best.judgement is None else best.judgement.drop


def _refused(plan: Plan) -> UnsupportedOperator:
    from converters.convert import refused

    return refused(plan)
