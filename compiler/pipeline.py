"""The whole compiler, in order: from a request to a program. The only file that knows the order."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from flambeau.compiler import fuse, memory
from flambeau.compiler import node as nd
from flambeau.compiler.check import check
from flambeau.compiler.codegen.emit import Module
from flambeau.compiler.codegen.gpu import GpuAssembler
from flambeau.compiler.codegen.lower import Layout
from flambeau.compiler.codegen.placing import Placer
from flambeau.compiler.codegen.program import Assembler
from flambeau.compiler.config import config, say, wanted
from flambeau.compiler.empty import drop_empty
from flambeau.compiler.epilogues import split_epilogues
from flambeau.compiler.extremes import find_extremes
from flambeau.compiler.gaps import fill_gaps
from flambeau.compiler.kernel import Extern, Kernel, Program
from flambeau.compiler.launch import GpuProgram, Host
from flambeau.compiler.lift import lift_from_loops
from flambeau.compiler.loop import inside_loops, merge_loops
from flambeau.compiler.node import Node
from flambeau.compiler.planes import memory_form, routine, split_complex
from flambeau.compiler.pooling import pool_gradients, sparse_gradients
from flambeau.compiler.request import Request, parametrise
from flambeau.compiler.simplify import simplify
from flambeau.compiler.sorted_once import by_order, sort_once
from flambeau.compiler.split_scans import split_scans
from flambeau.compiler.target import Target
from flambeau.compiler.thin import inner_products, join_written, line_up, thin_products

# -- the passes ------------------------------------------------------------------------------------


def pad_convolutions(roots: list[Node]) -> list[Node]:
    """Gives convolutions a padded copy of their input, so that kernels read plain memory."""
    done: dict[Node, Node] = {}
    for n in nd.toposort(roots):
        src = tuple(done[s] for s in n.src)
        m = nd.rebuild(n, src)
        done[n] = _padded(m) if n.op == "conv" else m
    return [done[r] for r in roots]


def _padded(n: Node) -> Node:
    g, x = n.arg, n.src[0]
    if not any(g.before) and not any(g.after) and all(d == 1 for d in g.input_dilation):
        return n
    spatial = [(e - 1) * d + 1 + b + a for e, d, b, a in
               zip(x.shape[2:], g.input_dilation, g.before, g.after)]
    x = _spread(x, g, spatial)
    ones, zeros = (1,) * len(spatial), (0,) * len(spatial)
    plain = type(g)(g.stride, zeros, zeros, g.dilation, ones, g.groups)
    return nd.node("conv", n.dtype, n.shape, (x, n.src[1]), plain)


def _spread(x: Node, g: Any, spatial: list[int]) -> Node:
    before = tuple(max(0, b) for b in g.before)
    after = tuple(max(0, a) for a in g.after)
    full = tuple((e - 1) * d + 1 + b + a for e, d, b, a in
                 zip(x.shape[2:], g.input_dilation, before, after))
    x = nd.pad(x, (0, 0, *before), (*x.shape[:2], *full), 0, (1, 1, *g.input_dilation))
    starts = (0, 0, *(max(0, -b) for b in g.before))
    return nd.slice_(x, starts, (*x.shape[:2], *spatial), (1,) * len(x.shape))


Pass = tuple[str, Callable[[list[Node]], list[Node]]]

PASSES: list[Pass] = [
    ("split_complex", split_complex),  # what follows knows real numbers only
    ("drop_empty", drop_empty),  # no kernel then walks an empty axis
    ("merge_loops", merge_loops),  # a scan and the scan that saves its carries are one
    ("sparse_gradients", sparse_gradients),  # max pooling's: while they stand as derived
    ("lift_from_loops", lift_from_loops),  # products of all steps as one, before or behind the loop
    ("sort_once", sort_once),  # values and their order come from one sort
    ("simplify", simplify),  # algebra and stability, before anything is fixed in place
    ("pad_convolutions", pad_convolutions),  # kernels then read plain strided memory
    ("turn_products", fuse.turn_products),  # a weight's update then fits its gradient's kernel
    ("join_written", join_written),  # a weight is read where it is updated
    ("inner_products", inner_products),  # vectors' products are sums: shared among threads
    ("find_extremes", find_extremes),  # the place of an extreme: the block first
    ("split_reductions", fuse.split_reductions),  # fixed blocks: same bits on any thread count
    ("simplify_again", simplify),  # what the passes above left behind
    ("line_up", line_up),  # a few columns of a product: vectors along k
    ("fill_gaps", fill_gaps),  # diagonal matrices: no test an element
    ("inside_loops", lambda roots: inside_loops(roots, _body_passes)),  # the same for loop bodies
]


def _for_gpu() -> list[Pass]:
    made = dict(PASSES)
    made["turn_products"] = lambda roots: thin_products(fuse.turn_products(roots))
    made["sparse_gradients"] = pool_gradients
    made["sort_once"] = by_order
    made["split_reductions"] = lambda roots: split_scans(fuse.split_reductions(roots))
    del made["inner_products"], made["line_up"], made["fill_gaps"]
    made["inside_loops"] = lambda roots: inside_loops(roots, _gpu_body_passes)
    return list(made.items())


GPU_PASSES = _for_gpu()  # thin products are loop nests there


def _body_passes(roots: list[Node]) -> list[Node]:
    return own_homes(graph_passes(roots))


def _gpu_body_passes(roots: list[Node]) -> list[Node]:
    return own_homes(graph_passes(roots, passes=GPU_PASSES))


def graph_passes(roots: list[Node], times: list[tuple[str, float]] | None = None,
                 passes: list[Pass] | None = None) -> list[Node]:
    """Runs the graph passes (PASSES unless given), with checks and dumps between them."""
    skip = {name.strip() for name in config.skip.split(",")} - {""}
    if unknown := skip - {name for name, _ in PASSES}:
        raise ValueError(f"FLAMBEAU_SKIP: expected names of passes ({', '.join(dict(PASSES))}), "
                         f"got {', '.join(sorted(unknown))}")
    for name, step in passes or PASSES:
        if name in skip:
            continue
        start = time.perf_counter()
        before = roots
        roots = step(roots)
        if times is not None:
            times.append((name, time.perf_counter() - start))
        if config.check:
            check(roots, name)
        if wanted(3) and roots != before:
            _show(name, roots)
    return roots


def _show(stage: str, roots: list[Node]) -> None:
    from flambeau.compiler import show
    say(stage, show.text(roots), 3)


def build(request: Request, target: Target, timed: bool = False) -> tuple[Program, str]:
    """Runs every pass; returns the program and its LLVM IR.

    timed: the code also adds up each kernel's nanoseconds, in the global `fb_clocks` behind its
    first element, which is the time of the last look.
    """
    times: list[tuple[str, float]] = []
    key = request.digest(target)
    if config.check:
        check(request.roots, "as asked")
    roots, params, scalars = parametrise(request)
    if wanted(3):
        _show("as_asked", roots)
    roots, params = own_homes(graph_passes(roots, times)), [memory_form(p) for p in params]
    start = time.perf_counter()
    kernels = split_epilogues(fuse.fuse([r for r in roots if r.size]))
    times.append(("fuse", time.perf_counter() - start))
    start = time.perf_counter()
    program, ir = assemble(key, request, kernels, roots, params, scalars, target, timed)
    times.append(("generate", time.perf_counter() - start))
    program.stages = times
    say("kernels", "\n".join(f"{r.name}: {r.detail}" for r in program.kernels), 2)
    say("llvm", ir, 5)
    return program, ir


def own_homes(roots: list[Node]) -> list[Node]:
    """A root may come out as a bare parameter or twice the same: a mark gives each its own home."""
    return [nd.node("mark", r.dtype, r.shape, (r,), ("root", i))
            if r.op in ("param", "mark") or any(q is r for q in roots[:i]) else r
            for i, r in enumerate(roots)]


def assemble(key: str, request: Request, kernels: list[Kernel], roots: list[Node],
             params: list[Node], scalars: list[Node], target: Target, timed: bool = False
             ) -> tuple[Program, str]:
    """Places values and writes the module."""
    kernels, layout, failing, errors, granted = _order(request, kernels, roots, params, scalars)
    stored = {h for k in kernels for h in k.homes} | set(params)
    memory.walk_back(kernels, granted, stored, target.l2)
    module = Module(f"program {key}", target.triple, target.data_layout,
                    target.vector_bytes)
    found, scalar_bytes = _scalar_block(scalars)
    module.sizes_at = -(-scalar_bytes // 8) * 8
    writer = Assembler(module, target, layout, timed)
    writer.inputs = len(params)
    homes, tail, alias = _homes(writer, request, roots, params, granted)
    made = writer.run(kernels, homes, tail, failing)
    _place(request, made.externs)
    program = Program(
        key, len(params), [(r.dtype.name, r.shape) for r in roots], alias,
        found, scalar_bytes, made.arena_bytes, made.entries,
        made.externs, made.slots, made.reports, errors,
        [_applied(n, kernels, roots, granted) for n in layout.errors])
    if request.symbol is not None:
        program.sizes = [request.symbol.size(terms) for terms in request.symbol.table]
        program.sizes_at = module.sizes_at
        program.numbers = request.numbers
        program.scalar_bytes = module.sizes_at + 8 * len(program.sizes)
    return program, str(module)


def build_gpu(request: Request, target: Target) -> tuple[GpuProgram, str]:
    """The same for a GPU: the program and its LLVM IR, which `jit.ptx` lowers."""
    times: list[tuple[str, float]] = []
    key = request.digest(target)
    if config.check:
        check(request.roots, "as asked")
    roots, params, scalars = parametrise(request)
    roots = own_homes(graph_passes(roots, times, GPU_PASSES))
    params = [memory_form(p) for p in params]
    start = time.perf_counter()
    kernels = fuse.fuse([r for r in roots if r.size])
    times.append(("fuse", time.perf_counter() - start))
    start = time.perf_counter()
    kernels, layout, failing, errors, granted = _order(request, kernels, roots, params, scalars)
    module = Module(f"program {key}", target.triple, target.data_layout,
                    target.vector_bytes)
    writer = GpuAssembler(module, target, layout)
    homes, tail, alias = _homes(writer, request, roots, params, granted)
    steps = writer.run(kernels, homes, tail, failing)
    _place(request, [s.extern for s in steps if isinstance(s, Host)])
    times.append(("generate", time.perf_counter() - start))
    program = GpuProgram(
        key, len(params), [(r.dtype.name, r.shape) for r in roots], alias,
        *_scalar_block(scalars), writer.arena.bytes, writer.slots, steps, writer.reports, errors,
        times)
    say("kernels", "\n".join(f"{r.name}: {r.detail}" for r in program.kernels), 2)
    ir = str(module)
    say("llvm", ir, 5)
    return program, ir


def _place(request: Request, routines: list[Extern]) -> None:
    """Notes which node of the request each host routine computes: an error's place."""
    places = {routine(n): i for i, n in enumerate(request.order)
              if isinstance(n, Node) and n.op == "extern"}
    for e in routines:
        e.place = places.get((e.name, e.options, e.result[2]), -1)


