"""Writes docs/ops.md from the op table and the tables beside it: `python docs/ops_table.py`."""

from __future__ import annotations

from pathlib import Path

from flambeau.compiler.differentiate import NONDIFFERENTIABLE, RULES, ZERO
from flambeau.compiler.ops import OPS, Op

PAGE = Path(__file__).parent / "ops.md"

HEAD = """\
# Ops

The primitives of the graph, from `compiler/ops.py` (`python docs/ops_table.py` writes this page; do
not edit it). Everything that users call is made of these. A node is
`Node(op, dtype, shape, src, arg)`.

dtype rules: *same*: operands and result agree; *float*: the same, floating only; *bits*: the same,
bool or integer only; *compare*: operands agree, result bool; *same1*: as operand 1, operand 0 is
bool; *part*: complex to its real dtype; *pair*: two reals to their complex dtype; *given*: the node
says. Complex operands go to the ops that `COMPLEX` lists; `compiler/planes.py` turns them into real
ones before anything is fused. Elementwise operands have the result's shape; broadcasts are `expand`
nodes. Integers wrap, integer division by zero gives 0, NaN propagates through extrema and
reductions.

*cost* is a rough count of machine operations an element, used to weigh computing again against
storing.
"""

FAMILIES = {"leaf": "Leaves", "elementwise": "Elementwise", "movement": "Movement",
            "indexing": "Indexing", "reduction": "Reductions", "scan": "Scans",
            "contraction": "Contractions", "extern": "Host routines", "loop": "Loops",
            "mark": "Marks"}


def derivative(op: str) -> str:
    """What differentiation does at this op, in a word or two."""
    if op in RULES:
        return "yes"
    return f"zero: {ZERO[op]}" if op in ZERO else NONDIFFERENTIABLE[op]


def row(op: Op) -> str:
    operands = "any" if op.arity < 0 else str(op.arity)
    traits = "commutative" if op.commutative else ""
    note = "; ".join(filter(None, (op.note, traits))).replace("|", "\\|")
    return f"| `{op.name}` | {operands} | {op.rule} | {op.cost} | {derivative(op.name)} | {note} |"


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for family, title in FAMILIES.items():
        rows = [row(op) for op in OPS.values() if op.family == family]
        parts.append("\n".join([f"\n## {title}\n", "| op | operands | dtype | cost | derivative | "
                                "meaning |", "|---|---|---|---|---|---|", *rows, ""]))
    return "".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page())
