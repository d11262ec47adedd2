"""What a call costs when there is almost nothing to compute."""

from __future__ import annotations

from peers import nets

from . import Row, numbers

TITLE = "Overhead"
ABOUT = ("One call of a compiled a*b + tanh(a) on ten numbers; one operator recorded, or computed "
         "where a framework computes at once; and the training loop as one writes it first, "
         "nothing compiled ahead, the loss's value asked for after every step. Seconds a call.")


def rows() -> list[Row]:
    """Calls, operators, loops."""
    two = numbers("float32", (10,), (10,))
    made = [Row("compiled call, n=10", "a*b + tanh(a)", two, quick=True, tolerance=1e-6),
            Row("one operator, n=10", lambda x, a, b: a + b, two, how="lazy", quick=True)]
    return made + [
        Row(f"plain loop, {name} batch {batch}", (name, batch), how="loop", items=1,
            quick=(name, batch) == ("mlp1", 1), group=f"plain loop, batch {batch}",
            flops=2.0 * nets.NETS[name].macs * batch, frameworks=("flambeau", "pytorch"))
        for batch in (1, 60) for name in nets.NETS]
