"""backward, functional gradients, and finite differences."""

from __future__ import annotations

import flambeau as fb
import numpy as np
import pytest


def leaf(*shape: int, seed: int = 0) -> fb.Tensor:
    values = np.random.default_rng(seed).standard_normal(shape)
    return fb.tensor(values).requires_grad_()


def test_backward_adds_up_until_dropped() -> None:
    x = leaf(3)
    assert x.grad is None
    (x * x).sum().backward()
    (x * 3).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 2 * x.detach().numpy() + 3)
    x.grad = None
    (x * 3).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 3)


def test_backward_is_lazy() -> None:
    x = leaf(3)
    with fb.no_sync():
        (x * x).sum().backward()
        assert x.grad.is_lazy


def test_backward_with_a_cotangent() -> None:
    x = leaf(2, 3)
    (x * x).backward(fb.full((2, 3), 2.0, dtype=fb.float64))
    np.testing.assert_allclose(x.grad.numpy(), 4 * x.detach().numpy())


def test_views_and_detached_values() -> None:
    x = leaf(4)
    y = x[1:3]
    (y * y + x.detach()[:2]).sum().backward()
    expected = np.zeros(4)
    expected[1:3] = 2 * x.detach().numpy()[1:3]
    np.testing.assert_allclose(x.grad.numpy(), expected)


def test_no_grad_stops() -> None:
    x = leaf(3)
    with fb.no_grad():
        factor = x * 2
    assert not factor.requires_grad
    (x * factor).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 2 * x.detach().numpy())


def test_updates_do_not_reach_back() -> None:
    """A lazily updated leaf is a leaf: gradients do not flow into the update before."""
    x = leaf(3)
    start = x.detach().numpy().copy()
    for _ in range(2):
        x.grad = None
        (x * x).sum().backward()
        with fb.no_grad():
            x.sub_(x.grad * 0.25)
    np.testing.assert_allclose(x.detach().numpy(), start * 0.25)


def test_create_graph() -> None:
    x = leaf(3)
    (x ** 3).sum().backward(create_graph=True)
    g = x.grad
    x.grad = None
    (g * g).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 36 * x.detach().numpy() ** 3)


def test_second_use_of_a_structure_uses_the_recipe() -> None:
    from flambeau import pullback
    for seed in range(3):
        x = leaf(5, seed=seed)
        before = len(pullback._recipes)
        (x.tanh() * x).sum().backward()
        if seed:
            assert len(pullback._recipes) == before
        v = x.detach().numpy()
        np.testing.assert_allclose(x.grad.numpy(), np.tanh(v) + v * (1 - np.tanh(v) ** 2))


def test_softmax_then_log_is_stable() -> None:
    x = fb.tensor([[1000.0, 0.0, -1000.0]]).requires_grad_()
    x.softmax(-1).log()[0, 2].backward()
    np.testing.assert_allclose(x.grad.numpy(), [[-1, 0, 1]], atol=1e-6)


def test_grad_of_nests_and_several_arguments() -> None:
    def loss(p: dict, x: fb.Tensor) -> fb.Tensor:
        return (p["w"] * x + p["b"][0]).square().sum()

    p = {"w": fb.tensor([2.0]), "b": [fb.tensor([1.0])]}
    x = fb.tensor([3.0])
    value, (gp, gx) = fb.value_and_grad(loss, argnums=(0, 1))(p, x)
    assert value.item() == 49
    assert (gp["w"].item(), gp["b"][0].item(), gx.item()) == (42, 14, 28)


def test_has_aux_and_wrt() -> None:
    w = fb.tensor([1.0, 2.0])
    value, aux = fb.grad(lambda x: ((x * w).sum(), x * 2), has_aux=True)(fb.tensor([3.0, 4.0]))
    assert value.tolist() == [1, 2] and aux.tolist() == [6, 8]
    loss, grads = fb.value_and_grad(lambda x: (x * w * w).sum(), wrt=[w])(fb.tensor([3.0, 4.0]))
    assert loss.item() == 19 and grads[0].tolist() == [6, 16] and not w.requires_grad


