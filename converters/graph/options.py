"""Options tables of the TFLite builtins: which table a builtin has, its fields, enums by name.

Schema: https://github.com/google-ai-edge/LiteRT/blob/main/tflite/schema/schema.fbs
"""

from __future__ import annotations

from functools import cache
from typing import Any

from ai_edge_litert import schema_py_generated as schema

# builtins whose table is not called after them
_SHARED_TABLES = {
    "AVERAGE_POOL_2D": "Pool2DOptions",
    "CONV_3D_TRANSPOSE": "Conv3DOptions",
    "L2_NORMALIZATION": "L2NormOptions",
    "L2_POOL_2D": "Pool2DOptions",
    "MAXIMUM": "MaximumMinimumOptions",
    "MAX_POOL_2D": "Pool2DOptions",
    "MEAN": "ReducerOptions",
    "MINIMUM": "MaximumMinimumOptions",
    "MULTINOMIAL": "RandomOptions",
    "RANDOM_STANDARD_NORMAL": "RandomOptions",
    "RANDOM_UNIFORM": "RandomOptions",
    "REDUCE_ALL": "ReducerOptions",
    "REDUCE_ANY": "ReducerOptions",
    "REDUCE_MAX": "ReducerOptions",
    "REDUCE_MIN": "ReducerOptions",
    "REDUCE_PROD": "ReducerOptions",
    "SUM": "ReducerOptions",
    "UNIDIRECTIONAL_SEQUENCE_RNN": "SequenceRNNOptions",
}
# options field -> the enum it holds, wherever it occurs
_ENUM_FIELDS = {
    "combiner": "CombinerType",
    "fusedActivationFunction": "ActivationFunctionType",
    "idxOutType": "TensorType",
    "inDataType": "TensorType",
    "kernelType": "LSTMKernelType",
    "mode": "MirrorPadMode",
    "outDataType": "TensorType",
    "outType": "TensorType",
    "outputType": "TensorType",
    "padding": "Padding",
    "quantizedBiasType": "TensorType",
    "type": "LSHProjectionType",
    "weightsFormat": "FullyConnectedOptionsWeightsFormat",
}
CUSTOM_FIELDS = ("customCode", "customOptions")  # of a CUSTOM operator, which has no table


@cache
def enum_names(enum: str) -> dict[int, str]:
    """Value -> name of a schema enum."""
    members = vars(getattr(schema, enum)).items()
    return {value: name for name, value in members if not name.startswith("_")}


@cache
def enum_values(enum: str) -> dict[str, int]:
    """Name -> value of a schema enum."""
    return {name: value for value, name in enum_names(enum).items()}


@cache
def table_of(builtin: str) -> tuple[str, int, int] | None:
    """The options table of a builtin: its name, which union it is in (1 or 2), and its value there."""
    wanted = _SHARED_TABLES.get(builtin, builtin.replace("_", "") + "Options").lower()
    for union, enum in ((1, "BuiltinOptions"), (2, "BuiltinOptions2")):
        for name, value in enum_values(enum).items():
            if name.lower() == wanted:
                return name, union, value
    return None


def complete(builtin: str, given: dict[str, Any]) -> dict[str, Any]:
    """`given` with the schema's defaults for the fields it leaves out.

    Raises:
        KeyError: the builtin's table has no such field.
    """
    if builtin == "CUSTOM":
        return dict(given)
    table = table_of(builtin)
    if table is None:
        if given:
            raise KeyError(f"{builtin} has no options, got {', '.join(given)}")
        return {}
    fields = to_names(getattr(schema, table[0] + "T")())
    unknown = set(given) - set(vars(getattr(schema, table[0] + "T")()))
    if unknown:
        raise KeyError(f"{table[0]} has no field {', '.join(sorted(unknown))}")
    return fields | given


def to_names(table: Any) -> dict[str, Any]:
    """The fields of an options object: enums by name, vectors as lists; absent ones are left out."""
    found: dict[str, Any] = {}
    for name, value in vars(table).items():
        if value is None:
            continue
        if name in _ENUM_FIELDS and isinstance(value, int):
            found[name] = enum_names(_ENUM_FIELDS[name])[value]
        elif hasattr(value, "tolist"):
            found[name] = value.tolist()
        else:
            found[name] = value
    return found


def to_object(builtin: str, options: dict[str, Any]) -> tuple[Any, int, int] | None:
    """The options object of an operator, its union (1 or 2) and its type there; None if it has none."""
    table = table_of(builtin)
    if table is None or builtin == "CUSTOM":
        return None
    made = getattr(schema, table[0] + "T")()
    for name, value in complete(builtin, options).items():
        if name in _ENUM_FIELDS and isinstance(value, str):
            setattr(made, name, enum_values(_ENUM_FIELDS[name])[value])
        else:
            setattr(made, name, value)
    return made, table[1], table[2]
