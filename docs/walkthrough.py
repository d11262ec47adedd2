"""A walk through the compiler: one expression from operator to machine code, every stage printed.

Run it with `python docs/walkthrough.py`; the tests run it too. It follows

    y = (a * b + 1).relu().sum()

from the operators to the native call, then a training step of a small net, then a rolled loop. The
comments carry the argument; the asserts are its claims. It reaches into the rooms behind the public
names, which a user never needs to: everything shown here is also in `compiled.explain()`,
`.graph()`, `.llvm_ir()`, `.asm()` and the files that FLAMBEAU_DUMP writes.
"""

from __future__ import annotations

import ctypes
import tempfile
import time

import flambeau as fb
import numpy as np
from flambeau import nn, optim
from flambeau.compiler import fuse, pipeline, show
from flambeau.compiler import node as nd
from flambeau.compiler.codegen import index as ix
from flambeau.compiler.codegen import nest_plan
from flambeau.compiler.codegen.lower import Layout
from flambeau.compiler.config import config, override
from flambeau.compiler.request import parametrise, prepare
from flambeau.runtime import execute, jit, memory


def title(text: str) -> None:
    print(f"\n\n== {text} {'=' * (94 - len(text))}\n")


def excerpt(text: str, limit: int = 30, width: int = 100) -> None:
    """The first lines of a long text, none too wide."""
    lines = text.splitlines()
    for line in lines[:limit]:
        print(line if len(line) <= width else line[:width - 3] + "...")
    if len(lines) > limit:
        print(f"... {len(lines) - limit} more lines")


# %% 1. Operators record

# An operator checks dtypes and shapes at once, makes one node, and computes nothing. A tensor is
# a view over a Storage, and a Storage holds its present value as a node.

title("1. the graph that the operators made")
rng = np.random.default_rng(0)
a = fb.tensor(rng.standard_normal((300, 200)).astype(np.float32))
b = fb.tensor(rng.standard_normal((300, 200)).astype(np.float32))
y = (a * b + 1).relu().sum()
root = y.storage().node
print(show.text([root]))

# Sources stand before their users. The leaves are buffers: memory that the compiler never looks
# into. relu is a choice, `where(x <= 0, 0, x)`, so NaN passes through it, and sum keeps its axes
# with length 1 until a reshape drops them. A broadcast is a node too (`expand`), so that
# elementwise operands always agree in shape and no later stage has to think about broadcasting
# again.

# Nodes are interned. Asking twice for the same expression gives the same object, so a common
# subexpression vanishes at birth and every later stage may compare with `is`.

assert (a * b).storage().node is (a * b).storage().node

# A mistake is named where it is made.

try:
    a @ b
except ValueError as error:
    print(f"\na @ b: {error}")


# %% 2. A graph as a question

# `prepare` numbers the graph. Buffers become leaves 0, 1, ...; what is left (ops, dtypes, shapes,
# args, and who reads whom) is the structural key. No addresses and no values are in it, so the
# next batch of the same shape asks the same question.

title("2. the request and its key")
request = prepare([root])
for row in request.key[0]:
    print(row)
print("leaves:", request.leaves)

# Python numbers are arguments too, so a changed learning rate is not a changed program. 0, 1, -1
# and 2 are the exception: they are constants, because algebra can use them.

assert prepare([(a * 0.3).storage().node]).key == prepare([(a * 0.7).storage().node]).key
assert prepare([(a * 1).storage().node]).key != prepare([(a * 0.7).storage().node]).key


# %% 3. The passes

# When no cache knows the key, the pipeline runs. Its passes take roots and give roots: pure
# functions on graphs, in the one order that compiler/pipeline.py spells out.

title("3. the graph after each pass that changes it")
roots, params, scalars = parametrise(request)
for name, step in pipeline.PASSES:
    changed = step(roots)
    if changed != roots:
        print(f"-- {name}")
        print(show.text(changed))
    roots = changed

# Only split_reductions had something to say. 60,000 elements are one sum of many, and many
# threads want to share it, so it is cut into blocks of at most 16,384 elements whose sums are
# added by a second reduction. The cut depends on the shape alone: one thread or sixty give the
# same bits.

blocks = [n for n in nd.toposort(roots) if n.op == "sum"]
assert len(blocks) == 3

