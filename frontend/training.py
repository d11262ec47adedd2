"""Compiled training: a step whose forward, loss, backward and update are one native call, and
`fit`, which walks data in memory inside native code with no Python per batch."""

from __future__ import annotations

import ctypes
import itertools
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from flambeau.compiler import dtype as dt
from flambeau.runtime import epoch, execute, memory

from . import realize as door
from .compiled import Compiled
from .creation import asarray, placed
from .devices import HOST
from .elementwise import eq
from .random import Draw
from .reductions import argmax
from .reductions import sum as sum_
from .tensor import Tensor, no_grad
from .tracing import recorders
from .variant import Variant

LATER = 32  # batches on a GPU whose losses wait to be read

History = list[dict[str, float]]
Progress = Callable[[dict[str, float]], None]


class Step:
    """A model, a criterion and an optimiser compiled together.

    Call it with a batch, `loss = step(x, y)`: one native call that also updates the parameters.
    The model stays usable as it is; its parameters are the ones that change.
    """

    def __init__(self, model: Any, criterion: Any, optimizer: Any) -> None:
        self.model, self.criterion, self.optimizer = model, criterion, optimizer
        self.counted = True  # count right answers where outputs and targets look like classes
        self._train = Compiled(self._training_step, postpones=False)  # run by the native driver
        self._train.name = "train"
        self._step = Compiled(self._one_step)
        self._step.name = "step"
        self._score = Compiled(self._scoring)
        self._score.name = "score"
        self._output = Compiled(self._forward)
        self._output.name = "predict"

    # -- what is compiled ----------------------------------------------------------------------
    def _update(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        self.optimizer.zero_grad()
        output = self.model.forward(x)
        loss = self.criterion.forward(output, y)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.detach(), output

    def _one_step(self, x: Tensor, y: Tensor) -> Tensor:
        return self._update(x, y)[0]

    def _training_step(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor | None]:
        loss, output = self._update(x, y)
        return loss, self._right(output, y)

    def _scoring(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor | None]:
        with no_grad():
            output = self.model.forward(x)
            return self.criterion.forward(output, y), self._right(output, y)

    def _forward(self, x: Tensor) -> Tensor:
        with no_grad():
            return self.model.forward(x)  # type: ignore[no-any-return]

    def _right(self, output: Tensor, y: Tensor) -> Tensor | None:
        """How many rows have their largest output at the target."""
        classes = y.dtype.is_integer and y.ndim == 1 and output.ndim == 2
        if not (self.counted and classes):
            return None
        return sum_(eq(argmax(output.detach(), -1), y))

    # -- running -------------------------------------------------------------------------------
    def __call__(self, x: Any, y: Any) -> Tensor:
        """One step on a batch; the loss before the update (0-d)."""
        if not self.model.is_training:
            self._mode(True)
        step = self._step
        if step.quick is not None and not recorders:  # straight to the machine code
            loss = step.quick(x, y)
            if loss is not NotImplemented:
                return loss  # type: ignore[no-any-return]
        return step(*self._placed(x, y))  # type: ignore[no-any-return]

    def fit(self, x: Any, y: Any, epochs: int = 1, batch_size: int = 32, validation: Any = None,
            shuffle: bool = True, seed: int = 0, progress: Progress | bool = False,
            metrics: Iterable[str] = ("accuracy",)) -> History:
        """Trains on rows of x (n, ...) and y (n, ...); one row of numbers an epoch.

        validation: a pair (x, y) scored after every epoch. shuffle: another order of rows each
        epoch, decided by `seed`. A short last batch is trained on too. progress: True for a bar on
        stderr, or a function called with {"epoch", "epochs", "batch", "batches", "loss"} several
        times a second. metrics: "accuracy" where outputs are class scores. Gives, for each epoch:
        epoch, loss, accuracy, val_loss, val_accuracy, seconds, examples_per_second.
        Raises ValueError when x and y differ in length or are empty, IndexError when a label is out
        of range; the model is then as the batches before left it.
        """
        x, y = self._placed(*_rows(x, y))
        self.counted = "accuracy" in metrics
        self._mode(True)
        show = _bar if progress is True else progress or None
        order = np.random.default_rng(seed)
        history: History = []
        for number in range(1, epochs + 1):
            permutation = order.permutation(x.shape[0]) if shuffle else None
            start = time.perf_counter()
            report = _Report(number, epochs, show)
            row: dict[str, float] = {"epoch": number}
            row |= self._walk(self._train, x, y, batch_size, permutation, report)
            seconds = time.perf_counter() - start
            row |= {"seconds": seconds, "examples_per_second": x.shape[0] / seconds}
            if validation is not None:
                scores = self.evaluate(*validation)
                row |= {f"val_{k}": v for k, v in scores.items()}
                self._mode(True)
            history.append(row)
            report.done(row)
        return history

    def evaluate(self, x: Any, y: Any, batch_size: int = 256) -> dict[str, float]:
        """Mean loss and, for class scores, accuracy over all rows, in evaluation mode."""
        x, y = self._placed(*_rows(x, y))
        self._mode(False)
        return self._walk(self._score, x, y, batch_size, None, None)

    def predict(self, x: Any) -> Tensor:
        """The model's output for a batch, in evaluation mode."""
        self._mode(False)
        return self._output(*self._placed(x))  # type: ignore[no-any-return]

    @property
    def compile_seconds(self) -> float:
        """Seconds spent on tracing and compiling so far."""
        every = (self._step, self._train, self._score, self._output)
        return sum(v.seconds for c in every for v in c.variants.values())

    @property
    def compiled(self) -> Compiled:
        """The compiled training step that ran last: `.explain()`, `.profile()`, `.asm()` ..."""
        return self._step if self._step.last is not None else self._train

    def explain(self) -> str:
        """What the training step compiled to."""
        return self.compiled.explain()

    def profile(self, seconds: float = 0.2) -> Any:
        """Time of each kernel of the training step."""
        return self.compiled.profile(seconds=seconds)

    def _placed(self, *data: Any) -> tuple[Any, ...]:
        """Data where the model is: the host's goes to the model's GPU."""
        device = next((p.device for p in self.model.params()), HOST)
        self.optimizer.follow()
        if device == HOST:
            return data
        return tuple(placed("fit", asarray(d), device) if not isinstance(d, Tensor)
                     or d.device == HOST else d for d in data)

    def _mode(self, training: bool) -> None:
        if training:
            self.model.training()
        else:
            self.model.evaluate()

    def _walk(self, program: Compiled, x: Tensor, y: Tensor, batch: int,
              order: np.ndarray | None, report: _Report | None) -> dict[str, float]:
        """All rows through a compiled step, whole batches first, then the rest."""
        if batch < 1:
            raise ValueError(f"fit: expected a batch size of at least 1, got {batch}")
        rows = x.shape[0]
        batch = min(batch, rows)
        whole, rest = divmod(rows, batch)
        totals = [0.0, 0.0]
        if report is not None:
            report.batches = whole + (1 if rest else 0)
        for size, first, count in ((batch, 0, whole), (rest, whole * batch, 1 if rest else 0)):
            if not count:
                continue
            variant = program.variant((x[:size], y[:size]), {})
            if variant.repeats:
                with _Walk(variant, x, y, size, first, order) as walk:
                    sums = walk.run(count, report)
            else:
                sums = _by_python(variant, x, y, size, first, count, order)
            totals = [t + s for t, s in zip(totals, sums)]
        found = {"loss": float(totals[0]) / rows}
        if len(sums) > 1:
            found["accuracy"] = float(totals[1]) / rows
        return found


class _Walk:
    """A variant bound to data in memory and run batch after batch by the native driver."""

    def __init__(self, variant: Variant, x: Tensor, y: Tensor, batch: int, first: int,
                 order: np.ndarray | None) -> None:
        self.variant, self.batch = variant, batch
        program = variant.executable.program
        samples = (x[:batch], y[:batch])
        self.leaves = variant.gather(samples)
        self.made = variant.allocate(self.leaves)
        self.table = variant.executable.table_type(
            *(leaf.arg.address for leaf in self.leaves), *(b.address for b in self.made))
        self.scalars = variant.executable.scalars.pack([s.current() for s in variant.scalars])
        self.arena = memory.allocate(program.arena_bytes)
        self.data = [_contiguous(x), _contiguous(y)]
        self.keep: list[Any] = []
        streams = [self._stream(slot, place, order is not None)
                   for slot, place in variant.argument_of]
        metrics = []
        for i, place in enumerate(variant.result_places):
            dtype, _, _ = variant.outs[place]
            metrics.append(epoch.Metric(self.made[place].address, dtype.name,
                                        float(batch) if i == 0 else 1.0))
        self.job = epoch.EpochJob(
            variant.executable.code.address(program.entries[0]), ctypes.addressof(self.table),
            ctypes.addressof(self.scalars), self.arena.address, batch, streams, metrics,
            self._counters(), first, align=1)
        if order is not None:
            self.job.permute(order)

    def _stream(self, slot: int, place: int, copied: bool) -> epoch.Stream:
        leaf = self.data[place]
        row_bytes = leaf.nbytes // leaf.shape[0]
        staging = memory.allocate(self.batch * row_bytes) if copied else None
        self.keep.append(staging)
        return epoch.Stream(leaf.arg.address, leaf.shape[0], row_bytes, slot,
                            staging.address if staging else 0)

    def _counters(self) -> list[epoch.Counter]:
        """Random draws take new numbers in every batch."""
        draws = [(s, offset) for s, (_, offset) in
                 zip(self.variant.scalars, self.variant.executable.program.scalars)
                 if isinstance(s, Draw)]
        self.generators = [s.generator for s, _ in draws]
        return [epoch.Counter(offset, "int64", self.generators.count(s.generator))
                for s, offset in draws]

    def __enter__(self) -> _Walk:
        return self

    def __exit__(self, *error: object) -> None:
        self.variant.deliver(self.made)

    def run(self, count: int, report: _Report | None) -> list[float]:
        """Runs `count` batches in pieces, reporting between them; the sums of the metrics."""
        pieces = max(1, min(count, 50)) if report is not None and report.show else 1
        edges = [count * i // pieces for i in range(pieces + 1)]
        for a, b in itertools.pairwise(edges):
            self.job.run(a, b)
            self._check()
            if report is not None:
                report.tick(b, b * self.batch, float(self.job.sums[0]))
        for g in self.generators:
            g.draws += count - 1
        if report is not None:
            report.keep(count, count * self.batch, float(self.job.sums[0]))
        return [float(s) for s in self.job.sums]

    def _check(self) -> None:
        status = int.from_bytes(self.scalars.raw[:8], "little")
        if status:
            error = execute.ProgramError(*self.variant.executable.program.errors[status - 1])
            raise door.located(error, self.variant.request.order)


def _rows(x: Any, y: Any) -> tuple[Tensor, Tensor]:
    x, y = asarray(x), asarray(y)
    if not x.ndim or not y.ndim or x.shape[0] != y.shape[0] or not x.shape[0]:
        raise ValueError(f"fit: expected x and y with the same number of rows, at least one, got "
                         f"shapes {tuple(x.shape)} and {tuple(y.shape)}")
    if y.dtype.is_integer and y.dtype is not dt.int64:
        y = y.to(dt.int64)
    return x.contiguous(), y.contiguous()


def _contiguous(t: Tensor) -> Any:
    t.realize()
    return t._storage.leaf


def _by_python(variant: Variant, x: Tensor, y: Tensor, batch: int, first: int, count: int,
               order: np.ndarray | None) -> list[float]:
    """The same walk, one call a batch: for programs with host routines or state that moves, and on
    a GPU, where results are looked at some batches later, so that it never waits for the host."""
    sums = [0.0, 0.0]
    waiting: list[tuple[Tensor, Tensor | None]] = []
    if order is None and variant.device != HOST:
        order = np.arange(x.shape[0])  # rows by their numbers: one program for all batches
    for b in range(count):
        rows = slice(first + b * batch, first + (b + 1) * batch)
        pick = rows if order is None else np.ascontiguousarray(order[rows])
        waiting.append(variant.run((x[pick], y[pick])))
        if variant.device == HOST or len(waiting) >= LATER or b == count - 1:
            for loss, right in waiting:
                sums[0] += float(loss) * batch
                sums[1] += float(right) if right is not None else 0.0
            waiting.clear()
    return sums if right is not None else sums[:1]


class _Report:
    """Tells a progress function, at most some times a second, where an epoch stands."""

    def __init__(self, number: int, epochs: int, show: Progress | None) -> None:
        self.number, self.epochs, self.show = number, epochs, show
        self.batches, self.last = 1, 0.0
        self.kept = (0, 0, 0.0)  # batches, rows and summed loss of the parts that are over

    def tick(self, batches: int, rows: int, loss: float) -> None:
        """So far in this part: batches, rows, and the loss summed over rows."""
        now = time.perf_counter()
        done = self.kept[0] + batches
        if self.show is None or (now - self.last < 0.1 and done < self.batches):
            return
        self.last = now
        self.show({"epoch": self.number, "epochs": self.epochs, "batch": done,
                   "batches": self.batches,
                   "loss": (self.kept[2] + loss) / (self.kept[1] + rows)})

    def keep(self, batches: int, rows: int, loss: float) -> None:
        """A part is over."""
        b, r, s = self.kept
        self.kept = (b + batches, r + rows, s + loss)

    def done(self, row: dict[str, float]) -> None:
        if self.show is _bar:
            words = "  ".join(f"{k} {v:.4g}" for k, v in row.items() if k != "epoch")
            start, end = ("\r", "\033[K") if sys.stderr.isatty() else ("", "")
            print(f"{start}epoch {self.number}/{self.epochs}  {words}{end}", file=sys.stderr)


def _bar(state: dict[str, float]) -> None:
    if not sys.stderr.isatty():
        return
    done = state["batch"] / state["batches"]
    filled = int(done * 30)
    print(f"\repoch {state['epoch']:.0f}/{state['epochs']:.0f} [{'#' * filled}"
          f"{'.' * (30 - filled)}] loss {state['loss']:.4f}\033[K", end="", file=sys.stderr,
          flush=True)
