"""`flambeau train`: a net on a data set, in memory, with its model, curve and picture."""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import flambeau as fb
import numpy as np
from flambeau import data, nn, optim
from flambeau.compiler.config import override
from flambeau.data.sets import CLASSES

from . import nets, pictures
from .failure import CommandError
from .nets import Card
from .progress import Progress

TRAIN, TEST = "#1f6fb4", "#c2410c"


@dataclass
class Outcome:
    """What training measured."""

    history: list[dict[str, float]] = field(default_factory=list)
    compile_seconds: float = 0.0

    def speed(self) -> float:
        """Examples a second, after the first epoch where there are more: that one warms up."""
        rows = self.history[1:] or self.history
        speeds = [row["examples_per_second"] for row in rows]
        return len(speeds) / sum(1 / s for s in speeds)


def run(args: argparse.Namespace) -> None:
    """Trains, writes the results, prints what came out."""
    _settle(args)
    out = _folder(args)
    sets = _load(args.data)
    card = _card(args, sets[0])
    fb.manual_seed(args.seed)
    with override(device=args.device):
        model = nets.build(card)
        outcome = train(args, model, sets, card)
    card.result = summary(args, outcome)
    _write(out, model, card, outcome.history)
    _tell(args, out, card.result)


def _settle(args: argparse.Namespace) -> None:
    """Fills in the defaults that hang on other options, and sets threads and device."""
    try:
        fb.zeros(0, device=args.device)
    except (ValueError, RuntimeError) as error:
        raise CommandError(f"--device: {str(error).removeprefix('zeros: ')}") from None
    recipe = nets.recipe(args.data, args.net)
    args.hidden, args.dropout = recipe.hidden, recipe.dropout
    args.epochs = args.epochs or recipe.epochs
    args.batch = args.batch or recipe.batch
    args.lr = args.lr or (recipe.sgd if args.optimizer == "sgd" else recipe.adam)
    if args.threads:
        fb.set_num_threads(args.threads)


def _folder(args: argparse.Namespace) -> Path:
    out = Path(args.out or f"runs/{args.data}-{args.net}")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(f"--out: expected a folder that can be written, got {str(out)!r}: "
                           f"{error.strerror}") from None
    return out


def _load(name: str) -> data.sets.Split:
    try:
        return data.load(name)
    except data.DataError as error:
        raise CommandError(str(error)) from None


def _card(args: argparse.Namespace, x: np.ndarray) -> Card:
    return Card(args.net, args.data, x.shape[1:], CLASSES[args.data], args.hidden, args.dropout,
                float(x.mean(dtype=np.float64)), float(x.std(dtype=np.float64)))


def _optimizer(args: argparse.Namespace, model: Any) -> Any:
    if args.optimizer == "adam":
        return optim.Adam(model.params(), lr=args.lr)
    return optim.SGD(model.params(), lr=args.lr, momentum=args.momentum)


def train(args: argparse.Namespace, model: Any, sets: data.sets.Split, card: Card) -> Outcome:
    """Runs the epochs: the learning rate is set before each, the test set scored after each."""
    x, y, x_test, y_test = sets
    train_set = fb.from_numpy((x - card.mean) / card.deviation), fb.from_numpy(y)
    test_set = fb.from_numpy((x_test - card.mean) / card.deviation), fb.from_numpy(y_test)
    optimizer = _optimizer(args, model)
    step = model.compile(nn.ClassNLLCriterion(), optimizer)
    show = Progress(args.epochs)
    outcome = Outcome()
    for epoch in range(args.epochs):
        optimizer.lr = args.lr * (1 - epoch / args.epochs if args.schedule == "linear" else 1.0)
        show.start(epoch + 1)
        compiled, start = step.compile_seconds, time.perf_counter()
        row = step.fit(*train_set, epochs=1, batch_size=args.batch, seed=args.seed + epoch,
                       progress=show.batch)[0]
        seconds = time.perf_counter() - start - (step.compile_seconds - compiled)
        scores = step.evaluate(*test_set)
        row |= {"epoch": epoch + 1, "seconds": seconds, "examples_per_second": len(y) / seconds,
                "val_loss": scores["loss"], "val_accuracy": scores["accuracy"]}
        if not np.isfinite(row["loss"]):
            raise CommandError(f"the loss became {row['loss']} in epoch {epoch + 1}: expected a "
                               f"smaller --lr than {args.lr:g}")
        outcome.history.append(row)
        show.done(row)
    outcome.compile_seconds = step.compile_seconds
    return outcome


def summary(args: argparse.Namespace, outcome: Outcome) -> dict[str, Any]:
    """The numbers that --json prints."""
    last = outcome.history[-1]
    return {
        "data": args.data, "net": args.net, "test_accuracy": last["val_accuracy"],
        "test_loss": last["val_loss"], "loss": last["loss"],
        "examples_per_second": round(outcome.speed(), 1),
        "train_seconds": round(sum(row["seconds"] for row in outcome.history), 3),
        "compile_seconds": round(outcome.compile_seconds, 4), "epochs": args.epochs,
        "batch": args.batch, "optimizer": args.optimizer, "lr": args.lr,
        "schedule": args.schedule, "seed": args.seed, "device": args.device,
        "threads": fb.num_threads(), "version": fb.__version__,
    }


def _write(out: Path, model: Any, card: Card, history: list[dict[str, float]]) -> None:
    """model.safetensors, curve.svg, weights.png and history.json."""
    try:
        nets.save(out / nets.MODEL, model, card)
        (out / "curve.svg").write_text(curve(card, history), encoding="utf-8")
        pictures.write_png(out / "weights.png",
                           pictures.weight_sheet(nets.first_layer(model, card)))
        (out / "history.json").write_text(json.dumps(history, indent=1) + "\n")
    except OSError as error:
        raise CommandError(f"--out: could not write to {str(out)!r}: {error.strerror}") from None


def curve(card: Card, history: list[dict[str, float]]) -> str:
    """Loss and accuracy over the epochs, on the training and the test set, as SVG."""
    def lines(name: str) -> list[pictures.Line]:
        return [pictures.Line("train", TRAIN, [row[name] for row in history]),
                pictures.Line("test", TEST, [row[f"val_{name}"] for row in history])]

    return pictures.curve_svg(f"{card.net} on {card.data}", [("loss", lines("loss"), False),
                                                             ("accuracy", lines("accuracy"), True)])


def _tell(args: argparse.Namespace, out: Path, result: dict[str, Any]) -> None:
    text = (f"{result['net']} on {result['data']}: test accuracy {result['test_accuracy']:.2%} "
            f"after {result['epochs']} epochs\n"
            f"{result['examples_per_second']:,.0f} examples/s on {result['threads']} "
            f"thread{'s' * (result['threads'] != 1)}, "
            f"compiled in {result['compile_seconds']:.2f} s\n"
            f"wrote model.safetensors, curve.svg, weights.png and history.json to {out}")
    print(text, file=sys.stderr if args.json else sys.stdout)
    if args.json:
        print(json.dumps(result))
