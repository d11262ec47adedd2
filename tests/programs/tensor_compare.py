"""Judges of random programs: NumPy, the reference device, thread counts, differences, compile."""

from __future__ import annotations

import flambeau as fb
import numpy as np
from flambeau.compiler.config import override
from flambeau.runtime import pool

from tensor_programs import Program, Writer, final, play

ROUNDING = {"float32": 3e-4, "float64": 1e-9}


def differ(got: list[np.ndarray], want: list[np.ndarray]) -> str | None:
    """What is not equal, up to the rounding of the coarsest dtype in the program."""
    rounding = max((ROUNDING[w.dtype.name] for w in want if w.dtype.kind == "f"), default=0)
    for i, (g, w) in enumerate(zip(got, want, strict=True)):
        if g.shape != w.shape or g.dtype != w.dtype:
            return f"value {i}: got {g.dtype}{g.shape}, expected {w.dtype}{w.shape}"
        if w.dtype.kind != "f":
            same = np.array_equal(g, w)
        else:
            same = np.allclose(g, w, rtol=rounding, atol=rounding * 10, equal_nan=True)
        if not same:
            at = np.argwhere(~np.isclose(g, w, rtol=rounding, atol=rounding * 10, equal_nan=True))
            k = tuple(at[0])
            return f"value {i} {w.dtype}{w.shape} at {k}: got {g[k]}, expected {w[k]}"
    return None


def tensors(program: Program) -> list[fb.Tensor]:
    return [fb.tensor(leaf, dtype=leaf.dtype.name) for leaf in program.leaves]


def arrays(program: Program) -> list[np.ndarray]:
    return [leaf.copy() for leaf in program.leaves]


def eager(seed: int) -> str | None:
    """Against NumPy."""
    writer = Writer(seed)
    program = writer.write(int(writer.rng.integers(1, 4)), int(writer.rng.integers(3, 25)))
    with np.errstate(all="ignore"):
        want = final(play(program, arrays(program), np))
    order = np.random.default_rng(seed)
    values = play(program, tensors(program), fb)
    shown = [v for v in values if isinstance(v, fb.Tensor)]
    for i in order.permutation(len(shown))[:3]:  # values are asked for in any order
        shown[i].numpy()
    return differ(final(values), want)


def second_opinion(seed: int) -> str | None:
    """Against the reference device; and the same bits on 1, 2 and 5 threads."""
    writer = Writer(seed)
    program = writer.write(2, 12)
    bits = []
    for threads in (1, 2, 5):
        with pool.threads(threads):
            got = final(play(program, tensors(program), fb))
            bits.append([g.tobytes() for g in got])
    if bits[0] != bits[1] or bits[0] != bits[2]:
        return "other bits with more threads"
    with override(device="reference"), np.errstate(all="ignore"):
        want = final(play(program, tensors(program), fb))
    return differ(got, want)


def compiled(seed: int, calls: int = 4) -> str | None:
    """A compiled function with state, against NumPy doing the same to its arrays."""
    writer = Writer(seed, observe=False)
    program = writer.write(int(writer.rng.integers(2, 4)), int(writer.rng.integers(2, 16)))
    rng = writer.rng
    held = int(rng.integers(1, len(program.leaves) + 1))  # leaves that are state; others: arguments
    state, mine = tensors(program)[:held], arrays(program)[:held]
    views, my_views = [t[..., ::-1] if t.ndim else t for t in state], [
        a[..., ::-1] if a.ndim else a for a in mine]
    outputs = [i for i, v in enumerate(writer.values) if isinstance(v, np.ndarray)]
    asked = sorted({int(rng.choice(outputs)) for _ in range(3)})

    @fb.compile
    def run(*arguments: fb.Tensor) -> list[fb.Tensor]:
        values = play(program, [*state, *arguments], fb)
        return [values[i] for i in asked]

    kept: list[tuple[np.ndarray, np.ndarray]] = []
    for call in range(calls):
        given = [np.asarray(np.roll(a, call)) for a in program.leaves[held:]]
        arguments = [fb.tensor(a, dtype=a.dtype.name) for a in given]
        with np.errstate(all="ignore"):
            values = play(program, [*mine, *given], np)
        want = [np.array(values[i]) for i in asked]
        got = run(*arguments)
        lazy = views[0] + views[0] if call == 1 and views[0].dtype is not fb.bool_ else None
        then = my_views[0] + my_views[0] if lazy is not None else None
        if rng.random() < 0.5:
            kept.append((state[0].numpy(), mine[0].copy()))
        if rng.random() < 0.3 and mine[-1].size:
            state[-1].fill_(1)
            mine[-1][...] = 1
        if lazy is not None:
            kept.append((lazy.numpy(), then))
        if rng.random() < 0.6:
            found = differ([g.numpy() for g in [*got, *arguments]], [*want, *given])
            if found:
                return f"call {call}: {found}"
        found = differ(final([*views, *got]), final([*my_views, *want])) if call % 2 else None
        if found:
            return f"after call {call}: {found}"
    return differ(final(state), final(mine)) or differ([g for g, _ in kept], [w for _, w in kept])


def gradients(seed: int) -> str | None:
    """Slopes along a random direction, against central differences in NumPy."""
    writer = Writer(seed, smooth=True, observe=bool(seed % 2))
    program = writer.write(int(writer.rng.integers(1, 4)), int(writer.rng.integers(2, 16)))
    outputs = [i for i, v in enumerate(writer.values) if isinstance(v, np.ndarray)
               and i not in writer.fixed][-3:]

    def loss(leaves: list[np.ndarray]) -> float:
        values = play(program, [np.array(a) for a in leaves], np)
        return float(sum(np.sum(np.tanh(values[i])) for i in outputs))

    ends = [fb.tensor(a, dtype="float64").requires_grad_() for a in program.leaves]
    values = play(program, [t * 1.0 for t in ends], fb)
    total = sum(fb.sum(fb.tanh(values[i])) for i in outputs)
    if not total.requires_grad:
        return None
    total.backward()
    if abs(float(total) - loss(program.leaves)) > 1e-6 * max(1, abs(float(total))):
        return f"loss: got {float(total)}, expected {loss(program.leaves)}"
    along = [writer.rng.standard_normal(a.shape) for a in program.leaves]
    slope = sum(float(np.sum(t.grad.numpy() * v)) for t, v in zip(ends, along)
                if t.grad is not None)
    guesses = []
    for step in (1e-5, 1e-6):
        ahead, behind = ([a + s * v for a, v in zip(program.leaves, along)] for s in (step, -step))
        guesses.append((loss(ahead) - loss(behind)) / (2 * step))
    if min(abs(slope - g) for g in guesses) > 1e-4 * max(1, abs(slope)):
        return f"slope: got {slope}, expected about {guesses[0]}"
    return None
