"""What users of nn and optim read when something is wrong."""

from __future__ import annotations

from typing import Any

import flambeau as fb
import flambeau.nn as nn
import flambeau.optim as optim
import numpy as np
import pytest


def test_the_path_to_the_layer() -> None:
    m = nn.Sequential(nn.Linear(4, 10), nn.Sequential(nn.Tanh(), nn.Linear(5, 3)))
    with pytest.raises(ValueError) as e:
        m.forward(fb.zeros(2, 4))
    assert str(e.value) == ("Sequential[1] > Sequential[1] > Linear(5 -> 3): expected input "
                            "(..., 5), got float32 (2, 10)")


def test_the_path_to_an_operation_in_a_users_layer() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            self.inner = nn.Linear(2, 2)

        def compute(self, input: Any) -> Any:
            return self.inner(input) + fb.ones(3)

    with pytest.raises(ValueError, match=r"Sequential\[0\] > Block: add: expected shapes"):
        nn.Sequential(Block()).forward(fb.ones(1, 2))
    with pytest.raises(ValueError, match=r"Block\.inner > Linear\(2 -> 2\): expected input"):
        Block().forward(fb.ones(3))


@pytest.mark.parametrize("layer, shape, words", [
    (nn.SpatialConvolution(3, 4, 3), (1, 2, 8, 8), r"expected input \(n, 3, h, w\), got float32"),
    (nn.SpatialConvolution(1, 4, 5), (1, 1, 3, 3), "expected an input at least as large"),
    (nn.BatchNormalization(3), (2, 4), r"expected input \(n, 3\), got float32 \(2, 4\)"),
    (nn.BatchNormalization(3), (1, 3), "more than one value a column"),
    (nn.Reshape(2, 3), (2, 4), "expected 6 elements a sample"),
    (nn.View(5), (2, 4), "multiples of 5"),
    (nn.Parallel(0, 0, nn.Tanh()), (2, 2), "expected 1 slices along dimension 0"),
])
def test_shapes(layer: Any, shape: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        layer.forward(fb.zeros(shape))


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match=r"probability in \[0, 1\), got 1"):
        nn.Dropout(1)
    with pytest.raises(ValueError, match="groups that divide 3 and 4"):
        nn.SpatialConvolution(3, 4, 3, groups=2)
    with pytest.raises(TypeError, match="Sequential: expected a module, got function"):
        nn.Sequential(fb.tanh)
    with pytest.raises(IndexError, match="index below 0"):
        nn.Sequential().remove()
    with pytest.raises(ValueError, match="grad_output of shape"):
        nn.Tanh().backward(fb.ones(3), fb.ones(2))
    with pytest.raises(TypeError, match="expected integer indices, got float32"):
        nn.LookupTable(3, 2).forward(fb.ones(2))
    with pytest.raises(RuntimeError, match="cuda: expected a CUDA device, got none"):
        nn.Linear(2, 2).cuda()
    with pytest.raises(NotImplementedError, match="compute"):
        nn.Module().forward(fb.ones(2))
    with pytest.raises(ValueError, match="Tanh has none"):
        nn.Tanh().get_parameters()
    with pytest.raises(ValueError, match="expected a table of 1 tensors, got Tensor"):
        nn.ParallelTable(nn.Tanh()).forward(fb.ones(2))
    with pytest.raises(TypeError, match="expected a tensor or a table"):
        nn.Tanh().forward("x")
    with pytest.raises(AttributeError, match="Tanh: no attribute 'grad_thing'"):
        _ = nn.Tanh().grad_thing


def test_labels_known_at_once() -> None:
    c, x = nn.ClassNLLCriterion(), fb.zeros(2, 3)
    for wrong in (3, -1):
        words = rf"ClassNLLCriterion: expected labels in \[0, 3\), got {wrong} at \[1\]"
        with pytest.raises(IndexError, match=words):
            c.forward(x, fb.tensor([0, wrong]))
    with pytest.raises(TypeError, match="integer labels from 0, got float32"):
        c.forward(x, fb.zeros(2))
    with pytest.raises(ValueError, match=r"labels of shape \(2,\) for input \(2, 3\), got \(3,\)"):
        c.forward(x, fb.tensor([0, 1, 2]))
    with pytest.raises(ValueError, match="expected 3 weights, got"):
        nn.ClassNLLCriterion([1.0, 2.0]).forward(x, fb.tensor([0, 1]))


