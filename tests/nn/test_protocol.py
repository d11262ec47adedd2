"""The Module contract: passes, gradients, flat parameters, sharing, copies, trees and files."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import flambeau as fb
import flambeau.nn as nn
import numpy as np
import pytest


def net() -> nn.Sequential:
    fb.manual_seed(3)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3), nn.LogSoftMax())


def data(*shape: int) -> Any:
    return fb.tensor(np.random.default_rng(0).standard_normal(shape), dtype=fb.float32)


def test_gradients_start_absent_and_are_the_tensors_own() -> None:
    m = nn.Linear(3, 2)
    assert m.weight.grad is None
    assert m.grad_weight is m.weight.grad and not m.grad_weight.numpy().any()
    x = data(2, 3)
    m.forward(x)
    m.backward(x, fb.ones(2, 2))
    assert m.grad_weight is m.weight.grad
    np.testing.assert_allclose(m.grad_bias.numpy(), [2, 2])
    kept = m.grad_weight
    m.zero_grad_parameters()
    assert m.grad_weight is kept and not kept.numpy().any()


def test_torch7_and_pytorch_ways_give_the_same_gradients() -> None:
    m, c, x, y = net(), nn.ClassNLLCriterion(), data(6, 4), fb.tensor([0, 1, 2, 0, 1, 2])
    output = m.forward(x)
    c.forward(output, y)
    m.backward(x, c.backward(output, y))
    first = [p.grad.numpy().copy() for p in m.params()]
    for p in m.params():
        p.grad = None
    c(m(x), y).backward()
    for p, g in zip(m.params(), first):
        np.testing.assert_allclose(p.grad.numpy(), g, rtol=1e-5, atol=1e-7)


def test_a_step_is_one_program_and_lazy() -> None:
    from flambeau import realize
    m, c, x, y = net(), nn.ClassNLLCriterion(), data(6, 4), fb.tensor([0, 1, 2, 0, 1, 2])
    m.training()
    runs = []
    compute = realize.compute

    def counted(roots: Any, device: str = "cpu") -> Any:
        runs.append(len(roots))
        return compute(roots, device)

    realize.compute = counted
    try:
        for _ in range(3):
            with fb.no_sync():
                output = m.forward(x)
                loss = c.forward(output, y)
                m.zero_grad_parameters()
                m.backward(x, c.backward(output, y))
                m.update_parameters(0.1)
            loss.item()
        assert runs == [5, 5, 5]  # the loss and four parameters
        del runs[:]
        for _ in range(3):
            c(m(x), y).backward()
            m.update_parameters(0.1)
        assert len(runs) == 2  # the third is still to come
    finally:
        realize.compute = compute


def test_memory_does_not_grow_without_syncs() -> None:
    from flambeau.compiler import node
    m, c, x, y = net(), nn.ClassNLLCriterion(), data(6, 4), fb.tensor([0, 1, 2, 0, 1, 2])
    sizes = []
    for _ in range(6):
        m.zero_grad_parameters()
        c(m(x), y).backward()
        m.update_parameters(0.1)
        sizes.append(node.live_nodes())
    assert sizes[-1] == sizes[-2] == sizes[-3]


def test_backward_for_another_input_runs_forward_again() -> None:
    m = nn.Tanh()
    m.forward(data(3))
    other = data(5)
    np.testing.assert_allclose(m.backward(other, fb.ones(5)).numpy(),
                               1 - np.tanh(other.numpy()) ** 2, rtol=1e-5)


def test_inner_grad_inputs() -> None:
    m, x = net(), data(2, 4)
    out = m.forward(x)
    g = m.backward(x, fb.ones(2, 3))
    assert m[0].grad_input.tolist() == g.tolist()
    inner, found = m[0].output, m[1].grad_input
    by_hand = fb.grad(lambda h: m[3](m[2](m[1](h))).sum())(inner.detach())
    np.testing.assert_allclose(found.numpy(), by_hand.numpy(), rtol=1e-4, atol=1e-6)
    assert m.grad_input is g and out.shape == (2, 3)


class Square(nn.Module):
    """With the three methods by hand, as in Torch7, and a wrong sign to recognise them by."""

    def __init__(self) -> None:
        self.weight = nn.Parameter(fb.ones(1))

    def update_output(self, input: Any) -> Any:
        self.output = input * input * self.weight
        return self.output

    def update_grad_input(self, input: Any, grad_output: Any) -> Any:
        self.grad_input = -2 * input * grad_output * self.weight
        return self.grad_input

    def acc_grad_parameters(self, input: Any, grad_output: Any, scale: float = 1) -> None:
        with fb.no_grad():
            self.grad_weight.add_((input * input * grad_output).sum() * scale * 10)


@pytest.mark.parametrize("way", ["torch7", "pytorch"])
def test_hand_written_backward_is_used_everywhere(way: str) -> None:
    square, x = Square(), fb.tensor([1.0, 2.0]).requires_grad_()
    m = nn.Sequential(nn.Identity(), square, nn.Sequential(Square(), nn.Identity()))
    y = m(x)
    if way == "torch7":
        g = m.backward(x, fb.ones(2))
    else:
        y.sum().backward()
        g = x.grad
    np.testing.assert_allclose(g.numpy(), 4 * np.array([1.0, 2.0]) ** 3)
    np.testing.assert_allclose(square.weight.grad.numpy(), [-340])  # sum 10 x^2 * -2 x^2
    np.testing.assert_allclose(m[2][0].weight.grad.numpy(), [170])


def test_hand_written_module_alone() -> None:
    m, x = Square(), fb.tensor([3.0])
    m.forward(x)
    assert m.backward(x, fb.ones(1), 0.5).item() == -6
    assert m.grad_weight.item() == 45


def test_compute_alone_gives_everything() -> None:
    class Scale(nn.Module):
        def __init__(self) -> None:
            self.factor = nn.Parameter(fb.tensor([2.0]))
            self.parts = [nn.Linear(2, 2), {"inner": nn.Tanh()}]
            self.table = {"a": nn.Linear(2, 1)}

        def compute(self, input: Any) -> Any:
            return self.table["a"](self.parts[0](input)) * self.factor

    m, x = Scale(), data(3, 2)
    names = [n for n, _ in m.named_parameters()]
    assert names == ["factor", "parts.0.weight", "parts.0.bias", "table.a.weight", "table.a.bias"]
    m.forward(x)
    assert m.backward(x, fb.ones(3, 1)).shape == (3, 2)
    np.testing.assert_allclose(m.grad_factor.numpy(), m.output.numpy().sum() / 2, rtol=1e-5)


def test_forward_written_the_pytorch_way() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            self.fc = nn.Linear(3, 2)

        def forward(self, input: Any) -> Any:
            return self.fc(input).relu()

    m, x = Net(), data(4, 3)
    m(x).sum().backward()
    g = m.fc.weight.grad.numpy().copy()
    m.zero_grad_parameters()
    m.backward(x, fb.ones(4, 2))
    np.testing.assert_allclose(m.fc.weight.grad.numpy(), g, rtol=1e-6)


def test_flat_parameters_are_views_and_idempotent() -> None:
    m, x = net(), data(2, 4)
    before = [p.numpy().copy() for p in m.params()]
    m.forward(x)
    m.backward(x, fb.ones(2, 3))
    grads = [p.grad.numpy().copy() for p in m.params()]
    flat, flat_grads = m.get_parameters()
    again = m.get_parameters()
    assert again[0] is flat and again[1] is flat_grads
    np.testing.assert_array_equal(flat.numpy(), np.concatenate([b.ravel() for b in before]))
    np.testing.assert_array_equal(flat_grads.numpy(), np.concatenate([g.ravel() for g in grads]))
    inner, _ = m[2].get_parameters()
    flat.mul_(2)
    np.testing.assert_allclose(m[0].weight.numpy(), 2 * before[0])
    np.testing.assert_array_equal(inner.numpy(), flat.numpy()[25:])
    m.zero_grad_parameters()
    assert not flat_grads.numpy().any()
    m.forward(x)
    m.backward(x, fb.ones(2, 3))
    assert flat_grads.numpy().any()
    m.update_parameters(1.0)
    np.testing.assert_allclose(m[0].weight.numpy().ravel(), flat.numpy()[:20])


def test_flattening_an_inner_part_first() -> None:
    m = net()
    inner, _ = m[2].get_parameters()
    flat, _ = m.get_parameters()
    flat.fill_(3)
    assert (inner.numpy() == 3).all() and (m[2].weight.numpy() == 3).all()


def test_flat_parameters_keep_sharing() -> None:
    a, b = nn.Linear(3, 3), nn.Linear(3, 3)
    b.share(a, "weight", "bias")
    m = nn.Sequential(a, b)
    flat, grads = m.get_parameters()
    assert flat.shape == (12,) and b.weight is a.weight
    x = data(2, 3)
    m.forward(x)
    m.backward(x, fb.ones(2, 3))
    start = a.weight.numpy().copy()
    m.update_parameters(1.0)  # once, though shared
    np.testing.assert_allclose(b.weight.numpy(), start - grads.numpy()[:9].reshape(3, 3),
                               rtol=1e-5)


def test_clone_copies_and_shares_by_name() -> None:
    m = net()
    other, twin = m.clone(), m.clone("weight", "bias")
    assert repr(other) == repr(m)
    with fb.no_grad():
        m[0].weight.fill_(7)
    assert twin[0].weight is m[0].weight and not (other[0].weight.numpy() == 7).any()
    assert other.output is None


def test_shared_modules_stay_shared_in_a_clone() -> None:
    layer = nn.Linear(2, 2)
    twin = nn.Sequential(layer, layer).clone()
    assert twin[0] is twin[1] and twin[0] is not layer
    assert len(twin.params()) == 2


def test_types() -> None:
    m, x = net(), data(2, 4)
    weight = m[0].weight
    assert m.type() == "float32" and m.double().type() == "float64"
    assert m[0].weight is weight and weight.requires_grad
    assert m.forward(x.double()).dtype is fb.float64
    assert m.half().type() == "float16" and m.float().type() == "float32"


def test_modes_trees_and_search() -> None:
    m = nn.Sequential(nn.Dropout(0.5), nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.1)))
    assert not any(c.is_training for c in m.evaluate().list_modules())
    assert all(c.is_training for c in m.training().list_modules())
    found, parents = m.find_modules("nn.Dropout")
    assert found == [m[0], m[1][1]] and parents == [m, m[1]]
    assert m.find_modules(nn.Linear)[0] == [m[1][0]]
    seen: list[str] = []
    m.apply(lambda c: seen.append(type(c).__name__))
    assert seen == ["Sequential", "Dropout", "Sequential", "Linear", "Dropout"]
    m.replace(lambda c: nn.Identity() if isinstance(c, nn.Dropout) else c)
    assert isinstance(m[0], nn.Identity) and isinstance(m[1][1], nn.Identity)


def test_sequential_as_a_list() -> None:
    m = nn.Sequential().add(nn.Tanh()).add(nn.Linear(2, 2))
    m.insert(nn.Sigmoid(), 0)
    assert len(m) == m.size() == 3 and isinstance(m.get(0), nn.Sigmoid)
    assert [type(c).__name__ for c in m[1:]] == ["Tanh", "Linear"]
    removed = m.remove()
    assert isinstance(removed, nn.Linear) and len(m) == 2 and isinstance(m[-1], nn.Tanh)


def test_printing() -> None:
    m = nn.Sequential(nn.SpatialConvolution(1, 6, 5, 5, 1, 1, 2, 2), nn.SpatialMaxPooling(2, 2),
                      nn.Concat(1, nn.ReLU(), nn.Sequential(nn.Tanh())), nn.Linear(3, 2, False))
    assert repr(m) == """nn.Sequential {
  [input -> (0) -> (1) -> (2) -> (3) -> output]
  (0): nn.SpatialConvolution(1 -> 6, 5x5, 1,1, 2,2)
  (1): nn.SpatialMaxPooling(2x2, 2,2)
  (2): nn.Concat {
    input
      |`-> (0): nn.ReLU
       `-> (1): nn.Sequential {
             [input -> (0) -> output]
             (0): nn.Tanh
           }
       ... -> output
  }
  (3): nn.Linear(3 -> 2) without bias
}"""


def test_clear_state() -> None:
    m, x = net(), data(2, 4)
    m.forward(x)
    m.backward(x, fb.ones(2, 3))
    m.clear_state()
    assert m.output is None and m.grad_input is None and m[1].output is None


def test_dropout() -> None:
    m, x = nn.Dropout(0.25), fb.ones(10000)
    y = m.forward(x).numpy()
    assert set(np.unique(y)) == {0, np.float32(1 / 0.75)} and abs(y.mean() - 1) < 0.05
    np.testing.assert_array_equal(m.backward(x, fb.ones(10000)).numpy(), y)
    assert m.evaluate().forward(x) is not None and (m.output.numpy() == 1).all()


def test_init_functions() -> None:
    fb.manual_seed(0)
    w = nn.Linear(300, 200, init=nn.init.kaiming_normal_).weight.numpy()
    assert abs(w.std() - np.sqrt(2 / 300)) < 2e-3
    w = nn.Linear(300, 200).weight.numpy()
    assert abs(w).max() <= 1 / np.sqrt(300) and abs(w.std() - 1 / np.sqrt(900)) < 1e-3
    m = nn.Linear(30, 20)
    m.reset(0.5)
    assert abs(m.weight.numpy().std() - 0.5) < 0.05
    assert nn.init.fans(fb.zeros(4, 3, 5, 5)) == (75, 100)


def test_state_dict_is_a_snapshot() -> None:
    m = nn.Sequential(nn.Linear(2, 2), nn.BatchNormalization(2))
    state = m.state_dict()
    assert list(state) == ["0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean",
                           "1.running_var"]
    kept = state["0.weight"].numpy().copy()
    with fb.no_grad():
        m[0].weight.fill_(5)
    np.testing.assert_array_equal(state["0.weight"].numpy(), kept)
    m.load_state_dict(state)
    np.testing.assert_array_equal(m[0].weight.numpy(), kept)


def test_save_and_load(tmp_path: Path) -> None:
    m = nn.Sequential(nn.SpatialConvolution(1, 2, 3, bias=False), nn.SpatialBatchNormalization(2),
                      nn.ReLU(), nn.SpatialMaxPooling(2, 2).ceil(),
                      nn.View(-1).set_num_input_dims(3),
                      nn.Linear(8, 3, init=nn.init.xavier_normal_), nn.Dropout(0.3)).double()
    x = fb.tensor(np.random.default_rng(0).standard_normal((2, 1, 5, 5)))
    m.forward(x)
    m.evaluate()
    path = tmp_path / "net.flambeau"
    fb.save(m, path)
    assert path.stat().st_size < 7000  # no activations
    again = fb.load(path)
    assert repr(again) == repr(m) and again.type() == "float64"
    np.testing.assert_array_equal(again.evaluate().forward(x).numpy(), m.forward(x).numpy())


def test_running_statistics_follow_the_batches() -> None:
    m, x = nn.BatchNormalization(2, momentum=0.5), data(8, 2)
    for _ in range(2):
        m.forward(x)
    expected = 0.75 * x.numpy().mean(0)
    np.testing.assert_allclose(m.running_mean.numpy(), expected, rtol=1e-5)


def test_modules_hold_nothing_from_a_trace() -> None:
    m, x = net(), data(2, 4)
    m.training()
    step = fb.compile(lambda x: m(x).sum())
    step(x)
    assert m.output is None and m[0].output is None
    np.testing.assert_allclose(step(x).item(), m(x).sum().item(), rtol=1e-6)


def test_criterion_by_hand() -> None:
    class Half(nn.Criterion):
        def update_output(self, input: Any, target: Any = None) -> Any:
            return (input - target).square().sum() / 2

        def update_grad_input(self, input: Any, target: Any = None) -> Any:
            return 5 * (input - target)

    x = fb.tensor([1.0, 2.0]).requires_grad_()
    c = Half()
    loss = c(x, fb.zeros(2))
    assert loss.item() == 2.5 and c.backward(x, fb.zeros(2)).tolist() == [5, 10]
    (loss * 2).backward()
    assert x.grad.tolist() == [10, 20]


def test_gradients_of_several_passes_add_up_in_flat_vectors() -> None:
    m, x = net(), data(2, 4)
    _, grads = m.get_parameters()
    m.zero_grad_parameters()
    for _ in range(3):
        m.forward(x)
        m.backward(x, fb.ones(2, 3))
    three = grads.numpy().copy()
    m.zero_grad_parameters()
    m.forward(x)
    m.backward(x, fb.ones(2, 3))
    np.testing.assert_allclose(three, 3 * grads.numpy(), rtol=1e-5, atol=1e-6)


def test_a_flat_vector_is_written_piece_by_piece_without_copies() -> None:
    m, x = net(), data(2, 4)
    flat, grads = m.get_parameters()
    m.training()

    def step(x: Any) -> Any:
        m.zero_grad_parameters()
        out = m.forward(x)
        m.backward(x, fb.ones(2, 3))
        flat.sub_(grads * 0.1)
        return out.sum()

    before = flat.numpy().copy()
    fb.compile(step)(x)
    after = flat.numpy().copy()
    np.testing.assert_allclose(after, before - 0.1 * grads.numpy(), rtol=1e-5, atol=1e-6)


def test_pickles_hold_no_results() -> None:
    m, x = nn.Sequential(nn.Linear(4, 2), nn.BatchNormalization(2)), data(3, 4)
    m.evaluate().forward(x)
    again = pickle.loads(pickle.dumps(m))
    assert again.output is None and repr(again) == repr(m)
    assert isinstance(again[0].weight, nn.Parameter) and again[0].weight.requires_grad
    np.testing.assert_array_equal(again.forward(x).numpy(), m.forward(x).numpy())


def test_a_forward_of_several_arguments() -> None:
    class Cell(nn.Module):
        def __init__(self) -> None:
            self.a, self.b = nn.Linear(3, 3), nn.Linear(3, 3)

        def forward(self, x: Any, h: Any, scale: float = 1) -> Any:
            return (self.a(x) + self.b(h)).tanh() * scale

    m, h = Cell(), data(2, 3)
    for _ in range(3):
        h = m(data(2, 3), h, scale=0.5)
    h.sum().backward()
    assert m.b.weight.grad.shape == (3, 3)


def test_the_learning_rate_of_a_compiled_step_is_an_argument() -> None:
    m, x = nn.Linear(2, 1), data(2, 2)
    m.training()

    @fb.compile
    def step(x: Any, rate: float) -> Any:
        m.zero_grad_parameters()
        m.forward(x)
        m.backward(x, fb.ones(2, 1))
        m.update_parameters(rate)
        return m.output.sum()

    start = m.weight.numpy().copy()
    step(x, 0.0)
    np.testing.assert_array_equal(m.weight.numpy(), start)
    step(x, 1.0)
    np.testing.assert_allclose(m.weight.numpy(), start - x.numpy().sum(0, keepdims=True),
                               rtol=1e-5)
    assert len(step.variants) == 1


def test_deep_copies() -> None:
    m = nn.Linear(2, 2)
    twin, p = copy.deepcopy(m), copy.deepcopy(m.weight)
    with fb.no_grad():
        m.weight.fill_(9)
    assert isinstance(p, nn.Parameter) and p.requires_grad
    assert not (p.numpy() == 9).any() and not (twin.weight.numpy() == 9).any()
