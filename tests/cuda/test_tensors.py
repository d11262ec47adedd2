"""The user's language on the emulated GPU: the host's values, and where everything lies."""

from __future__ import annotations

import copy
import pickle

import flambeau as fb
import numpy as np
import pytest
from flambeau import foreign, nn, optim
from flambeau.cli import info
from flambeau.compiler.config import override
from flambeau.runtime.cuda import drivers, sharing

RNG = np.random.default_rng(0)
X = RNG.standard_normal((10, 6)).astype(np.float32)
Y = RNG.integers(0, 3, 10)


def mlp(device):
    fb.manual_seed(3)
    return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3), nn.LogSoftMax()).to(device)


def test_a_chain_of_operations(driver):
    def chain(x):
        return ((x.t() @ x).tanh() * 0.5 + x.mean(0)).softmax(1)[1:, ::2]

    got = chain(fb.tensor(X, device="cuda"))
    assert got.device == "cuda:0" and got.is_cuda
    np.testing.assert_allclose(got.numpy(), chain(fb.tensor(X)).numpy(), rtol=1e-5, atol=1e-6)
    assert "device='cuda:0'" in repr(got) and got.cpu().device == "cpu"


def test_a_compiled_step_and_fit_lose_what_the_host_loses(driver):
    def run(device):
        model = mlp(device)
        step = model.compile(nn.ClassNLLCriterion(), optim.SGD(model.params(), lr=0.1,
                                                               momentum=0.9))
        x, y = fb.tensor(X, device=device), fb.tensor(Y, device=device)
        losses = [float(step(x, y)) for _ in range(5)]
        rows = step.fit(X, Y, epochs=2, batch_size=4, seed=1)  # whole batches and a short one
        return losses, [(r["loss"], r["accuracy"]) for r in rows], step.evaluate(X, Y), \
            step.predict(X[:2])

    here, there = run("cpu"), run("cuda")
    for a, b in zip(here[:2], there[:2]):
        np.testing.assert_allclose(a, b, rtol=1e-5)
    assert here[2] == pytest.approx(there[2], rel=1e-5)
    np.testing.assert_allclose(here[3].numpy(), there[3].numpy(), rtol=1e-5)
    assert "cuGraphLaunch" in driver.names()  # the step was replayed as a graph


def test_a_convolutional_nets_plain_loop(driver):
    images = RNG.standard_normal((4, 1, 6, 6)).astype(np.float32)

    def run(device):
        fb.manual_seed(5)
        model = nn.Sequential(nn.SpatialConvolution(1, 2, 3, 3), nn.Tanh(), nn.Reshape(32),
                              nn.Linear(32, 3), nn.LogSoftMax()).to(device)
        optimizer, criterion = optim.Adam(model.params(), lr=0.01), nn.ClassNLLCriterion()
        x, y = fb.tensor(images, device=device), fb.tensor(Y[:4], device=device)
        losses = []
        for _ in range(2):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            losses.append(float(loss))
        assert model.params()[0].grad.device == model.params()[0].device == x.device
        return losses

    np.testing.assert_allclose(run("cuda"), run("cpu"), rtol=1e-5)


def test_torch7s_protocol(driver):
    def run(device):
        model, criterion = mlp("cpu"), nn.ClassNLLCriterion()
        flat, gradients = model.get_parameters()
        model.to(device)  # the flat vector comes along
        assert flat.is_cuda == gradients.is_cuda == (device == "cuda")
        x, y = fb.tensor(X, device=device), fb.tensor(Y, device=device)
        for _ in range(2):
            model.zero_grad_parameters()
            output = model.forward(x)
            criterion.forward(output, y)
            back = model.backward(x, criterion.backward(output, y))
            model.update_parameters(0.1)
        assert back.device == x.device
        return flat.numpy()

    np.testing.assert_allclose(run("cuda"), run("cpu"), rtol=1e-5, atol=1e-6)


