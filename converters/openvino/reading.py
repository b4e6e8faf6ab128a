"""Fixes what OpenVINO has read: bound inputs, sizes, what follows from both. Runs in the child."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import openvino
from openvino import _offline_transformations as offline  # what openvino.convert_model runs

if TYPE_CHECKING:
    import numpy as np


class Unfit(Exception):
    """The model as read does not have the ends that it is to have."""


def fix(model: Any, head: Mapping[str, Any], bound: Mapping[str, np.ndarray]) -> None:
    """Bind inputs, give the others their shapes, and fold what follows, in place.

    Args:
        model: as read.
        head: of the request, see `child`.
        bound: inputs that become constants.

    Raises:
        Unfit: an input is not there.
        RuntimeError: the sizes do not go with the operators; OpenVINO's own.
    """
    for name, value in bound.items():
        parameter = port_of(model.inputs, name).get_node()
        parameter.output(0).replace(openvino.op.Constant(value).output(0))
        model.remove_parameter(parameter)
    ports = matched(model.inputs, [(name, known) for name, known, _, _ in head["inputs"]])
    shapes = {
        port: openvino.PartialShape(shape)
        for port, (_, _, _, shape) in zip(ports, head["inputs"], strict=True)
    }
    if shapes:
        model.reshape(shapes)
    else:
        model.validate_nodes_and_infer_types()
    offline.apply_moc_transformations(model, cf=True)
    while _branch_taken(model):
        offline.apply_moc_transformations(model, cf=True)


def matched(ports: Any, names: list[tuple[str, str]]) -> list[Any]:
    """The port of each (name, name in the file): by name, or by position where no names tell.

    Raises:
        Unfit: there are more or fewer ports than names.
    """
    if len(ports) != len(names):
        raise Unfit(f"{len(ports)} inputs or outputs where the model has {len(names)}")
    by_name = {name: port for port in ports for name in port.get_names()}
    found = [by_name.get(known, by_name.get(name)) for name, known in names]
    if None in found or len({id(port) for port in found}) < len(found):
        return list(ports)
    return found


def port_of(ports: Any, name: str) -> Any:
    """The port of that name; Unfit where there is none."""
    for port in ports:
        if name in port.get_names():
            return port
    raise Unfit(f"there is no input {name!r}")


def _branch_taken(model: Any) -> bool:
    """Put the branch of an If in its place whose condition became a constant; whether there was one.

    NNCF does not look into branches, and the runtime would decide anew in each run.
    """
    for node in model.get_ordered_ops():
        if node.get_type_name() != "If":
            continue
        condition = node.input_value(0).get_node()
        if condition.get_type_name() != "Constant":
            continue
        branch = 0 if bool(condition.get_data().reshape(-1)[0]) else 1
        body = node.get_function(branch)
        parameters, results = body.get_parameters(), body.get_results()
        for entry in node.get_input_descriptions(branch):
            parameters[entry.body_parameter_index].output(0).replace(node.input_value(entry.input_index))
        for entry in node.get_output_descriptions(branch):
            made = results[entry.body_value_index].input_value(0)
            names = node.output(entry.output_index).get_names()
            node.output(entry.output_index).replace(made)
            made.get_tensor().add_names(names)
        model.validate_nodes_and_infer_types()
        return True
    return False
