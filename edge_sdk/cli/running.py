"""The options that say which runtime runs a model, and how."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click
from attrs import frozen

if TYPE_CHECKING:
    from device_agent.bundle import Execution

# of converters.partition.execution, which this must not import to stay quick; a test compares
HINTS = ("latency", "throughput")
INFERENCE_PRECISIONS = ("f32", "f16", "bf16")
AUTO = "auto"  # the runtime that is found by measuring

F = TypeVar("F", bound=Callable[..., Any])


@frozen
class RuntimeOptions:
    """What `running` parsed: the runtime, and how it is to run the model; None: as is usual."""

    runtime: str | None = None
    device_kind: str | None = None
    hint: str | None = None
    streams: int | None = None
    precision: str | None = None
    strict: bool = False

    @property
    def execution(self) -> Execution | None:
        """As `edge_sdk.plan` takes it; None where nothing of it was asked for."""
        from device_agent.bundle import Execution

        named = (self.device_kind, self.hint, self.streams, self.precision)
        if all(each is None for each in named) and not self.strict:
            return None
        return Execution(
            device=self.device_kind or "",
            hint=self.hint or HINTS[0],
            precision=self.precision,
            streams=self.streams,
            strict=self.strict,
        )


def running(function: F) -> F:
    """The options that say which runtime runs a model, and how; the command is given them as `running`."""

    @wraps(function)
    def command(
        *args: Any,
        runtime: str | None,
        device_kind: str | None,
        hint: str | None,
        streams: int | None,
        inference_precision: str | None,
        strict: bool,
        **options: Any,
    ) -> Any:
        asked = RuntimeOptions(runtime, device_kind, hint, streams, inference_precision, strict)
        return function(*args, running=asked, **options)

    decorators = (
        click.option(
            "--runtime",
            metavar="NAME",
            help="What runs it: litert, openvino, another of the target's (`edge targets show`), or auto, "
            "the faster one on the device. By default the target's first.",
        ),
        click.option(
            "--device-kind",
            metavar="KIND",
            help="Where OpenVINO runs it: CPU, GPU, GPU.1, NPU, AUTO, AUTO:GPU,CPU or HETERO:GPU,CPU (spread "
            "over them, the first that can). By default the target's processor.",
        ),
        click.option(
            "--hint",
            type=click.Choice(HINTS),
            help="What OpenVINO is to be good at; latency by default.",
        ),
        click.option(
            "--streams",
            type=click.IntRange(min=1),
            help="Runs side by side in OpenVINO; as --hint says by default.",
        ),
        click.option(
            "--inference-precision",
            type=click.Choice(INFERENCE_PRECISIONS),
            help="What OpenVINO computes float operators in; f32 by default, on an NPU f16.",
        ),
        click.option(
            "--strict",
            is_flag=True,
            help="Do not activate a model of which an operator runs on another device than planned.",
        ),
    )
    made: Any = command
    for decorator in reversed(decorators):
        made = decorator(made)
    return cast("F", made)