# simplify had nothing to do here. Given the textbook's log-softmax it finds the form that neither
# overflows nor takes the logarithm of a rounded quotient:

e = a.exp()
naive = (e / e.sum(1, keepdims=True)).log()
(stable,) = pipeline.simplify([naive.storage().node])
print("\n-- simplify of log(exp(a) / sum(exp(a)))")
print(show.text([stable]))
assert "div" not in {n.op for n in nd.toposort([stable])}


# %% 4. Kernels

# `fuse` walks from the roots down. A root must be stored, so it starts a kernel; a cheap node is
# computed inside every kernel that reads it; a reduction joins its one reader where that reader
# walks the same space. What comes out is a list of kernels in an order in which they may run.

title("4. kernels: what is computed together")
kernels = fuse.fuse(roots)
for k in kernels:
    inside = sorted({n.op for n in k.inlined | set(k.anchors)} - {"param", "const"})
    print(f"{k.kind} over {k.space}, reducing axes {k.axes}: {', '.join(inside)}")
    print("    stores", ", ".join(map(repr, k.homes)))

# The product, the addition and relu are never in memory: they live in the registers of the loop
# that adds them up. The same two chains of arithmetic appear twice, once for the whole blocks and
# once for the rows that are left: cheap work is repeated rather than stored.

assert all("mul" in {n.op for n in k.inlined} for k in kernels if len(k.axes) == 2)


# %% 5. Index maps

# A view costs nothing because it is arithmetic on indices. An Index is a constant plus multiples
# of loop variables; a reshape is flatten-then-split, and the split's quotients vanish whenever
# the ranges of the variables prove them away.


def spell(index: ix.Index) -> str:
    """An index as a formula: 200*j + i."""
    parts = [f"{k}*{spell_atom(atom)}" if k != 1 else spell_atom(atom) for atom, k in index.terms]
    return " + ".join(parts + ([str(index.const)] if index.const or not parts else []))


def spell_atom(atom: ix.Atom) -> str:
    if isinstance(atom, ix.Quotient):
        return f"(({spell(atom.index)}) {'mod' if atom.rest else 'div'} {atom.divisor})"
    return getattr(atom, "name", "") or f"v{atom.level}"


title("5. index maps")
p, q, r = ix.Var(0, 3, "p"), ix.Var(1, 81, "q"), ix.Var(2, 200, "r")
sliced = ix.movement("reshape", (ix.of(p), ix.of(q), ix.of(r)), (3, 81, 200), (243, 200), None)
print("element (p, q, r) of the blocks lies at", spell(ix.flatten(sliced, (300, 200))))

i = ix.Var(0, 60000, "i")
turned = ix.movement("reshape", (ix.of(i),), (60000,), (200, 300), None)
plain = ix.movement("permute", turned, (200, 300), (300, 200), (1, 0))
print("element (i,) of a.t().reshape(60000) at", spell(ix.flatten(plain, (300, 200))))

# The first map has no division left: the blocks are walked as plain memory. The second keeps its
# division, as the two layouts really disagree.

assert not any(isinstance(atom, ix.Quotient)
               for atom, _ in ix.flatten(sliced, (300, 200)).terms)


# %% 6. The plan of a nest

# Neighbouring axes that every access walks as if they were one become one; one variable is the
# vector variable; the rest are outer loops, which threads share, and inner loops along the
# reduced axes. A "rows" kernel has phases: one walk along the inner axes for each round of
# reductions.

title("6. the nest of each kernel")
target = jit.host_target()
places = [*params, *(h for k in kernels for h in k.homes)]
layout = Layout({n: i + 1 for i, n in enumerate(places)}, {}, {})
for k in kernels:
    plan = nest_plan.plan(k, layout, target)
    loops = [f"outer {v.extent}" for v in plan.outer] + [f"inner {v.extent}" for v in plan.inner]
    print(f"{k.space}: loops {', '.join(loops)}; {plan.lanes} lanes along "
          f"{plan.vec.extent if plan.vec else 'nothing'}; {len(plan.phases)} phase")

# 81 rows of 200 columns have become one walk of 16,200 elements. The lanes are those of this
# machine's registers, several registers wide where the arithmetic is light.

assert plan.inner[0].extent == 57 * 200


# %% 7. LLVM IR

# A nest is written as text by codegen/emit.py. Vectors are explicit: no auto-vectoriser has to
# find them. Loop-invariant work is written straight into the loop where its operands are known.

