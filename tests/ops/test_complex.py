"""Complex numbers: values against NumPy, C99's special values, gradients, errors."""

from __future__ import annotations

import pickle

import flambeau as fb
import numpy as np
import pytest
from flambeau.compiler.config import override

FUNCTIONS = {
    "sqrt": np.sqrt, "exp": np.exp, "expm1": np.expm1, "log": np.log, "log2": np.log2,
    "log10": np.log10, "log1p": np.log1p, "sin": np.sin, "cos": np.cos, "tan": np.tan,
    "asin": np.arcsin, "acos": np.arccos, "atan": np.arctan, "sinh": np.sinh, "cosh": np.cosh,
    "tanh": np.tanh, "asinh": np.arcsinh, "acosh": np.arccosh, "atanh": np.arctanh, "abs": np.abs,
    "sign": np.sign, "angle": np.angle, "conj": np.conj, "neg": np.negative, "square": np.square}
DTYPES = ("complex64", "complex128")


def numbers(shape: tuple[int, ...], dtype: str = "complex128", seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(dtype)


def values() -> np.ndarray:
    """Moduli from 1e-5 to 1e5 at all angles, near 1, near the axes."""
    rng = np.random.default_rng(3)
    turn = np.exp(1j * rng.uniform(-np.pi, np.pi, 200))
    near = 1 + 1e-3 * numbers((50,), seed=4)
    thin = rng.normal(size=50) + 1e-7j * rng.normal(size=50)
    return np.concatenate([np.exp(rng.uniform(-11, 11, 200)) * turn, near, thin, thin * 1j])


@pytest.mark.parametrize("dtype", DTYPES)
def test_functions_are_exact_to_a_few_places(dtype: str) -> None:
    z = values().astype(dtype)
    t = fb.tensor(z)
    with np.errstate(all="ignore"):
        wide = {name: f(z.astype(np.clongdouble)) for name, f in FUNCTIONS.items()}
    found = {name: getattr(fb, name)(t) for name in FUNCTIONS}
    fb.compute(*found.values())
    for name, want in wide.items():
        got, kind = found[name].numpy(), dtype if want.dtype.kind == "c" else z.real.dtype
        info = np.finfo(kind)
        assert got.dtype == kind, name
        fits = (np.abs(want) < info.max) & (np.abs(want) > info.tiny / info.eps)
        error = np.abs(got[fits] - want[fits]) / np.abs(want[fits])
        # NumPy's own log1p of complex numbers near 0 is only good to 1e-13
        limit = 1e-13 if name == "log1p" and dtype == "complex128" else 4 * info.eps
        assert error.max() < limit, name
        assert not np.isfinite(got[np.abs(want) / 2 > info.max]).any(), name


def test_functions_without_an_op_of_their_own() -> None:
    z = np.array([1 + 2j, -800 + 3j, 800 - 2j, 0j, -1e-3 + 1j, -np.inf + 1j, 1.5 - 2.5j])
    t = fb.tensor(z)
    small = np.exp(np.where(z.real < 0, z, -z))
    with np.errstate(all="ignore"):
        want = {"sigmoid": np.where(z.real < 0, small, 1) / (1 + small), "round": np.round(z),
                "exp2": np.exp(z * np.log(2)), "reciprocal": 1 / z, "rsqrt": 1 / np.sqrt(z)}
    want["exp2"][5] = 0
    for name, w in want.items():
        np.testing.assert_allclose(getattr(fb, name)(t).numpy(), w, rtol=1e-12, err_msg=name)
    assert fb.round(fb.tensor([1.26 + 2.34j]), 1).tolist() == [fb.tensor(1.3 + 2.3j).item()]
    x = fb.tensor([0.3 + 0.2j, -1 + 0.5j], dtype=fb.complex128, requires_grad=True)
    assert fb.gradcheck(fb.sigmoid, [x]) and fb.gradcheck(fb.exp2, [x])


def test_random_numbers() -> None:
    fb.manual_seed(3)
    z = fb.randn(40000, dtype=fb.complex128).numpy()
    assert abs(z.mean()) < 0.02 and abs((z * z).mean()) < 0.02
    assert abs(np.mean(np.abs(z) ** 2) - 1) < 0.03 and abs(z.real.var() - 0.5) < 0.03
    u = fb.rand(2, 10000, dtype=fb.complex64).numpy()
    assert u.dtype == np.complex64 and abs(u.mean() - (0.5 + 0.5j)) < 0.02
    assert min(u.real.min(), u.imag.min()) >= 0 and abs(np.corrcoef(
        u.real.ravel(), u.imag.ravel())[0, 1]) < 0.03
    assert fb.randn_like(fb.tensor([1j])).dtype is fb.complex64


def same(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Equal numbers with equal signs, also of zeros; NaN equals NaN."""
    with np.errstate(invalid="ignore"):
        close = (a == b) | (np.isfinite(b) & (np.abs(a - b) <= 1e-6 * np.abs(b)))
    return (np.isnan(a) & np.isnan(b)) | (close & (np.signbit(a) == np.signbit(b)))


# where C99 leaves a sign open, NumPy departs from it or the Array API standard does (function, what
# is not compared here but in tests/array_api/test_special_values.py)
OPEN = {
    "exp": lambda x, y: np.isneginf(x) & ~np.isfinite(y),
    "expm1": lambda x, y: ~np.isfinite(x) | ~np.isfinite(y) | ((x == 0) & (y == 0)),
    "log2": lambda x, y: ~np.isfinite(x) | ~np.isfinite(y),
    "log10": lambda x, y: ~np.isfinite(x) | ~np.isfinite(y),
    "log1p": lambda x, y: ~np.isfinite(x) | ~np.isfinite(y),
    "sinh": lambda x, y: (np.isinf(x) | (x == 0)) & ~np.isfinite(y),
    "cosh": lambda x, y: ((x == 0) & ~np.isfinite(y)) | (np.isnan(x) & (y == 0)),
    "tanh": lambda x, y: np.isinf(x),
    "sin": lambda x, y: (np.isinf(y) | (y == 0)) & ~np.isfinite(x),
    "cos": lambda x, y: ((y == 0) & ~np.isfinite(x)) | (np.isnan(y) & (x == 0)),
    "tan": lambda x, y: np.isinf(y),
}


@pytest.mark.parametrize("dtype", DTYPES)
def test_special_values_and_branch_cuts(dtype: str) -> None:
    line = [0.0, -0.0, 1.0, -1.0, 2.0, -2.0, 0.5, np.inf, -np.inf, np.nan]
    z = np.array([complex(a, b) for a in line for b in line], dtype)
    t = fb.tensor(z)
    names = [n for n in FUNCTIONS if n not in ("sign", "square", "angle")]
    found = {name: getattr(fb, name)(t) for name in names}
    fb.compute(*found.values())
    for name in names:
        with np.errstate(all="ignore"):
            want = FUNCTIONS[name](z)
        got = found[name].numpy()
        fine = same(got.real, want.real) & same(got.imag, want.imag)
        left = ~fine & ~OPEN.get(name, lambda x, y: False)(z.real, z.imag)
        report = [f"{name}({z[i]}) = {got[i]}, not {want[i]}" for i in np.flatnonzero(left)]
        assert not report, "\n".join(report)


def test_nothing_overflows_on_the_way() -> None:
    z = np.array([1e300 + 1e300j, 1e-300 - 1e-300j, 709.9 + 1.5j, -1e300j, 1e-310 + 0j, 1e308 + 1j])
    t = fb.tensor(z)
    for name in ("sqrt", "abs", "log", "asin", "acosh", "atanh", "exp"):
        with np.errstate(all="ignore"):
            want = FUNCTIONS[name](z)
        np.testing.assert_allclose(getattr(fb, name)(t).numpy(), want, rtol=1e-13, err_msg=name)
    np.testing.assert_allclose((t / t).numpy(), np.ones(6), rtol=1e-15)


def programs(t: fb.Tensor, m: fb.Tensor, r: fb.Tensor) -> dict[str, fb.Tensor]:
    """Every kind of node over a complex (4, 6), a complex (6, 3) and a real (4, 6)."""
    index = fb.tensor([2, 0, 0, 3])
    put = t.clone()
    put[1:3, ::2] = m[:2] * 2
    return {
        "arithmetic": (t * t[::-1] - t / (t + 2)) * (1 - 2j) + r,
        "powers": t ** 3 + t ** -1 + t ** 0.5 + t ** r + t ** t,
        "views": t.t()[::-2, 1:].reshape(-1),
        "matmul": t @ m, "mixed": r @ m, "batched": t.reshape(2, 2, 6) @ m,
        "sums": t.sum(0) + t.mean(0) + t.prod(0), "all": t.sum() * t.prod(),
        "scans": t.cumsum(1) + t.cumprod(0), "var": t.var(1), "std": t.std(), "norm": t.norm(),
        "where": fb.where(r > 0, t, r), "gather": t[index] + (t * 2)[index],
        "scatter": fb.zeros(5, 6, dtype=t.dtype).index_add(0, index, t), "put": put,
        "cat": fb.cat([t, t * 1j, r.to(t.dtype)], 1), "pad": fb.pad(t, (1, 2), value=2j),
        "eq": (t == t[::-1]) | (t != t.conj()), "truth": t.bool(), "any": (t * 0).any(1),
        "parts": t.real + t.imag, "pair": fb.complex(r, r * 2),
        "mH": t.mH, "stack": fb.stack([t, t]),
        "einsum": fb.einsum("ij,ik->jk", t, t.conj()), "conv": fb.conv1d(t[None], t[None, :, :2]),
        "scan": fb.scan(lambda c, x: (c * x, c + x), fb.ones(6, dtype=t.dtype), t)[0],
        "special": fb.isfinite(t / 0) | fb.isnan(t / 0) | fb.isinf(t),
        "empty": t[:0].sum(0) + t[:0].prod(0), "polar": fb.polar(r, r), "view": fb.view_as_real(t),
        "back": fb.view_as_complex(fb.stack([r, r + 1], -1)), "trace": t.trace(), "one": t[1, 2],
    }


@pytest.mark.parametrize("dtype", DTYPES)
def test_code_agrees_with_the_reference(dtype: str) -> None:
    a, b = numbers((4, 6), dtype, 1), numbers((6, 3), dtype, 2)
    r = numbers((4, 6), dtype, 3).real

    def run(device: str) -> dict[str, np.ndarray]:
        with override(device=device):
            found = programs(fb.tensor(a), fb.tensor(b), fb.tensor(r))
            if device == "cpu":
                fb.compute(*found.values())
            return {name: t.numpy() for name, t in found.items()}

    want, got = run("reference"), run("cpu")
    for name, w in want.items():
        assert got[name].dtype == w.dtype and got[name].shape == w.shape, name
        np.testing.assert_allclose(got[name], w, rtol=1e-4 if dtype == "complex64" else 1e-12,
                                   atol=1e-5 if dtype == "complex64" else 1e-13, err_msg=name)


def test_the_reference_agrees_with_numpy() -> None:
    a, b, r = numbers((4, 6), seed=1), numbers((6, 3), seed=2), numbers((4, 6), seed=3).real
    with override(device="reference"):
        found = {k: v.numpy() for k, v in programs(*map(fb.tensor, (a, b, r))).items()}
    want = {
        "arithmetic": (a * a[::-1] - a / (a + 2)) * (1 - 2j) + r, "matmul": a @ b, "mixed": r @ b,
        "powers": a ** 3 + a ** -1 + a ** 0.5 + a ** r + a ** a, "views": a.T[::-2, 1:].reshape(-1),
        "sums": a.sum(0) + a.mean(0) + a.prod(0), "scans": a.cumsum(1) + a.cumprod(0),
        "var": a.var(1, ddof=1), "norm": np.linalg.norm(a), "where": np.where(r > 0, a, r),
        "einsum": a.T @ a.conj(), "truth": a != 0, "mH": a.conj().T, "polar": r * np.exp(1j * r),
        "scan": a.prod(0), "parts": a.real + a.imag,
    }
    for name, w in want.items():
        np.testing.assert_allclose(found[name], w, rtol=1e-12, atol=1e-14, err_msg=name)


def test_promotion_follows_numpy() -> None:
    for d in ("bool", "int8", "uint16", "int32", "int64", "float16", "float32", "float64", *DTYPES):
        for c in DTYPES:
            want = np.promote_types(d, c).name
            found = fb.ones(1, dtype=d) + fb.ones(1, dtype=c)
            assert found.dtype.name == want
    assert (fb.ones(2) * 1j).dtype is fb.complex64
    assert (fb.ones(2, dtype=fb.float64) * 1j).dtype is fb.complex128
    assert (fb.ones(2, dtype=fb.int64) * 1j).dtype is fb.complex64
    assert (fb.tensor([1j]) + 1.5).dtype is fb.complex64
    assert fb.tensor(np.array([1j])).dtype is fb.complex128
    assert (fb.ones(2, dtype=fb.bfloat16) + fb.tensor([1j])).dtype is fb.complex64
    assert abs(fb.tensor(np.array([1j]))).dtype is fb.float64


def test_run_time_numbers_do_not_recompile() -> None:
    t = fb.tensor(numbers((5,)))
    for c in (0.3 + 0.7j, -2.5j, 4.25 - 1j):
        np.testing.assert_allclose((t * c + c).numpy(), t.numpy() * c + c)


def test_in_place_and_views_share_memory() -> None:
    t = fb.tensor(numbers((4, 4)))
    want = t.numpy().copy()
    row = t[1]
    row *= 2j
    want[1] *= 2j
    t[:, 0] = 3
    want[:, 0] = 3
    t += 1
    np.testing.assert_allclose(t.numpy(), want + 1)
    shared = numbers((3,))
    view = fb.from_numpy(shared)
    view.mul_(1j)
    np.testing.assert_allclose(view.numpy(), shared)


def test_compiled_functions_and_state() -> None:
    state = fb.tensor(numbers((6,)))
    want = state.numpy().copy()

    @fb.compile
    def step(x: fb.Tensor) -> fb.Tensor:
        state.mul_(x)
        return (state.conj() * state).real.sum()

    x = numbers((6,), seed=5)
    for _ in range(4):
        got = step(fb.tensor(x))
        want = want * x
        np.testing.assert_allclose(float(got), np.sum(np.abs(want) ** 2))
    np.testing.assert_allclose(state.numpy(), want)


def test_numpy_python_and_pickle() -> None:
    a = numbers((2, 3))
    t = fb.tensor(a)
    assert isinstance(np.exp(t), fb.Tensor) and np.iscomplexobj(t) and not np.iscomplexobj(t.real)
    np.testing.assert_allclose(np.conj(t).numpy(), a.conj())
    np.testing.assert_allclose(np.real(t).numpy(), a.real)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(t)).numpy(), a)
    assert complex(t[0, 0]) == a[0, 0] and t.tolist() == a.tolist()
    assert repr(fb.tensor([1 + 2j])) == "tensor([1.+2.j], dtype=flambeau.complex64)"
    assert fb.is_complex(t) and t.cfloat().dtype is fb.complex64
    np.testing.assert_allclose(fb.full((2,), 1.5j).numpy(), [1.5j, 1.5j])


def c(*shape: int, seed: int = 0) -> fb.Tensor:
    return fb.tensor(numbers(shape, seed=seed))


def r(*shape: int, seed: int = 7) -> fb.Tensor:
    return fb.tensor(numbers(shape, seed=seed).real)


GRADIENTS = {
    "functions": (lambda z: [getattr(fb, f)(z) for f in FUNCTIONS], [c(2)]),
    "arithmetic": (lambda z, w, x: z * w + z / w - x / z + x * w, [c(2), c(2, seed=1), r(2)]),
    "powers": (lambda z, w: [z ** w, z ** 3, z ** 2.5, z ** (1.5 + 2j)], [c(2), c(2, seed=1)]),
    "matmul": (lambda a, b, x: [a @ b, x @ b, a.mH @ a], [c(2, 3), c(3, 2, seed=1), r(2, 3)]),
    "reductions": (lambda a: [a.sum(0), a.prod(1), a.cumsum(1), a.cumprod(1), a.mean(), a.var(),
                              a.norm()], [c(2, 3)]),
    "parts": (lambda a, x: [fb.complex(x, x * x) ** 2, fb.polar(x, x), a.real * a.imag,
                            fb.view_as_real(a) ** 2, x.to(fb.complex128) * (1 + 2j)], [c(3), r(3)]),
    "movement": (lambda a, b: [a[fb.tensor([0, 2, 2])] * a[::-1], fb.cat([a, b * 1j]),
                               fb.where(fb.tensor([True, False, True]), a * 2, b),
                               fb.pad(a, (1, 1)) * 2j], [c(3), c(3, seed=1)]),
    "conv": (fb.conv2d, [c(1, 2, 3, 3), c(2, 2, 2, 2, seed=1)]),
    "scan": (lambda a: fb.scan(lambda s, x: (s * x, s + x), fb.ones(2, dtype=fb.complex128), a),
             [c(3, 2)]),
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients(name: str) -> None:
    function, inputs = GRADIENTS[name]
    assert fb.gradcheck(function, inputs)


def test_second_derivatives() -> None:
    assert fb.gradcheck(lambda a, b: (a * b / (a + 3)).abs(), [c(2), c(2, seed=1)], order=2)


def test_gradient_of_a_real_loss_points_uphill() -> None:
    """dL/dx + i dL/dy, so that z - lr * grad descends, as in PyTorch."""
    z = c(3).requires_grad_()
    (z.abs() ** 2).sum().backward()
    np.testing.assert_allclose(z.grad.numpy(), 2 * z.detach().numpy())
    g = fb.grad(lambda x: (x * (1 + 2j)).real.sum())(c(3))
    np.testing.assert_allclose(g.numpy(), np.full(3, 1 - 2j))
    x, along = c(3), c(3, seed=1)
    _, slope = fb.jvp(lambda v: v ** 2, [x], [along])
    np.testing.assert_allclose(slope.numpy(), 2 * x.numpy() * along.numpy())
    assert fb.gradcheck(lambda v: v.abs(), [fb.tensor([1j, 2 + 1j])])
    zero = fb.tensor([0j]).requires_grad_()
    zero.abs().sum().backward()
    assert zero.grad.numpy() == 0


@pytest.mark.parametrize(("call", "message"), [
    (lambda z: z < z, "lt: expected a real dtype, got complex128"),
    (lambda z: fb.maximum(z, 1.0), "maximum: expected a real dtype, got complex128"),
    (lambda z: z.max(), "max: expected a real dtype, got complex128"),
    (lambda z: z.argmin(), "argmin: expected a real dtype, got complex128"),
    (lambda z: z.sort(), "sort: expected a real dtype, got complex128"),
    (lambda z: z.floor(), "floor: expected a real dtype, got complex128"),
    (lambda z: z // 2, "floor_divide: expected a real dtype, got complex128"),
    (lambda z: fb.erf(z), "erf: expected a real dtype, got complex128"),
    (lambda z: fb.relu(z), "relu: expected a real dtype, got complex128"),
    (lambda z: fb.softmax(z), "softmax: expected a real dtype, got complex128"),
    (lambda z: fb.atan2(z, z), "atan2: expected a real dtype, got complex128"),
    (lambda z: fb.signbit(z), "signbit: expected a real dtype, got complex128"),
    (lambda z: z.clamp(0, 1), "clamp: expected a real dtype, got complex128"),
    (lambda z: z & 1, "bitwise_and: expected bool or integers, got complex128"),
    (lambda z: fb.complex(z, z), "complex: expected a real dtype, got complex128"),
    (lambda z: z.float(), "float: expected a complex dtype or bool for complex128, got float32; "
                          "take real() or abs() of it"),
    (lambda z: z.to(fb.int64), "to: expected a complex dtype or bool for complex128, got int64; "
                               "take real() or abs() of it"),
    (lambda z: fb.ones(3, dtype=fb.float64).copy_(z),
     "copy_: expected a complex dtype or bool for complex128, got float64; take real() or abs() of "
     "it"),
    (lambda z: fb.ones(3).add_(z), "add_: expected a target that holds complex128, got float32"),
    (lambda z: fb.tensor([1j], dtype=fb.float32),
     "tensor: expected a complex dtype for complex data, got float32"),
    (lambda z: fb.view_as_real(z.real), "view_as_real: expected a complex dtype, got float64"),
    (lambda z: fb.view_as_complex(z), "view_as_complex: expected float32 or float64, got "
                                      "complex128"),
])
def test_errors(call, message: str) -> None:
    with pytest.raises(TypeError) as caught:
        call(c(3))
    assert str(caught.value) == message


def test_a_host_routine_that_fails_names_the_users_line() -> None:
    singular = fb.linalg.inv(fb.zeros(2, 2, dtype=fb.complex128))
    with pytest.raises(fb.linalg.LinAlgError, match=r"recorded at .*test_complex\.py:\d+"):
        singular.numpy()


def test_value_errors() -> None:
    with pytest.raises(ValueError, match=r"^view_as_complex: expected a last axis of 2, got shape"):
        fb.view_as_complex(fb.ones(3))
    with pytest.raises(ValueError, match=r"^adjoint: expected at least 2 axes, got shape \(3,\)"):
        _ = c(3).mH
    with pytest.raises(ValueError, match=r"^backward: expected a real result or a grad, got "):
        c(1).requires_grad_().exp().backward()
