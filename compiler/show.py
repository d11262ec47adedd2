"""Graphs as text, as networkx and as Graphviz source. For people; nothing parses these.

Numbers are places in a topological walk from the roots, so equal graphs print alike.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flambeau.compiler.node import Node, Scalar, decode, toposort
from flambeau.compiler.ops import OPS

_COLOURS = {"leaf": "#dceaf7", "elementwise": "#e6f4d7", "movement": "#f3f3f3",
            "indexing": "#fbe3d0", "reduction": "#f9d9e0", "scan": "#f9d9e0",
            "contraction": "#fff0b8"}


def text(roots: Iterable[Node], limit: int = 2000) -> str:
    """One line a node, sources first: `%3 = add f32[2,3] %1 %2`; then the roots."""
    roots = list(roots)
    order = toposort(roots)
    number = {n: i for i, n in enumerate(order)}
    lines = [line(n, number) for n in order[:limit]]
    if len(order) > limit:
        lines.append(f"... {len(order) - limit} more")
    lines.append("return " + " ".join(f"%{number[r]}" for r in roots))
    return "\n".join(lines)


def line(n: Node, number: dict[Node, int]) -> str:
    """One node, its sources by their numbers."""
    parts = [f"%{number[n]} = {n.op} {kind(n)}", *(f"%{number[s]}" for s in n.src)]
    try:
        parts.append(argument(n))
    except Exception:  # an illegal node must still print: its error is being reported
        parts.append(repr(n.arg))
    return " ".join(filter(None, parts))


def kind(n: Node) -> str:
    """dtype and shape: f32[2,3]."""
    d = n.dtype
    name = d.name if d.kind == "b" or d.name == "bfloat16" else f"{d.kind}{d.itemsize * 8}"
    return f"{name}[{','.join(map(str, n.shape))}]"


def argument(n: Node) -> str:
    """What a node's arg says, without identities or addresses: texts of equal graphs are equal."""
    arg = n.arg
    if arg is None or n.op == "buffer":
        return ""
    if n.op == "const":
        return f"{decode(n.dtype, arg)!r}"
    if isinstance(arg, Scalar):
        return f"{arg.value!r}"
    if n.op in ("slice", "put"):
        return "[" + ", ".join(f"{start}::{step}" for start, step in arg) + "]"
    if n.op == "pad":
        spec, fill = arg
        places = ", ".join(f"{before}" + (f" by {by}" if by != 1 else "") for before, by in spec)
        return f"[{places}] fill {decode(n.dtype, fill)!r}"
    if n.op == "loop":
        return f"{arg.count} steps, {arg.carries} carries, {arg.sequences} sequences"
    if n.op == "mark":
        return ""
    found = str(arg)
    return "" if " at 0x" in found else found.replace(", ", ",")


def neighbourhood(n: Node, depth: int = 2) -> str:
    """A node and what lies below it, `depth` steps down: for error messages."""
    near, edge = [n], [n]
    for _ in range(depth):
        edge = [s for m in edge for s in m.src if s not in near]
        near += dict.fromkeys(edge)
    number = {m: i for i, m in enumerate(reversed(near))}
    for m in near:
        for s in m.src:
            number.setdefault(s, len(number))
    return "\n".join(line(m, number) for m in reversed(near))


def to_networkx(roots: Iterable[Node]) -> Any:
    """A MultiDiGraph: nodes 0, 1, ... with op, dtype, shape, arg, family and label; edges from
    source to user, with the place as `operand`."""
    import networkx  # type: ignore[import-untyped]  # lazily: it is slow to import

    order = toposort(list(roots))
    number = {n: i for i, n in enumerate(order)}
    graph = networkx.MultiDiGraph()
    for n in order:
        graph.add_node(number[n], op=n.op, dtype=n.dtype.name, shape=n.shape, arg=argument(n),
                       family=OPS[n.op].family, label=f"{n.op} {kind(n)}")
        for operand, s in enumerate(n.src):
            graph.add_edge(number[s], number[n], operand=operand)
    return graph


def to_dot(roots: Iterable[Node]) -> str:
    """Graphviz source, coloured by family; roots have a double frame."""
    roots = list(roots)
    order = toposort(roots)
    number = {n: i for i, n in enumerate(order)}
    wanted = set(roots)
    lines = ["digraph graph_ {", '  node [shape=box, style="filled,rounded", fontsize=10];']
    for n in order:
        label = f"{n.op}\\n{kind(n)}"
        known = argument(n).replace("\\", "\\\\").replace('"', "'")
        label += f"\\n{known[:40]}" if known else ""
        colour = _COLOURS.get(OPS[n.op].family, "#ffffff")
        frame = ", peripheries=2" if n in wanted else ""
        lines.append(f'  n{number[n]} [label="{label}", fillcolor="{colour}"{frame}];')
        lines += [f"  n{number[s]} -> n{number[n]};" for s in n.src]
    return "\n".join([*lines, "}"])
