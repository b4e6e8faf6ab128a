"""The ONNX reader: checks the file, makes its shapes static, and hands it to `lowering`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import evolve, frozen

from converters.model import Model, Operator
from converters.readers import onnx_file, onnx_shapes
from converters.readers.base import Trace
from device_agent.bundle import TensorSpec
from device_agent.errors import EdgeError, InvalidModel
from device_agent.tensors import DTYPES

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    import onnx

    from converters.graph.ir import Graph
    from converters.lowering.facts import Facts
    from converters.readers.base import Arrays
    from converters.shaping import Shaping
    from converters.verdict import Verdict


_QUANTISING = frozenset(("DynamicQuantizeLinear", "QuantizeLinear"))


@frozen
class OnnxReader:
    """Reads ONNX files; see `readers.base.Reader` and `Tracing`.

    The payload of its models is an `onnx.ModelProto` whose large initializers stay in their files: see
    `lowering.weights`.
    """

    name: str = "onnx"
    suffixes: tuple[str, ...] = (".onnx",)
    folders: tuple[str, ...] = ()

    def read(self, path: Path, shaping: Shaping) -> Model:
        """The model in an ONNX file, its inputs fixed as `shaping` says.

        Raises:
            FileMissing: there is no such file.
            InvalidModel: truncated, corrupt, not ONNX, or an input stays open.
            InvalidRequest: `shaping` does not fit the file.
            MissingDependency: onnx is not installed.
        """
        from converters.lowering.images import image_ends

        file = onnx_file.open_file(path)
        proto = file.proto
        resolved = onnx_shapes.fix(path, proto, shaping)
        facts = _analyse(path, proto)
        if resolved.dynamic:
            onnx_shapes.check_slices(path, facts)
        layouts = _layouts(proto)
        images = image_ends(proto.graph, facts) if shaping.layout == "nhwc" else frozenset()
        return Model(
            path=path,
            format=self.name,
            sha256=file.sha256,
            size_bytes=file.size_bytes,
            inputs=tuple(_laid(_spec(path, facts, v, layouts.get(v.name)), images) for v in _inputs(proto)),
            outputs=tuple(_laid(_spec(path, facts, v, None), images) for v in proto.graph.output),
            operators=tuple(
                Operator(index, node.op_type, node.name or f"{node.op_type}_{index}")
                for index, node in enumerate(proto.graph.node)
            ),
            parameters=sum(_elements(tensor.dims) for tensor in proto.graph.initializer),
            payload=proto,
            precision=_precision(proto, facts),
            shaping=evolve(shaping, input_shapes=resolved.shapes, bind=resolved.bound),
            dynamic=resolved.dynamic,
        )

    def lower(self, model: Model) -> tuple[Graph | None, tuple[Verdict, ...]]:
        """The TFLite-level graph of a model, and a verdict per node; see `lowering.driver`."""
        from converters.lowering.driver import lower

        return lower(model.payload, channels_last=model.shaping.layout == "nhwc")

    def reference(self, model: Model) -> tuple[str, Callable[[Arrays], dict[str, np.ndarray]]]:
        """ONNX Runtime on the CPU; the session is made once, here.

        Raises:
            InvalidModel: ONNX Runtime cannot load or run the model.
            MissingDependency: it is not installed.
        """
        from converters.readers import onnx_session

        names = [spec.name for spec in model.outputs]
        proto = onnx_shapes.reopened(model.payload, model.dynamic)
        source = _fed(model, onnx_session.runner(proto, names, model.path))
        turned = images(model)

        def run(inputs: Arrays) -> dict[str, np.ndarray]:
            made = source(inputs)
            return {name: y.transpose(0, 2, 3, 1) if name in turned else y for name, y in made.items()}

        return onnx_session.name(), run

    def trace(self, model: Model) -> Trace:
        """Which tensors of the lowered graph hold which values of the file; see `readers.base.Tracing`."""
        from converters.lowering.driver import held_values
        from converters.readers import onnx_session

        return Trace(
            held_values(model.payload, channels_last=model.shaping.layout == "nhwc"),
            lambda names: _fed(model, onnx_session.runner(model.payload, names, model.path)),
        )


def _fed(
    model: Model, source: Callable[[Arrays], dict[str, np.ndarray]]
) -> Callable[[Arrays], dict[str, np.ndarray]]:
    """A run of the file's graph, fed with the model's inputs: images that are NHWC in it are turned."""
    turned = images(model)

    def run(inputs: Arrays) -> dict[str, np.ndarray]:
        return source({name: x.transpose(0, 3, 1, 2) if name in turned else x for name, x in inputs.items()})

    return run


def images(model: Model) -> frozenset[str]:
    """The inputs and outputs that are NCHW in the file and NHWC in the model."""
    from converters.lowering.driver import facts_of
    from converters.lowering.images import image_ends

    if model.shaping.layout == "keep":
        return frozenset()
    return image_ends(model.payload.graph, facts_of(model.payload))


def _inputs(proto: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    from converters.lowering.facts import inputs_of

    return inputs_of(proto.graph)


def _analyse(path: Path, proto: onnx.ModelProto) -> Facts:
    """Shapes and constants; the outputs' shapes are written back, in place."""
    from onnx import helper

    from converters.lowering.driver import facts_of

    try:
        facts = facts_of(proto)
    except EdgeError as e:
        place = f"{path}: {e.where}" if e.where else str(path)
        raise InvalidModel(e.what, where=place, got=e.got, next_step=e.next_step) from e
    made = {name for step in facts.steps for name in step.node.output}
    for value in proto.graph.output:
        known = facts.types.get(value.name)
        if known is None and value.name not in made:
            raise InvalidModel("nothing computes this output", where=f"{path}: output {value.name!r}")
        if known is not None and value.type.HasField("tensor_type"):
            element = value.type.tensor_type.elem_type
            value.type.CopyFrom(helper.make_tensor_type_proto(element, known.shape))
    return facts


