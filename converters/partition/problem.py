"""What a placement is looked for in: operators, the tensors between them, and what all of it costs where."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    import numpy as np

HOST = 0  # the processor that gives the model its inputs and takes its outputs


@frozen
class Carried:
    """A tensor between operators.

    `maker` is the operator that computes it, None where the host gives it. `readers` are operators; `output`
    says that the host reads it as well. `moves[p][q]` is the time that it takes from processor p to q, in ns.
    """

    maker: int | None
    readers: tuple[int, ...]
    moves: tuple[tuple[float, ...], ...]
    output: bool = False


@frozen
class Problem:
    """A model and the processors it may run on.

    `times` is float64[operators, processors] in ns, infinite where a processor cannot run an operator.
    Operators stand in an order of execution. `launch` is what beginning a segment on each processor costs, in
    ns. `memory` is int64[operators, processors], the bytes that an operator keeps on a processor, and
    `limits` how many each has; None: enough.
    """

    times: np.ndarray
    carried: tuple[Carried, ...]
    launch: tuple[float, ...]
    memory: np.ndarray | None = None
    limits: tuple[float, ...] = ()

    def reads(self) -> list[list[int]]:
        """Operator -> the operators whose outputs it reads."""
        found: list[list[int]] = [[] for _ in range(len(self.times))]
        for tensor in self.carried:
            if tensor.maker is not None:
                for reader in tensor.readers:
                    found[reader].append(tensor.maker)
        return [sorted(set(sources)) for sources in found]