def test_higher_orders() -> None:
    def f(x: fb.Tensor) -> fb.Tensor:
        return (x ** 4).sum()

    x = fb.tensor([1.0, 2.0], dtype=fb.float64)
    third = fb.grad(lambda x: fb.grad(lambda x: fb.grad(f)(x).sum())(x).sum())(x)
    np.testing.assert_allclose(third.numpy(), 24 * x.numpy())
    np.testing.assert_allclose(fb.hessian(f)(x).numpy(), np.diag(12 * x.numpy() ** 2))
    v = fb.tensor([1.0, -1.0], dtype=fb.float64)
    product = fb.jvp(fb.grad(f), [x], [v])[1]
    np.testing.assert_allclose(product.numpy(), 12 * x.numpy() ** 2 * v.numpy())


def test_vjp_jvp_jacobian() -> None:
    def f(x: fb.Tensor) -> fb.Tensor:
        return fb.stack([x[0] * x[1], x[1].sin()])

    x = fb.tensor([2.0, 0.5], dtype=fb.float64)
    expected = np.array([[0.5, 2.0], [0, np.cos(0.5)]])
    np.testing.assert_allclose(fb.jacobian(f)(x).numpy(), expected)
    value, pull = fb.vjp(f, x)
    np.testing.assert_allclose(pull(fb.tensor([1.0, 2.0]))[0].numpy(), [1, 2] @ expected)
    _, slope = fb.jvp(f, [x], [fb.tensor([3.0, 4.0])])
    np.testing.assert_allclose(slope.numpy(), expected @ [3, 4])
    assert value.shape == (2,)


def test_gradients_of_gradients_reach_leaves() -> None:
    """A gradient penalty: loss.backward() through fb.grad."""
    w = leaf(3)

    def f(x: fb.Tensor) -> fb.Tensor:
        return (x * x * w).sum()

    x = fb.ones(3, dtype=fb.float64)
    (fb.grad(f)(x) ** 2).sum().backward()
    np.testing.assert_allclose(w.grad.numpy(), 8 * w.detach().numpy())


def test_detach_inside_a_function() -> None:
    g = fb.grad(lambda x: (x * x.detach()).sum())(fb.tensor([2.0, 3.0]))
    assert g.tolist() == [2, 3]


def test_independent_arguments_get_zeros() -> None:
    g = fb.grad(lambda x, y: y.sum(), argnums=(0, 1))(fb.ones(2), fb.ones(3))
    assert g[0].tolist() == [0, 0] and g[1].tolist() == [1, 1, 1]


def test_inside_compile() -> None:
    f = fb.compile(fb.value_and_grad(lambda x: (x.sin() ** 2).sum()))
    x = fb.tensor([0.3, 0.7], dtype=fb.float64)
    for _ in range(2):
        _, g = f(x)
        np.testing.assert_allclose(g.numpy(), np.sin(2 * x.numpy()))
    assert len(f.variants) == 1


def test_gradcheck_finds_mistakes() -> None:
    assert fb.gradcheck(lambda x, y: (x @ y).tanh(), [fb.randn(3, 4), fb.randn(4, 2)])
    assert fb.gradcheck(lambda x: (x ** 3).exp(), fb.tensor([0.1, 0.5]), order=2)
    w = fb.tensor([0.5, 1.5], dtype=fb.float64)
    assert fb.gradcheck(lambda x: x * w * w, fb.tensor([2.0, 3.0]), wrt=[w])
    with pytest.raises(AssertionError, match=r"input 0, element \[\d\] of \[2\]: expected"):
        fb.gradcheck(lambda x: x * x.detach(), fb.tensor([2.0, 3.0]))


def test_messages() -> None:
    with pytest.raises(RuntimeError, match="expected a tensor that requires grad"):
        fb.ones(2).sum().backward()
    with pytest.raises(ValueError, match=r"expected one element or a grad.*\(2,\)"):
        (leaf(2) * 2).backward()
    with pytest.raises(ValueError, match=r"expected a grad of shape \(2,\), got \(3,\)"):
        (leaf(2) * 2).backward(fb.ones(3))
    with pytest.raises(TypeError, match=r"floating dtype, got int64\[2\]"):
        fb.grad(lambda x: x.sum())(fb.tensor([1, 2]))
    with pytest.raises(ValueError, match="gives one number"):
        fb.grad(lambda x: x)(fb.ones(2))
    with pytest.raises(ValueError, match="argnums below 1"):
        fb.grad(lambda x: x.sum(), argnums=1)(fb.ones(2))
    with pytest.raises(ValueError, match="1 tangents, got 2"):
        fb.jvp(lambda x: x, [fb.ones(2)], [fb.ones(2), fb.ones(2)])