def test_modules_and_optimisers_move_together(driver):
    model = mlp("cpu")
    optimizer = optim.SGD(model.params(), lr=0.1, momentum=0.9)
    weight = model.params()[0]
    step = model.compile(nn.ClassNLLCriterion(), optimizer)
    first = float(step(fb.tensor(X), fb.tensor(Y)))
    assert model.cuda() is model and weight.is_cuda and model.params()[0] is weight
    second = float(step(X, Y))  # the host's data goes where the model is
    model.cpu()
    third = float(step(fb.tensor(X), fb.tensor(Y)))
    other = mlp("cpu")
    again = other.compile(nn.ClassNLLCriterion(), optim.SGD(other.params(), lr=0.1, momentum=0.9))
    want = [float(again(fb.tensor(X), fb.tensor(Y))) for _ in range(3)]
    np.testing.assert_allclose([first, second, third], want, rtol=1e-5)
    state = mlp("cuda").state_dict()
    assert all(t.is_cuda for t in state.values())
    model.load_state_dict(state)
    assert not weight.is_cuda


def test_creation_puts_values_where_told(driver):
    made = [fb.zeros(2, device="cuda"), fb.full((2,), 0.5, device="cuda"),
            fb.arange(3, device="cuda"), fb.linspace(0, 1, 3, device="cuda"),
            fb.eye(2, device="cuda"), fb.rand(2, device="cuda"), fb.randn(2, device="cuda"),
            fb.randint(0, 5, (2,), device="cuda"), fb.tensor([1], device="cuda")]
    made += [fb.zeros_like(made[1]), fb.rand_like(made[1]), fb.ones_like(made[2])]
    assert {t.device for t in made} == {"cuda:0"}
    assert made[3].tolist() == [0, 0.5, 1] and made[4].tolist() == [[1, 0], [0, 1]]
    with override(device="cuda"):  # FLAMBEAU_DEVICE=cuda
        assert fb.ones(2).is_cuda and fb.tensor([1.0]).is_cuda and nn.Linear(2, 2).weight.is_cuda
        assert (fb.arange(4).sum() + 1).item() == 7
    assert not fb.ones(2).is_cuda


def test_the_same_random_numbers_everywhere(driver):
    fb.cuda.manual_seed(7)
    there = fb.rand(5, device="cuda").tolist()
    fb.manual_seed(7)
    assert fb.rand(5).tolist() == there


def test_equal_graphs_on_two_devices_stay_apart(driver):
    here, there = fb.arange(4) * 3, fb.arange(4, device="cuda") * 3
    assert there.tolist() == here.tolist() == [0, 3, 6, 9]
    assert there.device == "cuda:0" and (here + 1).device == "cpu"
    assert fb.compute(fb.arange(3) + 2, fb.arange(3, device="cuda") + 2) is None


def test_numbers_of_the_host_go_with_any_device(driver):
    x = fb.tensor([1.0, 2.0], device="cuda")
    assert (x + fb.tensor(1.5)).tolist() == [2.5, 3.5]
    assert (fb.tensor(2.5) * x).device == "cuda:0"
    assert x[[1, 0]].tolist() == [2, 1]
    for name, ask in (("add", lambda: x + fb.ones(2)), ("matmul", lambda: x @ fb.ones(2)),
                      ("concatenate", lambda: fb.concatenate([x, fb.ones(2)])),
                      ("where", lambda: fb.where(x > 1, x, fb.ones(2)))):
        with pytest.raises(ValueError, match=f"{name}: expected tensors on one device, got cuda:0 "
                                             "and cpu; use "):
            ask()
    with pytest.raises(ValueError, match="setitem: expected values on cuda:0, got some on cpu"):
        x[:] = fb.ones(2)
    x.copy_(fb.tensor([5.0, 6.0]))
    assert x.tolist() == [5, 6]


def test_compiled_functions_know_their_device(driver):
    bias = fb.tensor([1.0, 2.0], device="cuda")
    f = fb.compile(lambda x: x + bias)
    assert f(fb.zeros(2, device="cuda")).tolist() == [1, 2]
    with pytest.raises(ValueError, match="add: expected tensors on one device"):
        f(fb.zeros(2))
    with pytest.raises(RuntimeError, match="cuda: expected a copy to cuda:0 outside of compiled "
                                           "functions and loops, got one inside"):
        fb.compile(lambda x: x.cuda())(fb.zeros(2))


