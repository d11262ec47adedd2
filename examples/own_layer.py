"""A layer defined by its forward alone: the backward pass comes by differentiation.

Run: python examples/own_layer.py
"""

import flambeau as fb
from flambeau import nn


class Gaussian(nn.Module):
    """y = exp(-(x - centre)^2 * width), a bump for each of `count` centres; x (n, 1)."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.centre = nn.Parameter(fb.linspace(-3, 3, count))
        self.width = nn.Parameter(fb.ones(count))

    def compute(self, input: fb.Tensor) -> fb.Tensor:
        return (-(input - self.centre).square() * self.width).exp()


fb.manual_seed(0)
x = fb.linspace(-3, 3, 200).reshape(200, 1)
y = (2 * x).sin() + 0.3 * x

net = nn.Sequential(Gaussian(12), nn.Linear(12, 1))
step = net.compile(nn.MSECriterion(), fb.optim.Adam(net, lr=0.02))
history = step.fit(x, y, epochs=300, batch_size=50, metrics=())
print(f"mean squared error: {history[0]['loss']:.4f} at first, {history[-1]['loss']:.6f} at last")