title("7. LLVM IR of the first kernel, up to the end of its inner loop")
program, ir = pipeline.build(request, target)
first = program.kernels[0].name
body = ir[ir.index(f"@{first}("):]
excerpt("define internal void " + body[:body.index("\nlatch", body.index("fmul"))])

# `chunk` says which part of the work this call is. The entry calls a small kernel directly, with
# chunk 0, and hands a large one to `fb_parallel`, whose threads claim chunk after chunk. How much
# work a chunk is depends on the kernel and never on the number of threads.
#
# No line of it says nnan, ninf or reassoc. A sum's order is the program's order.

assert not {"nnan", "ninf", "reassoc", "fast"} & set(ir.split())


# %% 8. Machine code

title("8. the same loop as assembly for this machine")
code = jit.assembly(ir, target).splitlines()
labels = {line.split(":")[0]: i for i, line in enumerate(code)
          if ":" in line and not line[0].isspace()}
start = next(i for label, i in labels.items() if label.lstrip("_") == first)
jumps = [(labels[line.split()[-1]], i) for i, line in enumerate(code[start:], start)
         if line.split() and line.split()[-1] in labels]
head, end = next(((at, i) for at, i in jumps if start < at < i), (start, start + 20))  # goes back
excerpt("\n".join(code[head:end + 1]))

# The constant 1 and the zero of relu are in registers before the loop; multiplication and
# addition have become one instruction where the processor has it (the flag `contract` allows that
# and no more).


# %% 9. The memory plan

# Kernels reach memory through a table of slots, filled at the entry. Inputs and outputs come from
# the caller. Temporaries lie in one arena, and a temporary's bytes are free again after its last
# reader: only the partial sums need any here.

title("9. where values lie")
for number, (where, place) in enumerate(program.slots):
    print(f"slot {number}: {where} {place}")
print(f"arena: {program.arena_bytes} bytes; inputs that outputs take over: {program.alias}")


# %% 10. The native call

# A program is one function of three addresses: a table of buffers, the scalar arguments behind a
# status word, and the arena. This is the whole of it, by hand.

title("10. the call")
with tempfile.TemporaryDirectory() as folder, override(cache=folder):
    digest = request.digest(target)
    made = execute.load(digest, lambda: pipeline.build(request, target), target)
    out = memory.allocate(4)
    table = (ctypes.c_void_p * 3)(*(leaf.arg.address for leaf in request.leaves), out.address)
    status = (ctypes.c_char * 8)()
    arena = memory.allocate(program.arena_bytes)
    made.functions[0](ctypes.addressof(table), ctypes.addressof(status), arena.address)
    by_hand = ctypes.c_float.from_address(out.address).value
    print(f"the program gives {by_hand:.1f}, NumPy",
          f"{np.maximum(a.numpy() * b.numpy() + 1, 0).sum(dtype=np.float64):.1f}")

    # -- the cache. The digest names the structure on this target. The plan is kept on disk as JSON
    # and the code as an object file, written under another name and renamed; so a program that has
    # been compiled once, by any process, is linked and not compiled.
    sources = [made.source]
    del made
    jit.forget()
    sources.append(execute.load(digest, lambda: pipeline.build(request, target), target).source)
    print("found first:", sources[0], "then:", sources[1])
    assert sources == ["compiled", "disk"]

# `float(y)` does all of the above behind one door, frontend/realize.py. Afterwards y's node is a
# buffer leaf and the old graph is garbage. `sync_report` knows the line that asked.

fb.sync_report(reset=True)
assert float(y) == by_hand
assert y.storage().node.op == "buffer"
print("\n" + str(fb.sync_report()).splitlines()[0].split("/")[-1])


# %% 11. A training step

# Loss, gradients and updates are asked for together, so they are one graph and one native call.
# Differentiation is one more transformation of graphs (compiler/differentiate.py): it happens
# while the function is recorded, and its result is compiled like any other expression.

title("11. a training step")
fb.manual_seed(1)
net = nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10), nn.LogSoftMax())
criterion = nn.ClassNLLCriterion()
optimizer = optim.SGD(net, lr=0.1)


@fb.compile
def train(x: fb.Tensor, labels: fb.Tensor) -> fb.Tensor:
    optimizer.zero_grad()
    loss = criterion.forward(net.forward(x), labels)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return loss.detach()


