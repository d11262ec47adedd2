"""Tensors, a compiled function, a gradient: what happens when, and how to look inside.

Run: python examples/first_steps.py
"""

import flambeau as fb

a, b = fb.randn(1000, 500), fb.randn(1000, 500)
y = (a * b + 1).relu()  # nothing is computed yet: y is an expression
print(y.sum(axis=1)[:3])  # printing asks for values: now one fused program runs


@fb.compile
def score(w: fb.Tensor, x: fb.Tensor) -> fb.Tensor:
    return (x @ w).tanh().square().mean()


w = fb.randn(500, 20)
print("score", score(w, a).item())
print(score.explain())  # kernels, and what fused with what

slope = fb.grad(score.fn)(w, a)
print("gradient", slope.shape, "largest", slope.abs().max().item())