def test_labels_known_late_name_the_users_line() -> None:
    c, x = nn.CrossEntropyCriterion(), fb.zeros(2, 3)
    late = fb.tensor([0, 2]) + fb.tensor([0, 1])
    loss = c.forward(x, late)  # this line
    with pytest.raises(IndexError, match=r"CrossEntropyCriterion with labels from 0 to 2, .*"
                                         r"test_nn_errors\.py:\d+\)"):
        loss.item()


def test_labels_in_a_compiled_function() -> None:
    c, x = nn.ClassNLLCriterion(), fb.tensor([[-1.0, -2.0, -3.0]] * 2)
    f = fb.compile(lambda y: c(x, y))
    assert f(fb.tensor([0, 2])).item() == 2
    with pytest.raises(IndexError, match="labels from 0 to 2"):
        f(fb.tensor([0, 3]))


def test_targets() -> None:
    with pytest.raises(ValueError, match=r"MSECriterion: expected a target of the input's shape"):
        nn.MSECriterion().forward(fb.zeros(2, 3), fb.zeros(3, 2))


def test_state() -> None:
    m = nn.Linear(2, 2)
    before = m.weight.tolist()
    with pytest.raises(ValueError, match=r"expected the 2 entries of Linear\(2 -> 2\), got missing "
                       r"bias; unknown other; mismatched weight of shape \(3,\) in place of "
                       r"\(2, 2\)"):
        m.load_state_dict({"weight": np.zeros(3), "other": 1})
    with pytest.raises(ValueError, match=r"got mismatched bias of shape \(3,\)"):
        m.load_state_dict({"weight": np.zeros((2, 2)), "bias": np.zeros(3)}, strict=False)
    assert m.weight.tolist() == before


def test_loading_what_is_not_known(tmp_path: Any) -> None:
    class Local(nn.Module):
        def __init__(self, thing: Any) -> None:
            self.thing = thing

    with pytest.raises(TypeError, match="Local: expected plain arguments, got set"):
        fb.save(Local({1, 2}), tmp_path / "x")
    fb.save(Local("a"), tmp_path / "y")
    from flambeau.nn.module import known
    known.pop("Local")
    with pytest.raises(ValueError, match="define or import its class first, got Local"):
        fb.load(tmp_path / "y")


def test_optimisers() -> None:
    w = fb.ones(2).requires_grad_()
    with pytest.raises(TypeError, match="SGD: expected a module, tensors or groups"):
        optim.SGD(3)
    with pytest.raises(ValueError, match="Linear: expected sizes of 0 or more, got -1 and 2"):
        nn.Linear(-1, 2)
    with pytest.raises(ValueError, match="SGD: expected parameters, got none"):
        optim.SGD([])
    with pytest.raises(ValueError, match="expected lr of 0 or more, got -1"):
        optim.SGD([w], lr=-1)
    with pytest.raises(ValueError, match="momentum and no dampening for nesterov"):
        optim.SGD([w], nesterov=True)
    with pytest.raises(ValueError, match=r"each parameter once, got one of shape \(2,\) twice"):
        optim.SGD([{"params": [w]}, {"params": [w]}])
    with pytest.raises(TypeError, match=r"hyperparameters among .*, got \['rate'\]"):
        optim.Adam([{"params": [w], "rate": 1}])
    with pytest.raises(TypeError, match="expected floating tensors"):
        optim.SGD([fb.tensor([1])])
    with pytest.raises(ValueError, match=r"betas in \[0, 1\)"):
        optim.Adam([w], betas=(0.9, 1.0))
