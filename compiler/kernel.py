"""The data that leave the compiler: kernels (what is computed together) and programs (what runs).

A `Kernel` is one loop nest, contraction or host routine and the values it stores. A `Program` is
native code plus everything the runtime needs to call it; it is plain data and goes to disk as it
is (JSON), so that a cached program needs no compiler at all.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from flambeau.compiler.node import Node, Shape


@dataclass(eq=False)
class Store:
    """`value` is written into `home`'s memory: all of it, or the region (slice arg) given."""

    value: Node
    home: Node
    region: tuple[tuple[int, int], ...] | None = None


@dataclass(eq=False)
class Kernel:
    """Values computed in one pass.

    kind: "map" (one loop nest), "rows" (an outer nest over the kept axes; inside, one loop over
    the reduced axes per phase), "scan", "contract", "scatter", "extern", "loop".
    space: the iteration space; axes: those of it that are reduced (or scanned). anchors: the
    reductions, scan or contraction computed inside. initial: a node whose value the home starts
    from (region writes and scatters).
    """

    kind: str
    stores: list[Store]
    space: Shape = ()
    axes: tuple[int, ...] = ()
    anchors: list[Node] = field(default_factory=list)
    initial: Node | None = None
    name: str = ""
    inlined: set[Node] = field(default_factory=set)
    backward: bool = False  # walk the outermost axis from its end (see memory.walk_back)
    turning: bool = False  # walk its chunks from either end, by turns from call to call
    turn: tuple[int, ...] | None = None  # contraction axis i is axis turn[i] of space

    @property
    def computed(self) -> set[Node]:
        """Nodes that lie in memory and that this very kernel computes."""
        return {s.value for s in self.stores if s.home is s.value} | set(self.anchors)

    @property
    def homes(self) -> list[Node]:
        return list(dict.fromkeys(s.home for s in self.stores))


@dataclass
class Extern:
    """A host routine between two native entries. Slots say where operands and result lie.

    place: the node's number in the request, to say who made it when it fails; -1: not known.
    """

    name: str
    options: Any
    operands: list[tuple[int, str, Shape]]  # slot, dtype name, shape
    result: tuple[int, str, Shape]
    place: int = -1


@dataclass
class KernelReport:
    """What explain() and profile() tell of a kernel."""

    name: str
    kind: str
    detail: str
    nbytes: int
    flops: int
    chunks: int


@dataclass
class Program:
    """Native code and how to call it: plain data.

    entries[i](buffers, scalars, arena) run in turn, externs[i] after entries[i]. buffers: addresses
    of the inputs, then of the outputs. scalars: a status word (int64, 0 when well), then the packed
    arguments. slots: for externs, where each slot lies: ("input" | "output" | "arena", number or
    offset). outputs: (dtype name, shape); alias[i]: the input whose memory output i takes over, or
    -1. errors[status - 1]: the node (place in the walk order) that failed, what to say, and the
    kind of error; applied[status - 1]: the outputs that had been written over inputs by then.

    A general program has Sizes where others have ints. sizes: what machine code reads of them, as
    int64 from `sizes_at` bytes behind the scalars on; numbers: the last scalars, each
    ("whole" | "over", n), which is n or 1 / n.
    """

    key: str
    inputs: int
    outputs: list[tuple[str, Shape]]
    alias: list[int]
    scalars: list[tuple[str, int]]
    scalar_bytes: int
    arena_bytes: int
    entries: list[str]
    externs: list[Extern]
    slots: list[tuple[str, int]]
    kernels: list[KernelReport]
    errors: list[tuple[int, str, str]]
    applied: list[list[int]] = field(default_factory=list)
    stages: list[tuple[str, float]] = field(default_factory=list)  # pass name, seconds
    sizes: list[Any] = field(default_factory=list)
    sizes_at: int = 0
    numbers: list[Any] = field(default_factory=list)
