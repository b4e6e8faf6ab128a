"""attrs classes to plain JSON and back, strictly: a wrong type is refused with the path to it."""

from __future__ import annotations

import json
from typing import Any, TypeVar, get_args, get_origin

import cattrs
from cattrs.gen import make_dict_unstructure_fn, override
from cattrs.preconf.json import make_converter

from device_agent.errors import InvalidRequest

T = TypeVar("T")


def _strictly(kind: type) -> Any:
    def structure(value: object, _: type) -> object:
        if kind is float and type(value) is int:
            return float(value)
        if type(value) is not kind:
            raise TypeError(f"got {json.dumps(value, default=repr)[:60]}, expected {kind.__name__}")
        return value

    return structure


def _lists(converter: Any) -> Any:
    """Hooks for `tuple[X, ...]` that take a list only: cattrs would take an object or text as well."""

    def hook(kind: Any) -> Any:
        def structure(value: object, _: Any) -> tuple[object, ...]:
            if not isinstance(value, (list, tuple)):
                raise TypeError(f"got {json.dumps(value, default=repr)[:60]}, expected a list")
            return tuple(converter.structure(value, list[get_args(kind)[0]]))  # type: ignore[misc] # at run time

        return structure

    return hook


def _is_tuple(kind: Any) -> bool:
    return get_origin(kind) is tuple


_converter = make_converter()  # a peer of a later version may send fields that this one does not know
_exact = make_converter(forbid_extra_keys=True)  # a file a person wrote must not hold a misspelt key
for _kind in (bool, int, float, str):
    _converter.register_structure_hook(_kind, _strictly(_kind))
    _exact.register_structure_hook(_kind, _strictly(_kind))


for _each in (_converter, _exact):
    _each.register_structure_hook_factory(_is_tuple, _lists(_each))


def leave_out(kind: type, *fields: str) -> None:
    """Leave these fields of a class out of its JSON where they have their default."""
    left_out: dict[str, Any] = {name: override(omit_if_default=True) for name in fields}
    for each in (_converter, _exact):
        each.register_unstructure_hook(kind, make_dict_unstructure_fn(kind, each, **left_out))


def _describe(error: BaseException, kind: type | None) -> str:
    """What `_strictly` said, or cattrs's own words."""
    if isinstance(error, TypeError) and str(error).startswith("got "):
        return str(error)
    return cattrs.v.format_exception(error, kind)


def to_json(value: object) -> Any:
    """`value` (an attrs instance, or containers of them) as plain dicts, lists and scalars."""
    return _converter.unstructure(value)


def dumps(value: object, *, indent: int | None = None) -> str:
    """`value` as JSON text with keys in field order; non-finite floats are refused."""
    separators = (",", ":") if indent is None else None
    return json.dumps(to_json(value), indent=indent, separators=separators, allow_nan=False)


def loads(data: str | bytes, where: str) -> Any:
    """JSON text, read strictly: a key that stands twice would mean one thing to us and another to others.

    Raises:
        InvalidRequest: not JSON in UTF-8, NaN or an infinity, a key twice, or nested too deeply.
    """
    try:
        text = (
            data if isinstance(data, str) else data.decode()
        )  # json itself would take UTF-16 and UTF-32 too
        return json.loads(text, object_pairs_hook=_distinct, parse_constant=_no_constant)
    except (ValueError, RecursionError) as e:
        raise InvalidRequest("not valid JSON", where=where, got=str(e)[:200]) from e


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands there twice")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number in JSON")


def from_json(data: Any, kind: type[T], *, where: str, exact: bool = False) -> T:
    """`data` (JSON text, or what it parses to) as a `kind`.

    Args:
        data: `str` or `bytes` are parsed as JSON first.
        kind: an attrs class.
        where: names the source of `data` in errors.
        exact: refuse keys that `kind` does not have.

    Raises:
        InvalidRequest: not JSON, or a field is missing, unknown or of the wrong type; names each.
    """
    if isinstance(data, (str, bytes)):
        data = loads(data, where)
    try:
        return (_exact if exact else _converter).structure(data, kind)
    except Exception as e:
        if not isinstance(e, (cattrs.BaseValidationError, TypeError, ValueError, KeyError, AttributeError)):
            raise
        problems = "; ".join(cattrs.transform_error(e, path=kind.__name__, format_exception=_describe))
        raise InvalidRequest(
            "a field is missing, unknown or of the wrong type", where=where, got=problems
        ) from e
