"""The OpenVINO runtime: its IR (an `.xml` with its weights in a `.bin`) on the processors it has here."""

from __future__ import annotations

import time
from functools import cache
from pathlib import Path
from typing import Any

from device_agent import execution as executions
from device_agent.bundle import Execution
from device_agent.errors import InvalidRequest, WorkerFailed
from device_agent.protocol import Queried, QueriedDevice, RuntimeDevice
from device_agent.runtimes import openvino_cache, openvino_devices, openvino_placement
from device_agent.runtimes.base import DEFAULT, Options
from device_agent.runtimes.openvino_package import ERRORS, package, said
from device_agent.runtimes.openvino_session import Compiled, OpenVINOSession


class OpenVINO:
    """The runtime; see the module."""

    name = "openvino"

    @cache  # noqa: B019 - instances last as the process does, and under it nothing is installed
    def version(self) -> str | None:
        """The version of the installed distribution."""
        from importlib import metadata  # see LiteRT.version

        try:
            return metadata.version("openvino")
        except metadata.PackageNotFoundError:
            return None

    def load(self, path: Path, options: Options = DEFAULT) -> OpenVINOSession:
        """The model in an IR, compiled for the device of `options.execution`."""
        begin = time.perf_counter_ns()
        openvino = package()
        execution = options.execution or Execution()
        try:
            executions.check(execution)
            compiled = _compiled(openvino, path, options, execution, begin)
            placed = openvino_placement.read(compiled.model, compiled.homes)
            placement = openvino_placement.against(execution, placed)
            return OpenVINOSession(openvino, compiled, execution.hint, placement, profile=options.profile)
        except WorkerFailed as e:
            e.where = e.where or path.name
            raise
        except InvalidRequest as e:
            raise WorkerFailed(e.what, where=e.where, got=e.got, expected=e.expected) from e
        except ERRORS as e:
            raise WorkerFailed("openvino refuses the model", where=path.name, got=said(e)) from e

    def devices(self) -> tuple[RuntimeDevice, ...]:
        """The processors that OpenVINO finds here, and those that only the kernel does."""
        core = package().Core()
        present = core.available_devices
        return (*(_device(core, name) for name in present), *openvino_devices.lacking(present))

    def query(self, path: Path, options: Options, devices: tuple[str, ...]) -> Queried:
        """Which operators of an IR each device can run, asked with `query_model`."""
        core = package().Core()
        try:
            model = _read(core, path, options)
        except ERRORS as e:
            raise WorkerFailed("openvino refuses the model", where=path.name, got=said(e)) from e
        operators = tuple(
            node.get_friendly_name()
            for node in model.get_ordered_ops()
            if node.get_type_name() not in openvino_placement.NO_OPERATORS
        )
        return Queried(operators, tuple(_queried(core, model, operators, name) for name in devices))


def _compiled(openvino: Any, path: Path, options: Options, execution: Execution, begin: int) -> Compiled:
    """The model, compiled now or before.

    Args:
        openvino: the package.
        path: of the model.
        options: of the load.
        execution: that the options come to.
        begin: when the load began, by `time.perf_counter_ns`.
    """
    core = openvino.Core()
    present, kind = core.available_devices, executions.kind_of(execution.device)
    refusal = openvino_devices.absent(execution.device, present)
    if refusal is not None and kind != executions.AUTO:  # which may do with less
        raise refusal
    properties = openvino_devices.properties(execution, options, present)
    if kind:  # HETERO would lose the affinities, AUTO exports nothing
        model, homes = _read(core, path, options), {}
        if kind == executions.HETERO:
            answered = core.query_model(model, execution.device)
            homes = openvino_placement.assigned(model, execution, answered)
        try:
            return Compiled(core.compile_model(model, execution.device, properties), homes)
        except RuntimeError as e:
            if refusal is None:
                raise
            raise refusal from e
    files = [path, *(options.files[title] for title in sorted(options.files))]
    kept_with = openvino_devices.compiled_with(properties)
    key = b""
    if options.cache is not None:
        key = openvino_cache.key_of(openvino.get_version(), execution.device, kept_with, files)
    with openvino_cache.opened(options.cache, key) as kept:
        found = None if kept is None else _imported(core, kept, execution.device, properties)
        if found is not None:
            return found
        model = core.compile_model(_read(core, path, options), execution.device, properties)
        load_ns = time.perf_counter_ns() - begin
        filled = kept is not None and _filled(model, kept, load_ns)
        return Compiled(model, {}, first_load_ns=load_ns if filled else None)


def _imported(
    core: Any, kept: openvino_cache.Cache, device: str, properties: dict[str, Any]
) -> Compiled | None:
    found = kept.read()
    if found is None:
        return None
    try:
        model = core.import_model(found.blob, device, properties)
    except ERRORS:  # compiled anew: another CPU than the one it was made for, for one
        return None
    return Compiled(model, {}, from_cache=True, first_load_ns=found.first_load_ns)


def _filled(model: Any, kept: openvino_cache.Cache, load_ns: int) -> bool:
    try:
        exported = model.export_model()
    except ERRORS:  # not every processor's compiled models can be exported
        return False
    return kept.fill(exported.getvalue(), load_ns)


def _read(core: Any, path: Path, options: Options) -> Any:
    weights = next((file for title, file in options.files.items() if title.endswith(".bin")), None)
    return core.read_model(str(path), "" if weights is None else str(weights))


def _device(core: Any, name: str) -> RuntimeDevice:
    try:
        title = str(core.get_property(name, "FULL_DEVICE_NAME"))
        return RuntimeDevice(name, title, tuple(core.get_property(name, "OPTIMIZATION_CAPABILITIES")))
    except ERRORS as e:
        return RuntimeDevice(name, "", (), said(e))


def _queried(core: Any, model: Any, operators: tuple[str, ...], device: str) -> QueriedDevice:
    if executions.kind_of(device) == executions.AUTO:
        return QueriedDevice(device, (), "AUTO chooses when a model is loaded: ask the processors themselves")
    try:
        executions.check(Execution(device))
    except InvalidRequest as e:
        return QueriedDevice(device, (), f"{e.what}, expected {e.expected}")
    refusal = openvino_devices.absent(device, core.available_devices)
    if refusal is not None:
        return QueriedDevice(device, (), refusal.got or refusal.what)
    try:
        runs = core.query_model(model, device)
    except ERRORS as e:
        return QueriedDevice(device, (), said(e))
    return QueriedDevice(device, tuple(name for name in operators if name in runs))
