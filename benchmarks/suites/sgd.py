"""Plain SGD on the six nets of the Theano and Torch7 papers."""

from __future__ import annotations

from peers import nets

from . import TRAINERS, Row

TITLE = "Training with SGD"
ABOUT = ("The nets of the Theano and Torch7 papers: float32, plain SGD, one step a call, eight "
         "batches in turn. mlp0, mlp1 and mlp3 are dense with 0, 1 and 3 hidden layers; cnn32, "
         "cnn96 and cnn256 are convolutional over images of that side. Examples per second. The "
         "limit counts every multiplication that the formulas ask for; the gradient of max pooling "
         "is zero but for one place a window, and who leaves the zeros out can pass 100 %.")
QUICK = ("mlp1:1", "mlp1:60", "cnn32:60")


def parameters(net: nets.Net) -> int:
    """How many numbers are trained."""
    return sum(w.size + b.size for w, b in nets.weights(net))


def row(name: str, batch: int, threads: int) -> Row:
    """The limit: the net's arithmetic, or every weight read once and written once a step."""
    net = nets.NETS[name]
    weights = 4 * parameters(net)
    return Row(f"{name} batch {batch}, {threads} thread{'s'[:threads > 1]}", (name, batch),
               how="train", threads=threads, flops=2.0 * net.macs * batch, nbytes=2.0 * weights,
               held=weights, items=batch, group=f"batch {batch}, threads {threads}",
               quick=f"{name}:{batch}" in QUICK and threads == 1, frameworks=TRAINERS)


def rows() -> list[Row]:
    """24 of them."""
    return [row(name, batch, threads) for threads in (1, 2) for batch in (1, 60)
            for name in nets.NETS]
