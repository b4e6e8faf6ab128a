"""Static shapes for a model's inputs, from what its file says and what the user asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import frozen

from converters.tensorflow.job import Job
from device_agent.errors import InvalidModel, InvalidRequest
from device_agent.tensors import DTYPES


@frozen
class End:
    """An input as the source states it: an open size is None, an unknown rank no shape at all."""

    name: str
    shape: tuple[int | None, ...] | None
    dtype: str


def static_shapes(inputs: Sequence[End], job: Job) -> list[tuple[int, ...]]:
    """One shape per input: what the user asks, else the file's with its open first axis as the batch.

    Raises:
        InvalidRequest: a name or a shape that the model does not have.
        InvalidModel: an input stays open, or its dtype cannot be carried.
    """
    asked = dict(job.shapes)
    bound = {name: tensor.shape for name, tensor in job.bound}
    _check_names(inputs, {**asked, **bound}, job.path)
    shapes = []
    for end in inputs:
        if end.dtype not in DTYPES:
            raise InvalidModel(
                "an input has a dtype that cannot be carried",
                where=f"{job.path}: input {end.name!r}",
                got=end.dtype,
                expected=", ".join(DTYPES),
                next_step="Leave preprocessing of text out of the model, and save it anew.",
            )
        wanted = bound.get(end.name, asked.get(end.name))
        shapes.append(_of_batch(end, job) if wanted is None else _fitting(end, wanted, job.path))
    for end in inputs:
        _check_dtype(end, job)
    return shapes


def _check_names(inputs: Sequence[End], named: Mapping[str, object], path: str) -> None:
    names = [end.name for end in inputs]
    for name in named:
        if name not in names:
            raise InvalidRequest(
                "the model has no such input", where=path, got=name, expected=", ".join(names)
            )


def _check_dtype(end: End, job: Job) -> None:
    for name, tensor in job.bound:
        if name == end.name and tensor.dtype != end.dtype:
            raise InvalidRequest(
                f"the value for input {name!r} has another dtype",
                where=job.path,
                got=tensor.dtype,
                expected=end.dtype,
            )


def _fitting(end: End, wanted: tuple[int, ...], path: str) -> tuple[int, ...]:
    if end.shape is None:
        return wanted
    fits = len(wanted) == len(end.shape) and all(
        size is None or size == asked for size, asked in zip(end.shape, wanted, strict=True)
    )
    if not fits:
        raise InvalidRequest(
            f"input {end.name!r} cannot have that shape",
            where=path,
            got=str(list(wanted)),
            expected="[" + ", ".join("any" if size is None else str(size) for size in end.shape) + "]",
        )
    return wanted


def _of_batch(end: End, job: Job) -> tuple[int, ...]:
    if end.shape is None:
        raise InvalidModel(
            "an input has no shape",
            where=f"{job.path}: input {end.name!r}",
            expected="a tensor of known rank",
            next_step=f"Give one with `--input-shape {end.name}=1,...`.",
        )
    shape = [size if size is not None or axis else job.batch for axis, size in enumerate(end.shape)]
    static = tuple(size for size in shape if size is not None)
    if len(static) < len(shape):
        raise InvalidModel(
            "only the batch dimension of an input may be open",
            where=f"{job.path}: input {end.name!r}, axis {shape.index(None)}",
            got="an unknown size",
            expected="a fixed size",
            next_step=f"Give the whole shape: `--input-shape {end.name}="
            + ",".join("?" if size is None else str(size) for size in shape)
            + "`, with a size for each ?.",
        )
    return static
