"""Named small programs and their text at every stage: the graph, the kernels, LLVM IR.

Run as a script it prints all texts as JSON. The tests do that in a process of its own: there no
other test has computed a constant that these graphs also hold, and no flag of the environment is
set. The target is a made-up machine, so the texts are the same everywhere. Kernels are listed in
alphabetical order and the arena's size is left out: where several orders are right, which one is
taken may change from run to run.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import flambeau as fb
import numpy as np
from flambeau.compiler import pipeline, show
from flambeau.compiler.node import Node
from flambeau.compiler.request import Request, parametrise, prepare
from flambeau.compiler.target import Target

TARGET = Target("cpu", "x86_64-unknown-linux-gnu",
                "e-m:e-p270:32:32-p271:32:32-p272:64:64-i64:64-i128:128-f80:128-n8:16:32:64-S128",
                "", "", vector_bytes=32, registers=16, fma=True)

Case = tuple[list[Node], dict[Node, Node]]  # roots, and what they may take over
PROGRAMS: dict[str, Callable[[], Case]] = {}
IN_FULL = ("elementwise", "row_sums")  # with LLVM IR


def program(make: Callable[[], Case]) -> Callable[[], Case]:
    PROGRAMS[make.__name__] = make
    return make


def leaf(*shape: int, dtype: type = np.float32) -> fb.Tensor:
    return fb.tensor(np.zeros(shape, dtype))


def plain(*tensors: fb.Tensor) -> Case:
    return [t.storage().node for t in tensors], {}


def in_place(t: fb.Tensor, old: Node) -> Case:
    new = t.storage().node
    return [new], {new: old}


@program
def elementwise() -> Case:
    """One map kernel: a vector loop and a masked last step."""
    return plain((leaf(4, 5) * leaf(4, 5) + 1).relu())


@program
def row_sums() -> Case:
    """One rows kernel: threads share the rows, lanes lie along the sum."""
    return plain(leaf(3, 12).sum(1))


@program
def column_sums() -> Case:
    """The same with the lanes along the axis that stays."""
    return plain(leaf(12, 16).sum(0))


@program
def softmax() -> Case:
    """Three phases over each row while it is in L1."""
    return plain(leaf(6, 40).softmax(1))


@program
def views() -> Case:
    """Views are index arithmetic: no copies, one kernel."""
    return plain((leaf(6, 10).t()[::2] * leaf(1, 6) * 0.5).reshape(-1))


@program
def long_sum() -> Case:
    """Cut into fixed blocks."""
    return plain((leaf(100_000) * leaf(100_000)).sum())


@program
def loss_and_gradient() -> Case:
    """The textbook's log-softmax and likelihood, stabilised, with its gradient by the scores."""
    labels = leaf(8, dtype=np.int64)

    def loss(scores: fb.Tensor) -> fb.Tensor:
        e = scores.exp()
        return -(e / e.sum(1, keepdims=True)).log()[fb.arange(8), labels].mean()

    return plain(*fb.value_and_grad(loss)(leaf(8, 10)))


@program
def region_write() -> Case:
    """A write through a view, in place: the rest of the old memory is not touched."""
    t = leaf(8, 6)
    old = t.storage().node
    t[1:3] = leaf(2, 6) * 0.5
    return in_place(t, old)


@program
def region_update() -> Case:
    """A write through a view that reads what it overwrites."""
    t = leaf(8, 6)
    old = t.storage().node
    view = t[1:3]
    view *= 0.5
    return in_place(t, old)


@program
def layer() -> Case:
    """A product with its epilogue."""
    return plain((leaf(8, 24) @ leaf(16, 24).t() + leaf(16)).tanh())


@program
def weight_update() -> Case:
    """w -= lr * x'd in place: the product is turned so that the update is its epilogue."""
    w, x, d = leaf(16, 24), leaf(8, 24), leaf(8, 16)
    old = w.storage().node
    w -= 0.1 * (x.t() @ d).t()
    return in_place(w, old)


@program
def convolution() -> Case:
    """Convolution, bias and tanh, then max-pooling."""
    y = fb.conv2d(leaf(2, 3, 9, 9), leaf(4, 3, 3, 3), leaf(4), padding=1).tanh()
    return plain(fb.max_pool2d(y, 3))


@program
def indexing() -> Case:
    """A gather, and a scatter that adds."""
    table, index = leaf(20, 8), leaf(5, dtype=np.int64)
    return plain(table[index] * 0.5, table.index_add(0, index, leaf(5, 8)))


@program
def scan_gradient() -> Case:
    """A recurrent net's gradient: two native loops, the first saving its carries."""
    def loss(w: fb.Tensor, h: fb.Tensor, xs: fb.Tensor) -> fb.Tensor:
        def body(h: fb.Tensor, x: fb.Tensor) -> tuple[fb.Tensor, fb.Tensor]:
            h = (w @ h + x).tanh()
            return h, h
        return fb.scan(body, h, xs)[1].sum()

    return plain(fb.grad(loss)(leaf(4, 4), leaf(4), leaf(7, 4)))


# -- their text ------------------------------------------------------------------------------------


def text(name: str) -> str:
    roots, gifts = PROGRAMS[name]()
    request = prepare(roots, gifts)
    made, ir = pipeline.build(request, TARGET)
    parts = [f"# {PROGRAMS[name].__doc__}", "", "## graph after the passes", *_graph(request), "",
             "## kernels"]
    parts += sorted(f"{k.name}: {_sorted(k.detail)}; {k.chunks} chunk{'s' * (k.chunks != 1)}"
                    for k in made.kernels)
    parts += ["", "## memory", f"temporaries: {'some' if made.arena_bytes else 'none'}; in place: "
              + (", ".join(f"output {i} on input {a}" for i, a in enumerate(made.alias) if a >= 0)
                 or "nothing")]
    if name in IN_FULL:
        parts += ["", "## LLVM IR", ir[ir.index("define "):ir.index("attributes #")].rstrip()]
    return "\n".join(parts) + "\n"


def _graph(request: Request) -> list[str]:
    roots = pipeline.graph_passes(parametrise(request)[0])
    lines = show.text(roots).splitlines()
    for n in {m: None for m in pipeline.nd.toposort(roots) if m.op == "loop"}:
        lines += ["body:", *("  " + line for line in show.text(n.arg.results).splitlines())]
    return lines


def _sorted(detail: str) -> str:
    """Fused ops in alphabetical order: what is fused matters, not how a set was walked."""
    head, mark, fused = detail.rpartition("fused: ")
    return head + mark + ", ".join(sorted(fused.split(", ")))


if __name__ == "__main__":
    found = {name: text(name) for name in PROGRAMS}
    assert not any(" at 0x" in t for t in found.values()), "an address"
    print(json.dumps(found))
