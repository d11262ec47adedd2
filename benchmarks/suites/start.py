"""From nothing to the first result."""

from __future__ import annotations

from peers import nets

from . import ALL, TRAINERS, Row

TITLE = "Starting"
ABOUT = ("A new process each time: the import alone; from the start of the process to the first "
         "result of a*b + tanh(a); to the end of the first training step of each net, with empty "
         "caches and with full ones. Seconds. And the bytes of what has to be installed.")
PACKAGES = tuple(f for f in ALL if f != "torch_compile")  # which is a part of PyTorch


def rows() -> list[Row]:
    """Probes, all of them."""
    made = [Row("import", None, how="imported", quick=True, frameworks=PACKAGES),
            Row("first result, caches full", None, how="first", quick=True),
            Row("first result, caches empty", None, how="first_cold"),
            Row("installed size", None, how="installed", quick=True,
                frameworks=PACKAGES)]
    for name in nets.NETS:
        made += [Row(f"{name} batch 60, first step, caches {state}", (name, 60), how=how,
                     frameworks=TRAINERS, quick=name == "mlp1" and how == "step")
                 for state, how in (("full", "step"), ("empty", "step_cold"))]
    return made
