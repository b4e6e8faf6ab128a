"""Applies the rewrites until none applies, and keeps account of what each did."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import define, field, frozen

from converters.graph.cost import macs
from converters.graph.ir import Graph
from converters.graph.passes.cancel_quantize import cancel_quantize
from converters.graph.passes.cancel_transposes import cancel_transposes
from converters.graph.passes.dead import remove_dead
from converters.graph.passes.fold_activation import fold_activation
from converters.graph.passes.fold_add import fold_add
from converters.graph.passes.fold_constants import fold_constants
from converters.graph.passes.fold_mul import fold_mul
from converters.graph.passes.fold_mul_forward import fold_mul_forward
from converters.graph.passes.fold_pad import fold_pad
from converters.graph.passes.fold_transpose_fully_connected import fold_transpose_fully_connected
from converters.graph.passes.fuse_gelu import fuse_gelu
from converters.graph.passes.fuse_hard_swish import fuse_hard_swish
from converters.graph.passes.fuse_l2_normalization import fuse_l2_normalization
from converters.graph.passes.fuse_leaky_relu import fuse_leaky_relu
from converters.graph.passes.fuse_relu import fuse_relu
from converters.graph.passes.fuse_rsqrt import fuse_rsqrt
from converters.graph.passes.fuse_softmax import fuse_softmax
from converters.graph.passes.fuse_squared_difference import fuse_squared_difference
from converters.graph.passes.links import Links
from converters.graph.passes.merge_reduction import merge_reduction
from converters.graph.passes.merge_reshapes import merge_reshapes
from converters.graph.passes.merge_scalars import merge_scalars
from converters.graph.passes.reduce_depthwise import reduce_depthwise
from converters.graph.passes.reduce_divisions import reduce_divisions
from converters.graph.passes.reduce_matmul import reduce_matmul
from converters.graph.passes.reduce_powers import reduce_powers
from converters.graph.passes.remove_identities import remove_identities
from converters.graph.passes.share_constants import share_constants
from converters.graph.passes.share_operators import share_operators
from converters.graph.passes.sink_reshapes import sink_reshapes
from converters.graph.passes.sink_transposes import sink_transposes
from converters.graph.passes.skip_concatenation import skip_concatenation

Rewrite = Callable[[Links], int]

REWRITES: tuple[Rewrite, ...] = (
    fold_constants,
    remove_identities,
    skip_concatenation,
    share_operators,
    cancel_quantize,
    cancel_transposes,
    sink_transposes,
    merge_reshapes,
    merge_reduction,
    sink_reshapes,
    fold_pad,
    fold_transpose_fully_connected,
    reduce_powers,
    reduce_depthwise,
    reduce_matmul,
    fold_add,
    fold_mul,
    fuse_gelu,  # the curves before what would change a part of one
    fuse_hard_swish,
    fuse_leaky_relu,
    fuse_relu,
    fold_activation,
    fuse_softmax,
    fuse_squared_difference,
    fuse_rsqrt,
    fuse_l2_normalization,
    reduce_divisions,
    merge_scalars,
    fold_mul_forward,
)
# what suits a graph that goes into a file as it is: the quantiser gives each constant parameters of its own
FINAL: tuple[Rewrite, ...] = (share_constants,)


@frozen
class Size:
    """Operators of a graph, multiply-accumulates of one run, bytes of constants, each tensor counted."""

    operators: int
    macs: int
    constant_bytes: int


@frozen
class Applied:
    """What one rewrite did: how often it applied, and what that added (below 0: took away) in all.

    What a rewrite leaves unread goes with it; `remove_dead` is for what nothing read at the start.
    """

    rewrite: str
    times: int
    operators: int
    macs: int
    constant_bytes: int


@frozen
class Account:
    """A graph's size before and after all rewrites, and what each did, in the order they first applied."""

    before: Size
    after: Size
    applied: tuple[Applied, ...]


@define
class Ledger:
    """What a run of the rewrites did so far; sizes are taken only where `size` is given at the start."""

    size: Size | None = None
    times: dict[str, int] = field(factory=dict)
    applied: dict[str, Applied] = field(factory=dict)

    def note(self, rewrite: str, times: int, graph: Graph) -> None:
        """A rewrite applied so often, and the graph is now this."""
        self.times[rewrite] = self.times.get(rewrite, 0) + times
        if self.size is None:
            return
        size, last = size_of(graph), self.size
        done = self.applied.get(rewrite, Applied(rewrite, 0, 0, 0, 0))
        self.applied[rewrite] = Applied(
            rewrite,
            done.times + times,
            done.operators + size.operators - last.operators,
            done.macs + size.macs - last.macs,
            done.constant_bytes + size.constant_bytes - last.constant_bytes,
        )
        self.size = size


def run(graph: Graph) -> dict[str, int]:
    """Rewrite the graph in place until nothing changes.

    Rewrites hold for the shapes that are stated: what a graph leaves open is fixed first.

    Returns:
        How often each rewrite applied, by its name; those that did not are left out. `remove_dead`
        counts the operators that nothing reads any more, among them what other rewrites left behind.
    """
    for tensor in graph.tensors.values():
        tensor.signature = None
    ledger = Ledger()
    _sweep(graph, REWRITES, ledger, lambda: Links(graph))
    return ledger.times


def optimize(graph: Graph, *, fixed: bool = True, fixed_inside: bool = False) -> Account:
    """Rewrite the graph in place until nothing changes, for a file that is not quantised afterwards.

    Args:
        graph: rewritten.
        fixed: whether the shapes it states hold in every run (see `Links`).
        fixed_inside: whether all axes but the first do.
    """
    before = size_of(graph)
    ledger = Ledger(before)
    _sweep(graph, [*REWRITES, *FINAL], ledger, lambda: Links(graph, fixed=fixed, fixed_inside=fixed_inside))
    return Account(before, size_of(graph), tuple(ledger.applied.values()))


def size_of(graph: Graph) -> Size:
    """The graph's size."""
    held = sum(tensor.data.nbytes for tensor in graph.tensors.values() if tensor.data is not None)
    return Size(len(graph.operators), macs(graph), held)


def _sweep(graph: Graph, rewrites: Sequence[Rewrite], ledger: Ledger, linked: Callable[[], Links]) -> None:
    removed = remove_dead(graph)
    if removed:
        ledger.note(remove_dead.__name__, removed, graph)
    links = linked()
    changed = True
    while changed:
        changed = False
        for rewrite in rewrites:
            count = rewrite(links)
            if not count:
                continue
            changed = True
            links.commit()
            left = remove_dead(graph)
            ledger.note(rewrite.__name__, count, graph)
            if left:
                ledger.times[remove_dead.__name__] = ledger.times.get(remove_dead.__name__, 0) + left
            links = linked()