def test_gradients_flow_back_through_a_copy(driver):
    w = fb.tensor([1.0, 2.0], requires_grad=True)
    (w.cuda() * 3).sum().backward()
    assert w.grad.tolist() == [3, 3] and w.grad.device == "cpu"


def test_copies_and_pickles(driver):
    x = fb.tensor([1.0, 2.0], device="cuda")
    again = copy.deepcopy(x)
    again[0] = 9
    assert again.is_cuda and x.tolist() == [1, 2] and again.tolist() == [9, 2]
    loaded = pickle.loads(pickle.dumps(x))
    assert loaded.tolist() == [1, 2] and loaded.device == "cpu"  # files need no GPU


def test_looking_inside(driver):
    f = fb.compile(lambda x: (x * 0.5).softmax(0))
    x = fb.tensor([1.0, 2.0], device="cuda")
    f(x)
    assert ".target sm_90" in f.ptx() and "nvptx" in f.llvm_ir()
    text = f.explain()
    assert "PTX on cuda:0" in text and "registers" in text
    assert all(r["microseconds"] > 0 for r in f.profile(seconds=0.0).rows)
    f(x.cpu())
    with pytest.raises(RuntimeError, match="ptx: expected a program on a GPU, got <lambda> on the "
                                           "cpu"):
        f.ptx()


def test_what_a_gpu_is(driver):
    p = fb.cuda.get_device_properties()
    assert (p.major, p.minor) == fb.cuda.get_device_capability() == (9, 0)
    assert p.name == fb.cuda.get_device_name("cuda:0") and p.multi_processor_count == 4
    free, total = fb.cuda.memory_info()
    assert 0 < free <= total == p.total_memory
    assert fb.cuda.is_available() and fb.cuda.why_not() == "" and fb.cuda.device_count() == 1
    held = fb.zeros(1000, device="cuda").realize()
    assert fb.cuda.max_memory_allocated() >= fb.cuda.memory_allocated() >= held.nbytes
    assert "compute capability 9.0, 4 multiprocessors" in info.cuda()


class Foreign:
    """Another library's array: what a tensor says of itself, and no more."""

    def __init__(self, t):
        self.t, self.asked = t, []

    @property
    def __cuda_array_interface__(self):
        return self.t.__cuda_array_interface__

    def __dlpack__(self, stream=None, **_):
        self.asked.append(stream)
        return self.t.__dlpack__(stream=stream)

    def __dlpack_device__(self):
        return self.t.__dlpack_device__()


def test_memory_is_shared_by_the_array_interface(driver):
    x = fb.arange(6, device="cuda").float().reshape(2, 3)
    seen = x.__cuda_array_interface__
    assert seen["version"] == 3 and seen["stream"] == 1 and seen["strides"] is None
    assert x.t().__cuda_array_interface__["strides"] == (4, 12)
    y = fb.asarray(Foreign(x))
    assert y._storage.leaf.arg.pointer == seen["data"][0] and y.tolist() == x.tolist()
    assert fb.asarray(Foreign(x.t())).tolist() == x.t().tolist()
    x[0] = 9  # exported memory is not written: the other side keeps what it saw
    assert y.tolist() == [[0, 1, 2], [3, 4, 5]] and x[0].tolist() == [9, 9, 9]
    assert not hasattr(fb.ones(2), "__cuda_array_interface__")
    side = fb.cuda.Stream()
    with fb.cuda.stream(side):
        z = (x * 2).realize()
        assert z.__cuda_array_interface__["stream"] == side.handle


def test_memory_is_shared_by_dlpack(driver):
    x = fb.arange(6, device="cuda").float().reshape(2, 3)
    other = Foreign(x)
    y = fb.from_dlpack(other)
    assert y.is_cuda and y.tolist() == x.tolist() and other.asked == [1]
    assert x.__dlpack_device__() == (2, 0)
    assert foreign.from_capsule(Foreign(x[:, 1:])).tolist() == [[1, 2], [4, 5]]
    capsule = x.__dlpack__()
    assert len(sharing._exported) == 2
    del capsule  # that nobody took
    assert len(sharing._exported) == 1
    del y
    assert not sharing._exported
    used = x.__dlpack__()
    sharing.take(used)
    with pytest.raises(BufferError, match="from_dlpack: expected an unused DLPack capsule"):
        sharing.take(used)
    with pytest.raises(BufferError, match="dlpack: expected device"):
        x.__dlpack__(dl_device=(1, 0))


