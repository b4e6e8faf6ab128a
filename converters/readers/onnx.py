"""The ONNX reader: checks the file, makes its shapes static, and hands it to `lowering`."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import evolve, frozen

from converters.model import Model, Operator
from converters.readers import onnx_shapes
from device_agent.bundle import TensorSpec
from device_agent.errors import EdgeError, FileMissing, InvalidModel, MissingDependency
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

_INSTALL = "pip install edge-deployment-sdk"


@frozen
class OnnxReader:
    """Reads ONNX files; see `readers.base.Reader`. The payload of its models is an `onnx.ModelProto`."""

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
        data = _bytes(path)
        from converters.lowering.images import image_ends

        proto = _parse(path, data)
        resolved = onnx_shapes.fix(path, proto, shaping)
        facts = _analyse(path, proto)
        if resolved.dynamic:
            onnx_shapes.check_slices(path, facts)
        layouts = _layouts(proto)
        images = image_ends(proto.graph, facts) if shaping.layout == "nhwc" else frozenset()
        return Model(
            path=path,
            format=self.name,
            sha256=hashlib.sha256(data).hexdigest(),
            size_bytes=len(data),
            inputs=tuple(_laid(_spec(path, facts, v, layouts.get(v.name)), images) for v in _inputs(proto)),
            outputs=tuple(_laid(_spec(path, facts, v, None), images) for v in proto.graph.output),
            operators=tuple(
                Operator(index, node.op_type, node.name or f"{node.op_type}_{index}")
                for index, node in enumerate(proto.graph.node)
            ),
            parameters=sum(_elements(tensor.dims) for tensor in proto.graph.initializer),
            payload=proto,
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
        try:
            import onnxruntime
        except ImportError as e:
            raise MissingDependency("onnxruntime is missing", next_step=_INSTALL) from e
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # its warnings are about the file, and we judge that ourselves
        # its threads would keep the processor busy between two samples, while the compiled model runs
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            session = onnxruntime.InferenceSession(
                onnx_shapes.reopened(model.payload, model.dynamic).SerializeToString(),
                options,
                providers=["CPUExecutionProvider"],
            )
        except Exception as e:  # onnxruntime's exceptions have no common base of its own
            raise _invalid(model.path, "ONNX Runtime cannot load it", e) from e
        outputs = [spec.name for spec in model.outputs]
        turned = images(model)

        def run(inputs: Arrays) -> dict[str, np.ndarray]:
            feed = {name: x.transpose(0, 3, 1, 2) if name in turned else x for name, x in inputs.items()}
            try:
                made = zip(outputs, session.run(outputs, feed), strict=True)
            except Exception as e:
                raise _invalid(model.path, "ONNX Runtime cannot run it", e) from e
            return {name: y.transpose(0, 2, 3, 1) if name in turned else y for name, y in made}

        return f"onnxruntime {onnxruntime.__version__}", run


def images(model: Model) -> frozenset[str]:
    """The inputs and outputs that are NCHW in the file and NHWC in the model."""
    from converters.lowering.driver import facts_of
    from converters.lowering.images import image_ends

    if model.shaping.layout == "keep":
        return frozenset()
    return image_ends(model.payload.graph, facts_of(model.payload))


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as e:
        raise FileMissing("no such model file", where=str(path)) from e
    except OSError as e:
        raise InvalidModel("the model file cannot be read", where=str(path), got=str(e)) from e


def _parse(path: Path, data: bytes) -> onnx.ModelProto:
    """The file as a checked proto, its external data loaded and its functions inlined."""
    try:
        import onnx
        from onnx import inliner
    except ImportError as e:
        raise MissingDependency("onnx is missing", next_step=_INSTALL) from e
    try:
        proto = onnx.load_model_from_string(data)
    except Exception as e:  # protobuf's DecodeError has a different home in each of its implementations
        raise _invalid(path, "not an ONNX file, or a truncated one", e) from e
    if not proto.graph.node and not proto.graph.output:
        raise _invalid(path, "not an ONNX file: it holds no graph")
    try:
        onnx.load_external_data_for_model(proto, str(path.parent))
    except Exception as e:
        raise _invalid(path, "its external data cannot be read", e) from e
    try:
        onnx.checker.check_model(proto)
        if proto.functions:
            proto = inliner.inline_local_functions(proto)
    except Exception as e:  # ValidationError, and ValueError above two gigabytes
        raise _invalid(path, "the ONNX checker refuses it", e) from e
    return proto


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
    for value in proto.graph.output:
        known = facts.types.get(value.name)
        if known is not None and value.type.HasField("tensor_type"):
            element = value.type.tensor_type.elem_type
            value.type.CopyFrom(helper.make_tensor_type_proto(element, known.shape))
    return facts


def _spec(path: Path, facts: Facts, value: Any, layout: str | None) -> TensorSpec:
    from converters.lowering.facts import dtype_name

    tensor = value.type.tensor_type
    known = facts.types.get(value.name)
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


def _invalid(path: Path, what: str, cause: Exception | None = None) -> InvalidModel:
    got = " ".join(str(cause).split())[:400] if cause is not None else None
    return InvalidModel(
        what, where=str(path), got=got or None, next_step="Copy the file again, or export it anew."
    )


reader = OnnxReader()
