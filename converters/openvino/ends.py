"""Gives a model the ends that the user's has: names, order, dtypes, layouts. Runs in the child."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import openvino
from openvino.preprocess import PrePostProcessor

from converters.openvino.reading import Unfit, matched

_TYPES = {
    "bool": "boolean", "float16": "f16", "float32": "f32", "float64": "f64", "int8": "i8", "int16": "i16",
    "int32": "i32", "int64": "i64", "uint8": "u8", "uint16": "u16", "uint32": "u32", "uint64": "u64",
}  # fmt: skip


def arrange(model: Any, head: Mapping[str, Any]) -> Any:
    """The model with the ends that `head` asks for; see `child`.

    Raises:
        Unfit: it has others, and they cannot be made these.
    """
    inputs = [name for name, _, _, _ in head["inputs"]]
    outputs = [name for name, _, _, _ in head["outputs"]]
    given = matched(model.inputs, [(name, known) for name, known, _, _ in head["inputs"]])
    made = matched(model.outputs, [(name, known) for name, known, _, _ in head["outputs"]])
    model = openvino.Model(
        [port.get_node() for port in made],
        list(model.get_sinks()),
        [port.get_node() for port in given],
        model.get_friendly_name(),
    )
    _part(model)
    model = _converted(model, head)
    name(model, inputs, outputs)
    for port, (label, _, _, shape) in zip(model.outputs, head["outputs"], strict=True):
        _check(port, label, shape)
    return model


def name(model: Any, inputs: list[str], outputs: list[str]) -> None:
    """Give the ends these names, and no other tensor any of them."""
    taken = {*inputs, *outputs}
    for node in model.get_ops():
        for port in node.outputs():
            names = port.get_names()
            if node.get_type_name() != "Result" and names & taken:
                port.get_tensor().set_names(names - taken)
    for port, label in zip(model.outputs, outputs, strict=True):
        port.get_tensor().set_names({label})
    for port, label in zip(model.inputs, inputs, strict=True):
        port.get_tensor().set_names({label})


def _part(model: Any) -> None:
    """Give each output a tensor of its own: what is an input, or another output, has its name already."""
    seen = {port.get_node().get_name() for port in model.inputs}
    for port in model.outputs:
        source = port.get_node().input_value(0)
        place = f"{source.get_node().get_name()}:{source.get_index()}"
        if source.get_node().get_name() in seen or place in seen:
            same = openvino.opset15.convert(source, source.get_element_type().get_type_name())
            port.get_node().input(0).replace_source_output(same.output(0))
        seen.add(place)


def _converted(model: Any, head: Mapping[str, Any]) -> Any:
    """The model with the dtypes and layouts asked for, where it has others."""
    steps = PrePostProcessor(model)
    asked = False
    for index, (label, _, dtype, _) in enumerate(head["inputs"]):
        if model.inputs[index].get_element_type().get_type_name() != _TYPES[dtype]:
            steps.input(index).tensor().set_element_type(openvino.Type(_TYPES[dtype]))
            asked = True
        if label in head["images"]:
            steps.input(index).model().set_layout(openvino.Layout("NCHW"))
            steps.input(index).tensor().set_layout(openvino.Layout("NHWC"))
            asked = True
    for index, (label, _, dtype, _) in enumerate(head["outputs"]):
        if model.outputs[index].get_element_type().get_type_name() != _TYPES[dtype]:
            steps.output(index).tensor().set_element_type(openvino.Type(_TYPES[dtype]))
            asked = True
        if label in head["images"]:
            steps.output(index).model().set_layout(openvino.Layout("NCHW"))
            steps.output(index).tensor().set_layout(openvino.Layout("NHWC"))
            asked = True
    return steps.build() if asked else model


def _check(port: Any, label: str, shape: list[int]) -> None:
    found = port.get_partial_shape()
    if not found.compatible(openvino.PartialShape(shape)):
        raise Unfit(f"output {label!r} is {found} where the model has {shape}")
