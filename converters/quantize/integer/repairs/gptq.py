"""GPTQ: integers for a matrix of weights such that its products change least, one column after the other.

Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers", 2022
(arXiv 2210.17323), algorithm 1.
"""

from __future__ import annotations

import numpy as np

from converters.quantize.integer.repairs.patches import blocks

DAMPING = 0.01  # of the mean of the Hessian's diagonal, added to it: section 3.3, step 3
BLOCK = 128  # columns whose error is handed on to the rest at once: section 3.3, step 2
SWEEPS = 10  # of coordinate descent, at most


def chosen(weights: np.ndarray, scale: np.ndarray, hessian: np.ndarray, most: int) -> np.ndarray:
    """Integers q that make `(w - s q) H (w - s q)^T` small, row by row.

    Args:
        weights: float32[O, K].
        scale: float64[O], the step of each row.
        hessian: float64[K, K], the mean of x x^T over inputs x.
        most: the greatest magnitude of an integer (127).

    Returns:
        int8[O, K]. Where damping does not make the Hessian positive definite, the nearest integers.
    """
    work = weights.astype(np.float64)
    integers = nearest(work, scale, most)
    order = np.argsort(-np.diag(hessian), kind="stable")  # the heaviest first
    damped = hessian[np.ix_(order, order)]
    damped[np.diag_indices_from(damped)] += DAMPING * np.diag(damped).mean()
    try:
        upper = np.linalg.cholesky(np.linalg.inv(damped)).T
    except np.linalg.LinAlgError:
        return integers
    work = work[:, order]
    found = np.empty(work.shape, np.int8)
    for start in range(0, len(order), BLOCK):
        end = min(start + BLOCK, len(order))
        errors = np.empty((len(work), end - start))
        for column in range(start, end):
            found[:, column] = np.clip(np.rint(work[:, column] / scale), -most, most)
            error = (work[:, column] - found[:, column] * scale) / upper[column, column]
            work[:, column + 1 : end] -= np.outer(error, upper[column, column + 1 : end])
            errors[:, column - start] = error
        work[:, end:] -= errors @ upper[start:end, end:]
    integers[:, order] = found
    return integers


def descended(
    weights: np.ndarray, scale: np.ndarray, hessians: np.ndarray, integers: np.ndarray, most: int
) -> np.ndarray:
    """Integers changed by one wherever that makes the error of their row less, until nothing does.

    Args:
        weights: float32[O, K], K small.
        scale: float64[O].
        hessians: float64[O, K, K], one for each row.
        integers: int8[O, K], where to start.
        most: the greatest magnitude of an integer.

    Returns:
        int8[O, K].
    """
    found = integers.astype(np.int64)
    diagonal = np.diagonal(hessians, axis1=1, axis2=2)
    for _ in range(SWEEPS):
        before = found.copy()
        for column in range(found.shape[1]):
            error = weights - found * scale[:, None]
            slope = np.einsum("ok,ok->o", hessians[:, column], error)
            weight = diagonal[:, column] * scale
            # a step d changes the error by -2 s d slope + s^2 d^2 h: least at d = slope / (s h)
            steps = np.rint(np.divide(slope, weight, out=np.zeros_like(slope), where=weight > 0))
            found[:, column] = np.clip(found[:, column] + steps.astype(np.int64), -most, most)
        if (found == before).all():
            break
    return found.astype(np.int8)


def nearest(weights: np.ndarray, scale: np.ndarray, most: int) -> np.ndarray:
    """Each weight's nearest integer: int8 in the weights' shape, one step for each row."""
    found = np.empty(weights.shape, np.int8)
    for rows in blocks(weights.shape):
        found[rows] = np.clip(np.rint(weights[rows] / scale[rows, None]), -most, most)
    return found


def loss(weights: np.ndarray, scale: np.ndarray, hessian: np.ndarray, integers: np.ndarray) -> float:
    """The sum over rows of `(w - s q) H (w - s q)^T`; `hessian` as in `chosen` or, by row, `descended`."""
    error = weights - integers * scale[:, None]
    if hessian.ndim == 2:
        return float(((error @ hessian) * error).sum())
    return float(np.einsum("ok,okj,oj->", error, hessian, error))
