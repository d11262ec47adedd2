"""The nets that `train` knows, with settings that suit each data set, and their files.

A net takes images (n, channels, height, width), standardised with the training set's mean and
deviation, and gives log-probabilities (n, classes).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import flambeau as fb
import numpy as np
from flambeau import nn

from .failure import CommandError

MODEL = "model.safetensors"


@dataclass(frozen=True)
class Recipe:
    """Settings that reach a good result in little time."""

    epochs: int
    batch: int
    sgd: float  # learning rates
    adam: float
    hidden: tuple[int, ...] = ()
    dropout: float = 0.0


RECIPES = {
    ("digits", "mlp"): Recipe(30, 32, 0.05, 0.001, (256, 128), 0.3),
    ("digits", "lenet"): Recipe(15, 32, 0.03, 0.001, (64,)),
    ("digits", "logreg"): Recipe(30, 32, 0.02, 0.002),
    ("large", "mlp"): Recipe(10, 64, 0.05, 0.001, (512, 256), 0.2),
    ("large", "lenet"): Recipe(5, 64, 0.02, 0.001, (128,)),
    ("large", "logreg"): Recipe(10, 64, 0.005, 0.0005),
}


def recipe(data: str, net: str) -> Recipe:
    """The settings for a data set and a net."""
    return RECIPES["digits" if data == "digits" else "large", net]


@dataclass
class Card:
    """What a model file says of its net."""

    net: str
    data: str
    shape: tuple[int, ...]  # of one image: channels, height, width
    classes: tuple[str, ...]
    hidden: tuple[int, ...]
    dropout: float
    mean: float
    deviation: float
    result: dict[str, Any] = field(default_factory=dict)


def build(card: Card) -> Any:
    """The net that a card describes, with fresh weights."""
    makers = {"mlp": _mlp, "lenet": _lenet, "logreg": _mlp}
    return makers[card.net](card)


def _mlp(card: Card) -> Any:
    """Dense layers with ReLU and dropout; with no hidden layer, logistic regression."""
    size = int(np.prod(card.shape))
    net = nn.Sequential().add(nn.Reshape(size))
    for width in card.hidden:
        net.add(nn.Linear(size, width)).add(nn.ReLU())
        if card.dropout:
            net.add(nn.Dropout(card.dropout))
        size = width
    return net.add(nn.Linear(size, len(card.classes))).add(nn.LogSoftMax())


def _lenet(card: Card) -> Any:
    """Two convolutions with max-pooling, then two dense layers; for 28 x 28 or 8 x 8 images."""
    channels, side = card.shape[0], card.shape[1]
    wide, kernel, pad = ((20, 50), 5, 0) if side >= 28 else ((16, 32), 3, 1)
    net = nn.Sequential()
    for maps in wide:
        net.add(nn.SpatialConvolution(channels, maps, kernel, kernel, 1, 1, pad, pad))
        net.add(nn.ReLU()).add(nn.SpatialMaxPooling(2, 2, 2, 2))
        channels, side = maps, (side + 2 * pad - kernel + 1) // 2
    size = channels * side * side
    net.add(nn.Reshape(size)).add(nn.Linear(size, card.hidden[0])).add(nn.ReLU())
    return net.add(nn.Linear(card.hidden[0], len(card.classes))).add(nn.LogSoftMax())


def first_layer(model: Any, card: Card) -> np.ndarray:
    """The first layer's weights as pictures (n, height, width)."""
    weight = np.asarray(model.params()[0].numpy())
    shape = card.shape if card.net != "lenet" else weight.shape[-3:]
    pictures: np.ndarray = weight.reshape(-1, *shape).mean(1)
    return pictures


# -- files -------------------------------------------------------------------------------------

def save(path: Path, model: Any, card: Card) -> None:
    """Writes the model and its card for `fb.load`."""
    fb.save({"model": model, "card": asdict(card)}, path)


def load(name: str) -> tuple[Any, Card]:
    """The model and card of a file that `save` wrote, or of a folder that holds one."""
    path = Path(name)
    if path.is_dir():
        path = path / MODEL
    if not path.is_file():
        raise CommandError(f"expected a model file, got {str(path)!r}, which does not exist")
    try:
        found = fb.load(path)
        model, card = found["model"], Card(**found["card"])
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise CommandError(f"expected a model written by `flambeau train` in {path}, got "
                           f"something else: {error}") from None
    card.shape, card.classes = tuple(card.shape), tuple(card.classes)
    return model, card
