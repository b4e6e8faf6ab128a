"""A TFLite file as a graph, read table by table: nothing in a file makes this slow or large."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from converters.graph import dtypes, options
from converters.graph.ir import Graph, GraphOperator, GraphTensor
from device_agent.bundle import Quantization
from device_agent.errors import EdgeError, InvalidModel

# operators that call another subgraph
CALLERS = frozenset(
    {"CALL", "CALL_ONCE", "IF", "STABLEHLO_CASE", "STABLEHLO_COMPOSITE", "STABLEHLO_CUSTOM_CALL"}
    | {"STABLEHLO_REDUCE", "STABLEHLO_REDUCE_WINDOW", "STABLEHLO_SCATTER", "STABLEHLO_SORT"}
    | {"STABLEHLO_WHILE", "WHILE"}
)
_LEAST_TABLE_BYTES = 8  # a place in a vector, and the way to the table's vtable
_SHARING = 16  # constants of a file may share buffers, but its graph is at most this often its size
_SMALL = 64 << 20  # bytes, below which sharing needs no bound


def read(data: bytes, *, where: str) -> Graph:
    """The graph held in a TFLite flatbuffer; `where` names the file in errors.

    Of several subgraphs it is the first, if an operator of it calls the others; a builtin that the schema
    does not know is read as `BUILTIN_<number>` without options.

    Raises:
        InvalidModel: not a TFLite file, truncated or corrupt, of several subgraphs of which none calls
            another, or with sparse or outside constants.
    """
    if len(data) < 8 or data[4:8] != b"TFL3":
        raise InvalidModel(
            "not a TFLite file", where=where, got=repr(data[4:8]), expected="b'TFL3' at offset 4"
        )
    with decoding(where):
        return _File(data, where).graph()


@contextmanager
def decoding(where: str) -> Iterator[None]:
    """What reading a corrupt flatbuffer raises becomes InvalidModel; `where` names the file in it."""
    try:
        yield
    except EdgeError:
        raise
    except Exception as e:  # almost any exception
        raise InvalidModel(
            "the TFLite file is truncated or corrupt",
            where=where,
            got=f"{type(e).__name__}: {e}",
            next_step="Copy the file again, or make it anew.",
        ) from e


class _File:
    """A flatbuffer that is not trusted: tables and vectors that share bytes are bounded by its size."""

    def __init__(self, data: bytes, where: str) -> None:
        self._data = data
        self._where = where
        self._model = schema.Model.GetRootAs(data, 0)
        self._ints_left = max(len(data), 4096)
        self._constant_bytes_left = max(len(data) * _SHARING, _SMALL)

    def graph(self) -> Graph:
        subgraph = self._subgraph()
        stated = self._each(subgraph.TensorsLength, subgraph.Tensors)
        names = _unique(self._text(tensor.Name()) for tensor in stated)
        tensors = {name: self._tensor(name, subgraph.Tensors(index)) for index, name in enumerate(names)}
        operators = [
            self._operator(operator, names)
            for operator in self._each(subgraph.OperatorsLength, subgraph.Operators)
        ]
        self._check_subgraphs(operators)
        inputs, outputs = self._public_names(subgraph, names)
        made = {*inputs.values(), *(name for operator in operators for name in operator.outputs)}
        for name, tensor in tensors.items():
            dtype = dtypes.numpy_dtype(tensor.dtype)
            if 0 in tensor.shape and name not in made and dtype is not None:
                tensor.data = np.zeros(tensor.shape, dtype)  # a constant without elements has no bytes
        return Graph(tensors, operators, inputs, outputs)

    def _each(self, length: Callable[[], int], item: Callable[[int], Any]) -> Iterator[Any]:
        """The tables of a vector, if the file is large enough to hold so many."""
        count = length()
        if count * _LEAST_TABLE_BYTES > len(self._data):
            raise ValueError(f"a vector of {count} tables in a file of {len(self._data)} bytes")
        return (item(index) for index in range(count))

    def _ints(self, vector: Any) -> list[int]:
        """A vector of integers (0 stands for an absent one)."""
        if isinstance(vector, int):
            return []
        self._spend(len(vector))
        found: list[int] = vector.tolist()
        return found

    def _spend(self, count: int) -> None:
        self._ints_left -= count
        if self._ints_left < 0:
            raise ValueError("its vectors hold more than the file does")

    def _text(self, value: bytes | None) -> str:
        self._spend(len(value or b"") // 4)
        return text(value)

    def _subgraph(self) -> Any:
        if self._model.SubgraphsLength() < 1:
            raise InvalidModel("the TFLite file holds no graph", where=self._where)
        return self._model.Subgraphs(0)

    def _check_subgraphs(self, operators: list[GraphOperator]) -> None:
        count = self._model.SubgraphsLength()
        if count > 1 and not any(operator.type in CALLERS for operator in operators):
            keys = [self._text(one.SignatureKey()) for one in self._signatures()]
            raise InvalidModel(
                "only TFLite files of one entry point can be read",
                where=self._where,
                got=f"{count} subgraphs" + (f", signatures {', '.join(map(repr, keys))}" if keys else ""),
                expected="one subgraph, or one that calls the others",
                next_step="Convert each signature of the source model into a file of its own.",
            )

    def _tensor(self, name: str, tensor: Any) -> GraphTensor:
        if tensor.Sparsity() is not None:
            raise self._unreadable(name, "it is stored sparse", "Convert it without sparsity.")
        if getattr(tensor, "ExternalBuffer", lambda: 0)():
            raise self._unreadable(name, "its data lie in another file", "Convert it into one file.")
        shape = tuple(self._ints(tensor.ShapeAsNumpy()))
        if any(size < 0 for size in shape):
            raise self._unreadable(name, f"its shape {list(shape)} is negative", None)
        dtype = dtypes.names()[tensor.Type()]
        raw = self._buffer(tensor.Buffer())
        data = None
        if raw is not None:
            numpy_dtype = dtypes.numpy_dtype(dtype)
            if numpy_dtype is not None and math.prod(shape) * numpy_dtype.itemsize != len(raw):
                raise ValueError(f"tensor {name!r} of {dtype}{list(shape)} has {len(raw)} bytes")
            self._constant_bytes_left -= len(raw)
            if self._constant_bytes_left < 0:
                raise ValueError("its constants share buffers beyond measure")
            data = np.array(raw, np.uint8)
            if numpy_dtype is not None:
                data = data.view(numpy_dtype.newbyteorder("<")).astype(numpy_dtype, copy=False).reshape(shape)
        stated = tuple(self._ints(tensor.ShapeSignatureAsNumpy()))
        signature = stated if -1 in stated else None  # some writers state one where nothing is open
        quantization = self._quantization(name, tensor)
        return GraphTensor(name, shape, dtype, data, quantization, bool(tensor.IsVariable()), signature)

    def _unreadable(self, name: str, what: str, next_step: str | None) -> InvalidModel:
        return InvalidModel(
            f"a tensor cannot be read: {what}", where=f"{self._where}: {name!r}", next_step=next_step
        )

    def _buffer(self, index: int) -> np.ndarray | None:
        """A buffer's bytes, which may stand behind the flatbuffer (`offset` > 1 in the schema)."""
        if not index:
            return None
        if index >= self._model.BuffersLength():
            raise IndexError(f"buffer {index}")
        buffer = self._model.Buffers(index)
        if buffer.Offset() > 1:
            end = buffer.Offset() + buffer.Size()
            if end > len(self._data):
                raise InvalidModel(
                    "the TFLite file is truncated",
                    where=self._where,
                    got=f"{len(self._data)} bytes",
                    expected=f"at least {end}",
                )
            return np.frombuffer(self._data, np.uint8, buffer.Size(), buffer.Offset())
        raw = buffer.DataAsNumpy()
        return None if isinstance(raw, int) or not len(raw) else raw

    def _quantization(self, name: str, tensor: Any) -> Quantization | None:
        quantization = tensor.Quantization()
        scales = quantization.ScaleAsNumpy() if quantization is not None else 0
        if isinstance(scales, int) or not len(scales):
            return None
        self._spend(len(scales))
        if not np.isfinite(scales).all():
            raise self._unreadable(name, "its scale is no number", None)
        zero_points = self._ints(quantization.ZeroPointAsNumpy()) or [0] * len(scales)
        if len(zero_points) != len(scales):
            got = f"{len(scales)} scales, {len(zero_points)} zero points"
            raise self._unreadable(name, f"its quantisation has {got}", None)
        axis = int(quantization.QuantizedDimension())
        return Quantization(tuple(map(float, scales.tolist())), tuple(zero_points), axis)

    def _operator(self, operator: Any, names: list[str]) -> GraphOperator:
        code = self._code(operator.OpcodeIndex())
        # files older than the 32-bit field hold the builtin in the 8-bit one
        number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        builtin = options.enum_names("BuiltinOperator").get(number, f"BUILTIN_{number}")
        fields: dict[str, Any] = {}
        if builtin == "CUSTOM":
            fields["customCode"] = self._text(code.CustomCode())
            custom = self._custom_options(operator)
            if custom is not None:
                fields["customOptions"] = custom
        elif not builtin.startswith("BUILTIN_"):
            table = _options(operator)
            fields = options.complete(builtin, options.to_names(table) if table is not None else {})
        return GraphOperator(
            builtin,
            [None if index < 0 else names[index] for index in self._ints(operator.InputsAsNumpy())],
            [_named(names, index) for index in self._ints(operator.OutputsAsNumpy())],
            fields,
            intermediates=[_named(names, index) for index in self._ints(operator.IntermediatesAsNumpy())],
            stated_version=max(1, code.Version()),
        )

    def _custom_options(self, operator: Any) -> bytes | None:
        """A custom operator's bytes, which may stand behind the flatbuffer as a constant's may."""
        start, count = operator.LargeCustomOptionsOffset(), operator.LargeCustomOptionsSize()
        if start > 1:
            self._spend(count // 4)
            return self._data[start : start + count]
        custom = operator.CustomOptionsAsNumpy()
        if isinstance(custom, int):
            return None
        self._spend(len(custom) // 4)
        return bytes(custom.tobytes())

    def _code(self, index: int) -> Any:
        if index >= self._model.OperatorCodesLength():
            raise IndexError(f"operator code {index}")
        return self._model.OperatorCodes(index)

    def _signatures(self) -> Iterator[Any]:
        return self._each(self._model.SignatureDefsLength, self._model.SignatureDefs)

    def _public_names(self, subgraph: Any, names: list[str]) -> tuple[dict[str, str], dict[str, str]]:
        """Public name -> tensor name of inputs and outputs: the signature's, else the tensors' own.

        Of several signatures of the graph that is the one the runtimes look for, else the first.
        """
        inputs = {
            _named(names, index): _named(names, index) for index in self._ints(subgraph.InputsAsNumpy())
        }
        outputs = {
            _named(names, index): _named(names, index) for index in self._ints(subgraph.OutputsAsNumpy())
        }
        signatures = [one for one in self._signatures() if one.SubgraphIndex() == 0]
        if not signatures:
            return inputs, outputs
        signature = next(
            (one for one in signatures if one.SignatureKey() == b"serving_default"), signatures[0]
        )
        return (
            self._signed(self._each(signature.InputsLength, signature.Inputs), inputs, names),
            self._signed(self._each(signature.OutputsLength, signature.Outputs), outputs, names),
        )

    def _signed(self, maps: Iterator[Any], fallback: dict[str, str], names: list[str]) -> dict[str, str]:
        """A signature's names in the subgraph's order (a signature itself has none that matters)."""
        named: dict[str, list[str]] = {}
        for item in maps:
            named.setdefault(_named(names, item.TensorIndex()), []).append(self._text(item.Name()))
        publics = [public for listed in named.values() for public in listed]
        if set(named) != set(fallback.values()) or len(set(publics)) < len(publics):
            return fallback
        return {public: tensor for tensor in fallback.values() for public in named[tensor]}


def listed(vector: Any) -> list[Any]:
    """A vector of the schema's object API as a list; an absent one is empty."""
    return [] if vector is None else list(vector)


def text(value: bytes | str | None) -> str:
    """A string of the object API; an absent one is empty."""
    return value.decode(errors="replace") if isinstance(value, bytes) else value or ""


def unique_names(tensors: list[Any]) -> list[str]:
    """The names that `read` gives to tensors of the object API."""
    return _unique(text(tensor.name) for tensor in tensors)


def _unique(names: Iterable[str]) -> list[str]:
    """The tensors' names; the format allows none and twice the same."""
    found: dict[str, None] = {}
    for index, stated in enumerate(names):
        name = stated or f"tensor_{index}"
        while name in found:
            name = f"{name}#{index}"
        found[name] = None
    return list(found)


def _options(operator: Any) -> Any:
    """The options object of an operator, from whichever of the two unions holds it; None without one."""
    for kind, table, create in (
        (operator.BuiltinOptionsType(), operator.BuiltinOptions(), schema.BuiltinOptionsCreator),
        (operator.BuiltinOptions2Type(), operator.BuiltinOptions2(), schema.BuiltinOptions2Creator),
    ):
        if kind and table is not None:
            return create(kind, table)
    return None


def _named(names: list[str], index: int) -> str:
    if index < 0:
        raise IndexError(f"tensor {index}")
    return names[index]