@pytest.mark.parametrize("dtype", ["float32", "int16"])
def test_what_an_order_serves_stays_on_the_device(driver, dtype):
    """Medians, modes, partitions and quantiles; of sets, the host sees how many there are."""
    a = np.random.default_rng(3).integers(-4, 5, (5, 37)).astype(np.float64)
    if dtype == "float32":
        a[1, 3:6], a[2], a[a == 2] = np.nan, np.nan, -0.0

    def made(device):
        t = fb.tensor(a, device=device).to(dtype=dtype)
        by_rank = [*t.median(1), *t.nanmedian(0), *t.mode(1), *t.mode(0), fb.median(t),
                   fb.partition(t, 9, 1)[:, 9], fb.quantile(t.float(), [0.1, 0.75], axis=1),
                   t.take_along_axis(fb.argpartition(t, 2, 0), 0)[2], t.isin(t[0])]
        return by_rank, lambda: [*fb.unique(t, True, True, return_index=True),
                                 *fb.unique(t, True, return_index=True, equal_nan=False),
                                 fb.bincount(t.nan_to_num(0.0).long() + 4, minlength=3),
                                 fb.bincount(t.nan_to_num(0.0).long() + 4, weights=t.isnan())]

    (ranks, sets), (there, sets_there) = made("cpu"), made("cuda")
    driver.calls.clear()
    for t in there:
        t.realize()
    assert "memcpy_dtoh_async" not in driver.names()
    found = sets_there()
    lengths = [c.arguments[0] for c in driver.calls if c.name == "memcpy_dtoh_async"]
    assert lengths and max(lengths) <= 16
    for mine, want in zip((*there, *found), (*ranks, *sets()), strict=True):
        assert mine.device == "cuda:0" and mine.dtype == want.dtype
        np.testing.assert_array_equal(mine.numpy(), want.numpy())


def test_a_median_is_the_first_of_its_equals_whether_other_lines_have_nan_or_not():
    a = np.array([[2.0, 1.0, 1.0, 0.0, 3.0], [np.nan, 1.0, 0.0, 1.0, 1.0]])
    whole = fb.tensor(a).nanmedian(1).indices.tolist()
    assert whole == [1, 1] and fb.tensor(a[0]).median(0).indices.item() == 1


def test_a_view_brings_to_the_host_what_lies_between_its_ends(driver):
    a = np.arange(600, dtype=np.float32).reshape(20, 30)
    t = fb.tensor(a, device="cuda")
    for read, lengths in ((lambda t: t[-1, -1], [4]), (lambda t: t[3:5, 4:9], [4 * 35]),
                          (lambda t: t.flip(0)[1:3, ::-2], [4 * 60 - 4]), (lambda t: t[:0], []),
                          (lambda t: t[2].expand(3, 30), [4 * 30])):
        driver.calls.clear()
        np.testing.assert_array_equal(read(t).numpy(), read(fb.tensor(a)).numpy())
        assert [c.arguments[0] for c in driver.calls if c.name == "memcpy_dtoh_async"] == lengths


def test_what_goes_wrong_on_the_device_is_told_whatever_pycuda_calls_it(driver, monkeypatch):
    x = (fb.tensor([1.0], device="cuda") + 1).realize()

    def broken():
        raise driver.LogicError("cuCtxSynchronize failed: an illegal memory access")

    monkeypatch.setattr(drivers, "wait", broken)
    with pytest.raises(RuntimeError, match="cuda:0: expected all kernels to end well, got: cuCtx"
                                           "Synchronize failed: an illegal memory access; this"):
        fb.cuda.synchronize()
    assert x.tolist() == [2.0]