def _spec(path: Path, facts: Facts, value: Any, layout: str | None) -> TensorSpec:
    from converters.lowering.facts import dtype_name

    tensor = value.type.tensor_type
    known = facts.types.get(value.name)
    if not value.type.HasField("tensor_type"):
        raise InvalidModel(
            "an input or output is not a tensor",
            where=f"{path}: {value.name!r}",
            got=str(value.type.WhichOneof("value")).removesuffix("_type"),
            next_step="Export the model with tensors at its ends.",
        )
    if known is not None:
        dtype, shape = "float16" if value.name in facts.halves else known.dtype, known.shape
    else:
        dtype = dtype_name(tensor.elem_type)
        shape = tuple(d.dim_value if d.dim_value > 0 else -1 for d in tensor.shape.dim)
    if dtype not in DTYPES:
        raise InvalidModel(
            "an input or output has a dtype that cannot be carried",
            where=f"{path}: {value.name!r}",
            got=dtype,
            expected=", ".join(DTYPES),
        )
    return TensorSpec(value.name, dtype, shape, layout)


def _laid(spec: TensorSpec, images: frozenset[str]) -> TensorSpec:
    """The end as it lies in the compiled model: NHWC where it is an image that is to lie so."""
    if spec.name not in images:
        return spec
    batch, channels, height, width = spec.shape
    return evolve(spec, shape=(batch, height, width, channels), layout="NHWC")


def _precision(proto: onnx.ModelProto, facts: Facts) -> str:
    """The least that the file's operators compute in; weights that are only stored in less are not meant."""
    kinds = {node.op_type for node in proto.graph.node}
    if any(kind in _QUANTISING or kind.startswith("QLinear") or kind.endswith("Integer") for kind in kinds):
        return "int8"
    return "float16" if facts.halves else "float32"


def _layouts(proto: onnx.ModelProto) -> dict[str, str]:
    """The layouts of inputs that are images for certain: what a convolution reads, or a transpose to it."""
    windows = {"Conv", "MaxPool", "AveragePool", "GlobalAveragePool"}
    read = {node.input[0] for node in proto.graph.node if node.op_type in windows and node.input}
    found = {}
    for value in _inputs(proto):
        if len(value.type.tensor_type.shape.dim) != 4:
            continue
        if value.name in read:
            found[value.name] = "NCHW"
        for node in proto.graph.node:
            if node.op_type == "Transpose" and node.input[0] == value.name and node.output[0] in read:
                perm = next((list(a.ints) for a in node.attribute if a.name == "perm"), [])
                if perm == [0, 3, 1, 2]:
                    found[value.name] = "NHWC"
    return found


def _elements(dims: Any) -> int:
    total = 1
    for size in dims:
        total *= size
    return total


reader = OnnxReader()