def _scalar_block(scalars: list[Node]) -> tuple[list[tuple[str, int]], int]:
    """(dtype name, offset) of each scalar argument behind the status word, and all their bytes."""
    found, at = [], 8
    for s in scalars:
        at = -(-at // s.dtype.itemsize) * s.dtype.itemsize
        found.append((s.dtype.name, at))
        at += s.dtype.itemsize
    return found, at


def _order(request: Request, kernels: list[Kernel], roots: list[Node], params: list[Node],
           scalars: list[Node]) -> tuple[list[Kernel], Layout, set[Kernel],
                                         list[tuple[int, str, str]], dict[Node, Node]]:
    """Kernels in an order that grants wishes to take memory over.

    Also the layout (without slots), the kernels that may fail, what to say then, and the wishes
    granted (output -> input).
    """
    stored = {h for k in kernels for h in k.homes} | set(params)
    wishes = {roots[i]: params[j] for i, j in request.donate.items()
              if roots[i].nbytes == params[j].nbytes and roots[i].size}
    errors = _failing(kernels, request)
    failing = {k for k in kernels if not _computes(k).isdisjoint(n for n, _ in errors)}
    kernels, granted = memory.take_over(kernels, wishes, stored, failing)
    offsets = {s: at for s, (_, at) in zip(scalars, _scalar_block(scalars)[0])}
    layout = Layout({}, offsets, {n: i + 1 for i, (n, _) in enumerate(errors)})
    return kernels, layout, failing, [said for _, said in errors], granted


def _homes(writer: Placer, request: Request, roots: list[Node], params: list[Node],
           granted: dict[Node, Node]
           ) -> tuple[dict[Node, int], list[tuple[int, int, int]], list[int]]:
    """Slots of inputs and roots, the copies that end the program, and each root's alias."""
    homes = {p: writer.slot("input", i) for i, p in enumerate(params)}
    copies = {}
    for i, r in enumerate(roots):
        gift = request.donate.get(i)
        if r in granted:
            homes[r] = homes[granted[r]]
        elif gift is not None and r.nbytes == params[gift].nbytes and r.size:
            # computed aside, then copied over the input: somebody still reads the old value
            copies[r] = homes[params[gift]]
        else:
            homes[r] = writer.slot("output", i)
    for r in copies:
        homes[r] = writer.slot("arena", writer.arena.take(r.nbytes))
    tail = [(to, homes[r], r.nbytes) for r, to in copies.items()]
    alias = [request.donate.get(i, -1) if r in granted or r in copies else -1
             for i, r in enumerate(roots)]
    return homes, tail, alias


def _applied(n: Node, kernels: list[Kernel], roots: list[Node], granted: dict[Node, Node]
             ) -> list[int]:
    """The outputs that lie over inputs already when n is found wrong."""
    last = max(i for i, k in enumerate(kernels) if n in _computes(k))
    written = {h for k in kernels[:last + 1] for h in k.homes}
    return [i for i, r in enumerate(roots) if r in granted and r in written]


def _computes(k: Kernel) -> set[Node]:
    """What the kernel computes; of a loop, all of its body."""
    if k.kind != "loop":
        return k.inlined | {s.value for s in k.stores}
    found: set[Node] = set()
    stack = list(k.stores[0].value.src)
    while stack:
        loop = stack.pop().arg
        roots = loop.results if loop.condition is None else (*loop.results, loop.condition)
        inside = set(nd.toposort(roots)) - found
        found |= inside
        stack += [n for n in inside if n.op == "loop"]
    return found


_FAILING = ("gather", "scatter", "require")


def _failing(kernels: list[Kernel], request: Request) -> list[tuple[Node, tuple[int, str, str]]]:
    """Nodes that may find a value wrong, with what to say then."""
    found: list[tuple[Node, tuple[int, str, str]]] = []
    nodes: dict[Node, Node] = {}  # and whose place in the request they have: their outermost loop's
    loops: set[Node] = set()
    stack: list[tuple[Node, Node | None]] = [(s.value, None) for k in kernels for s in k.stores]
    while stack:
        root, around = stack.pop()
        for n in nd.toposort([root]):
            if n.op in _FAILING:
                nodes.setdefault(n, around or n)
            elif n.op == "loop" and n not in loops:
                loops.add(n)
                stack += [(r, around or n) for r in n.arg.results]
                stack += [] if n.arg.condition is None else [(n.arg.condition, around or n)]
    asked = [(i, n) for i, n in enumerate(request.order) if isinstance(n, Node)]
    origin = {(n.op, n.shape): i for i, n in asked if n.op in _FAILING}
    lines: dict[object, int] = {(n.op, n.where): i for i, n in asked
                                if n.op in (*_FAILING, "loop") and n.where}
    for n, placed in nodes.items():
        place = lines.get((placed.op, placed.where), origin.get((n.op, n.shape), -1))
        found.append((n, (place, *_complaint(n))))
    return found


def _complaint(n: Node) -> tuple[str, str]:
    """What to say when n finds a value wrong, and the kind of error."""
    if n.op == "require":
        return n.arg, "ValueError"
    extents = n.src[0].shape[:len(n.src) - (1 if n.op == "gather" else 2)]
    return (f"{n.op}: expected indices below {', '.join(map(str, extents))} along the "
            f"indexed axes of {list(n.src[0].shape)}, got one out of range"), "IndexError"
