"""`flambeau predict`: a trained net looks at picture files."""

from __future__ import annotations

import argparse
import json

import flambeau as fb
import numpy as np

from . import images, nets
from .failure import CommandError
from .nets import Card


def run(args: argparse.Namespace) -> None:
    """Prints the likeliest labels of each image, or a JSON object an image with --json."""
    model, card = nets.load(args.model)
    batch = np.stack([prepare(images.read_image(name), card, args.invert) for name in args.images])
    model.evaluate()
    with fb.no_grad():
        chances = np.exp(model.forward(fb.from_numpy(batch)).numpy())
    for name, row in zip(args.images, chances):
        best = [int(i) for i in np.argsort(-row, kind="stable")]
        if args.json:
            print(json.dumps({"image": name, "label": card.classes[best[0]], "probabilities": {
                card.classes[i]: round(float(row[i]), 6) for i in best}}))
        else:
            words = "  ".join(f"{card.classes[i]} {row[i]:.1%}" for i in best[:args.top])
            print(f"{name}: {card.classes[best[0]]}  ({words})")


def prepare(level: np.ndarray, card: Card, invert: bool) -> np.ndarray:
    """A picture as the net's standardised input (channels, height, width)."""
    if not np.isfinite(level).all():
        raise CommandError("expected finite grey levels, got an image with NaN or infinity")
    level = 1 - level if invert else level
    channels, height, width = card.shape
    fitted = (images.fit_image(level, height, width) - card.mean) / card.deviation
    return np.broadcast_to(fitted.astype(np.float32), (channels, height, width))
