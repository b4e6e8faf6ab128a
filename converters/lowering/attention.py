"""Attention: scaled dot products of heads, with masks, windows and caches."""

from __future__ import annotations

import math

import numpy as np
from attrs import frozen

from converters.lowering.context import Context
from converters.lowering.formula import Formula, Operand
from converters.lowering.registry import Node, Refused, lowers

_PAST_KEY, _PAST_VALUE, _SEEN = 4, 5, 6  # places of the optional inputs
_RAW, _CAPPED, _MASKED, _PROBABILITIES = range(4)  # of attribute qk_matmul_output_mode
_LOWEST = float(np.finfo(np.float32).min)


@lowers("Attention")
def attention(context: Context, node: Node) -> None:
    """`Attention` is BATCH_MATMUL, SOFTMAX, BATCH_MATMUL; what is masked for certain is a constant bias.

    Query heads that share a key are more rows of its matrix, so no key is repeated.
    """
    formula = Formula(context, node.name)
    rank = len(context.shape(node.input(0)))
    heads = (_number(node, "q_num_heads"), _number(node, "kv_num_heads"), _number(node, "kv_num_heads"))
    q, k, v = (_split(formula, node.input(place), heads[place]) for place in range(3))
    if node.optional(_PAST_KEY) is not None:
        k = formula.concat([formula.value(node.input(_PAST_KEY)), k], 2)
        v = formula.concat([formula.value(node.input(_PAST_VALUE)), v], 2)
    batch, heads_q, rows, depth = formula.shape(q)
    heads_k, columns = formula.shape(k)[1:3]
    if heads_q % heads_k:
        raise Refused("its query heads are no multiple of its key heads", got=heads_q, limit=heads_k)
    shape = (batch, heads_q, rows, columns)
    scale = node.number("scale", 0.0) if "scale" in node.attributes else 1 / math.sqrt(depth)
    cap = node.number("softcap", 0.0)
    mode = node.integer("qk_matmul_output_mode", 0)
    wanted = node.outputs[3] if len(node.outputs) > 3 else None
    early = cap > 0 and not (wanted is not None and mode == _RAW)  # divide by the cap ahead of the product
    q = formula.mul(q, np.array(scale / cap if early else scale, np.float32))
    grouped = formula.reshape(q, (batch, heads_k, heads_q // heads_k * rows, depth))
    scores = formula.reshape(formula.matmul(grouped, k, adjoint_right=True), shape)
    shown = {_RAW: scores, _CAPPED: scores}
    if cap > 0:
        scores = scores if early else formula.mul(scores, np.array(1 / cap, np.float32))
        scores = formula.mul(formula.unary("TANH", scores), np.array(cap, np.float32))
        shown[_CAPPED] = scores
    bias = _bias(formula, node, _Extent(batch, rows, columns))
    if bias is not None:
        scores = formula.add(scores, bias)
    shown[_MASKED] = scores
    if bias is not None and wanted is not None and mode == _MASKED:
        # the ADD of tflite-runtime 2.14 gives the lowest float for minus infinity; SOFTMAX takes either
        hidden = formula.binary("LESS", bias, np.array(_LOWEST, np.float32))
        shown[_MASKED] = formula.select(hidden, np.array(-math.inf, np.float32), scores)
    probabilities = formula.softmax(scores)
    if bias is not None:
        probabilities = _without_empty_rows(formula, probabilities, bias)
    shown[_PROBABILITIES] = probabilities
    grouped = formula.reshape(probabilities, (batch, heads_k, heads_q // heads_k * rows, columns))
    y = formula.reshape(formula.matmul(grouped, v), (batch, heads_q, rows, formula.shape(v)[3]))
    if rank == 3:
        y = formula.reshape(formula.transpose(y, (0, 2, 1, 3)), (batch, rows, heads_q * formula.shape(y)[3]))
    results = (y, k, v, shown.get(mode, shown[_RAW]))
    for name, operand in zip(node.outputs, results, strict=False):
        if name is not None:
            formula.give(name, operand)


@frozen
class _Extent:
    """How many samples, queries and keys there are."""

    batch: int
    rows: int
    columns: int


def _number(node: Node, name: str) -> int | None:
    return node.integer(name, 0) if name in node.attributes else None


def _split(formula: Formula, name: str, heads: int | None) -> Operand:
    """A value [batch, length, heads * depth] as [batch, heads, length, depth]; one of four axes is that."""
    value = formula.value(name)
    shape = formula.shape(value)
    if len(shape) == 4:
        return value
    if len(shape) != 3 or not heads or shape[2] % heads:
        raise Refused("its heads do not divide its input", got=f"{list(shape)}, {heads} heads")
    return formula.transpose(
        formula.reshape(value, (shape[0], shape[1], heads, shape[2] // heads)), (0, 2, 1, 3)
    )


def _bias(formula: Formula, node: Node, extent: _Extent) -> Operand | None:
    """What is added to the scores: the mask where it is a float, minus infinity where nothing may be seen."""
    truth = _visible(formula, node, extent)
    added: Operand | None = None
    if node.optional(3) is not None:
        mask = formula.value(node.input(3))
        missing = extent.columns - formula.shape(mask)[-1]
        truthful = formula.dtype(mask) == "bool"
        amounts = [(0, 0)] * (len(formula.shape(mask)) - 1) + [(0, missing)]
        mask = formula.pad(mask, amounts, 0 if truthful else -math.inf)
        if truthful:
            truth = mask if truth is None else formula.binary("LOGICAL_AND", truth, mask)
        else:
            added = formula.cast(mask, "float32")
    if truth is None:
        return added
    nothing = np.array(-math.inf, np.float32)
    return formula.select(truth, np.zeros((), np.float32) if added is None else added, nothing)


def _visible(formula: Formula, node: Node, extent: _Extent) -> Operand | None:
    """Which key each query may see, by its place; None if every one."""
    i, j = np.arange(extent.rows)[:, None], np.arange(extent.columns)[None, :]
    causal = bool(node.integer("is_causal", 0))
    left, right = node.integer("left_window_size", -1), node.integer("right_window_size", -1)
    if node.optional(_SEEN) is None:
        past = node.optional(_PAST_KEY)
        offset = formula.context.shape(past)[2] if past is not None else 0
        seen = np.ones((extent.rows, extent.columns), bool)
        if causal:
            seen &= j <= i + offset
        if left >= 0:
            seen &= i + offset - j <= left
        if right >= 0:
            seen &= j - i - offset <= right
        return None if seen.all() else seen
    # the same with an offset of `seen - rows`, which is computed
    count = formula.reshape(formula.value(node.input(_SEEN)), (extent.batch, 1, 1, 1))
    dtype = formula.dtype(count)
    limits = [("GREATER", j + 0 * i)]  # what is not padding
    if causal:
        limits = [("GREATER_EQUAL", j - i + extent.rows)]  # and so no padding either
    if left >= 0:
        limits.append(("LESS_EQUAL", left + extent.rows - i + j))
    if right >= 0:
        limits.append(("GREATER_EQUAL", j - i - right + extent.rows))
    truth: Operand | None = None
    for builtin, limit in limits:
        more = formula.binary(builtin, count, limit[None, None].astype(dtype))
        truth = more if truth is None else formula.binary("LOGICAL_AND", truth, more)
    return truth


def _without_empty_rows(formula: Formula, probabilities: Operand, bias: Operand) -> Operand:
    """The probabilities with zeros for a query that may see no key, which SOFTMAX cannot compute."""
    most = formula.reduce("REDUCE_MAX", bias, [-1])
    alive = formula.binary("GREATER_EQUAL", most, np.array(_LOWEST, np.float32))
    if isinstance(alive, np.ndarray) and alive.all():
        return probabilities
    return formula.select(alive, probabilities, np.zeros((), np.float32))