x = fb.tensor(rng.standard_normal((8, 64)).astype(np.float32))
labels = fb.tensor(rng.integers(0, 10, 8))
losses = [float(train(x, labels)) for _ in range(5)]
excerpt(train.explain(), 40)
assert losses == sorted(losses, reverse=True)

# Read the names. The hidden layer's product, bias and tanh are one kernel. The softmax of the
# scores and the gradient of the loss by them are one walk over rows. The contractions at the end
# are what training is about: a weight's gradient never exists in memory, since its epilogue is
# the update itself (`dot ... mul ... sub`), and the result goes where the old weight was.

report = train.last.executable.program
updates = [k for k in report.kernels if k.name.endswith(("_1x10x32", "_1x32x64"))]
assert [k.kind for k in updates] == ["contract"] * 2
assert all({"dot", "mul", "sub"} <= set(k.name.split("_")) for k in updates)
assert any({"exp", "eq", "where"} <= set(k.detail.split(", ")) for k in report.kernels)

# That is donation: nobody but the storage held the old weight, so its memory is reused. Where
# somebody does (here a NumPy array), the old values stay what they were and the weight moves.

weight = net.modules[0].weight
before = weight.storage().leaf.arg.address
train(x, labels)
assert weight.storage().leaf.arg.address == before
held = weight.numpy()
kept = held.copy()
train(x, labels)
assert weight.storage().leaf.arg.address != before and (held == kept).all()
print("\noutputs that took over an input:", report.alias)

# A new learning rate is a new argument of the same program. A new batch size is a new shape, and
# a new shape is a new program: shapes are specialised.

optimizer.param_groups[0]["lr"] = 0.01
train(x, labels)
assert len(train.variants) == 1
train(x[:5], labels[:5])
assert len(train.variants) == 2
print("second program because of", train.last.reason)


# %% 12. A rolled loop

# A scan's body is recorded once, over leaves that stand for the carry and one row. It becomes one
# node whose arg is the body's graph, and one native loop around the body's kernels; its length is
# a number in that loop.

title("12. a scan and its gradient")
w = fb.tensor(0.3 * rng.standard_normal((5, 5)).astype(np.float32))


def run(w: fb.Tensor, h: fb.Tensor, xs: fb.Tensor) -> fb.Tensor:
    def body(h: fb.Tensor, x: fb.Tensor) -> tuple[fb.Tensor, fb.Tensor]:
        h = (w @ h + x).tanh()
        return h, h
    last, every = fb.scan(body, h, xs)
    return every.sum() + last.sum()


h0 = fb.tensor(rng.standard_normal(5).astype(np.float32))
rows = fb.tensor(rng.standard_normal((20, 5)).astype(np.float32))
value = run(w, h0, rows).storage().node
print(show.text([value]))
(loop,) = {n for n in nd.toposort([value]) if n.op == "loop"}
print("\n-- its body")
print(show.text(loop.arg.results))

# w does not change from step to step, so it is no part of the body: it came in as an invariant.
# The gradient is a second scan, walking back over saved carries. The forward scan that saves them
# is a loop over the same sources as the forward scan that gives the value, and merge_loops joins
# the two.

both = fb.value_and_grad(run)(w, h0, rows)
roots = [t.storage().node for t in both]


def count(roots: list[nd.Node]) -> int:
    return sum(n.op == "loop" for n in nd.toposort(roots))


merged = pipeline.merge_loops(roots)
print(f"\nloops as recorded: {count(roots)}, after merge_loops: {count(merged)}")
assert (count(roots), count(merged)) == (3, 2)

# The length of the loop is not in the size of the code, and so hardly in the time to compile it.

with override(cache="off"):
    for steps in (2, 200):
        xs = fb.tensor(rng.standard_normal((steps, 5)).astype(np.float32))
        compiled = fb.compile(fb.grad(run))
        begin = time.perf_counter()
        compiled(w, h0, xs)
        print(f"{steps} steps: {len(compiled.last.executable.program.kernels)} kernels,",
              f"{1e3 * (time.perf_counter() - begin):.0f} ms to record, compile and run")

# That is the tour. docs/compiler.md gives the order to read the sources in; docs/decisions.md
# says why they are as they are.

print(f"\ndone; flags in force: debug={config.debug}, check={config.check}")
