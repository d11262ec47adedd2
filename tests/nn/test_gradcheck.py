"""Every layer, container and criterion against finite differences, through its backward pass."""

from __future__ import annotations

from typing import Any

import flambeau as fb
import flambeau.nn as nn
import numpy as np
import pytest


def data(*shape: int, seed: int = 0) -> Any:
    return fb.tensor(np.random.default_rng(seed).standard_normal(shape))


LAYERS = {
    "Linear": (lambda: nn.Linear(4, 3), (2, 4)),
    "Linear one sample": (lambda: nn.Linear(4, 3), (4,)),
    "Linear three axes": (lambda: nn.Linear(4, 3, bias=False), (2, 2, 4)),
    "SpatialConvolution": (lambda: nn.SpatialConvolution(2, 3, 3, 2, 2, 1, 1, 1), (1, 2, 4, 4)),
    "groups": (lambda: nn.SpatialConvolution(4, 4, 2, 2, groups=2), (1, 4, 3, 3)),
    "dilated": (lambda: nn.SpatialDilatedConvolution(1, 2, 2, 2, 1, 1, 0, 0, 2, 2), (1, 1, 4, 4)),
    "SpatialMaxPooling": (lambda: nn.SpatialMaxPooling(2, 2), (1, 2, 4, 4)),
    "overlapping": (lambda: nn.SpatialMaxPooling(3, 3, 2, 2).ceil(), (1, 1, 5, 6)),
    "SpatialAveragePooling": (lambda: nn.SpatialAveragePooling(3, 2, 2, 1, 1, 1), (1, 1, 4, 5)),
    "Tanh": (nn.Tanh, (5,)), "Sigmoid": (nn.Sigmoid, (5,)), "ReLU": (nn.ReLU, (5,)),
    "LeakyReLU": (lambda: nn.LeakyReLU(0.2), (5,)), "ELU": (lambda: nn.ELU(1.5), (5,)),
    "GELU": (nn.GELU, (5,)), "GELU tanh": (lambda: nn.GELU("tanh"), (5,)), "SiLU": (nn.SiLU, (5,)),
    "SoftPlus": (lambda: nn.SoftPlus(2.0), (5,)), "SoftMax": (nn.SoftMax, (2, 4)),
    "SoftMax dim": (lambda: nn.SoftMax(dim=1), (1, 3, 2, 2)), "LogSoftMax": (nn.LogSoftMax, (2, 4)),
    "Reshape": (lambda: nn.Reshape(2, 2), (3, 4)), "View": (lambda: nn.View(-1), (2, 3)),
    "Flatten": (nn.Flatten, (2, 2, 3)), "Identity": (nn.Identity, (3,)),
    "Dropout": (lambda: nn.Dropout(0.5).evaluate(), (4,)),
    "BatchNormalization": (lambda: nn.BatchNormalization(3), (4, 3)),
    "BatchNormalization evaluate": (lambda: nn.BatchNormalization(3).evaluate(), (2, 3)),
    "SpatialBatchNormalization": (lambda: nn.SpatialBatchNormalization(2), (2, 2, 2, 2)),
    "Sequential": (lambda: nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2),
                                         nn.LogSoftMax()), (2, 3)),
    "Concat": (lambda: nn.Concat(1, nn.Linear(3, 2), nn.Identity(), nn.Tanh()), (2, 3)),
    "Parallel": (lambda: nn.Parallel(1, 1, nn.Linear(3, 2), nn.Linear(3, 1)), (2, 2, 3)),
    "ConcatTable": (lambda: nn.ConcatTable(nn.Linear(3, 2), nn.Sigmoid()), (2, 3)),
    "residual": (lambda: nn.Sequential(nn.ConcatTable(nn.Linear(3, 3), nn.Identity()), Add()),
                 (2, 3)),
}


class Add(nn.Module):
    """The sum of a table."""

    def compute(self, input: Any) -> Any:
        return input[0] + input[1]


@pytest.mark.parametrize("name", LAYERS)
def test_layer(name: str) -> None:
    make, shape = LAYERS[name]
    fb.manual_seed(1)
    assert fb.gradcheck_module(make().double(), data(*shape))


def test_table_input() -> None:
    m = nn.ParallelTable(nn.Linear(3, 2), nn.Tanh()).double()
    assert fb.gradcheck_module(m, [data(2, 3), data(4)])


def test_lookup_table() -> None:
    m = nn.LookupTable(5, 3).double()
    assert fb.gradcheck_module(m, fb.tensor([[0, 4], [4, 2]]))


CRITERIA = {
    "ClassNLL": (nn.ClassNLLCriterion, "labels"),
    "ClassNLL weights": (lambda: nn.ClassNLLCriterion([0.5, 1.0, 2.0, 0.1]), "labels"),
    "ClassNLL sum": (lambda: nn.ClassNLLCriterion(size_average=False), "labels"),
    "ClassNLL ignore": (lambda: nn.ClassNLLCriterion(ignore_index=-100), "ignored"),
    "CrossEntropy": (nn.CrossEntropyCriterion, "labels"),
    "CrossEntropy all": (lambda: nn.CrossEntropyCriterion([1.0, 2.0, 3.0, 4.0], True, 3), "labels"),
    "MSE": (nn.MSECriterion, "same"), "Abs": (nn.AbsCriterion, "same"),
    "SmoothL1": (nn.SmoothL1Criterion, "same"), "BCE": (nn.BCECriterion, "chances"),
    "BCE weights": (lambda: nn.BCECriterion([0.5, 1.0, 2.0, 0.1]), "chances"),
}


@pytest.mark.parametrize("name", CRITERIA)
def test_criterion(name: str) -> None:
    make, kind = CRITERIA[name]
    c = make()
    x = data(3, 4)
    target = {"labels": fb.tensor([1, 3, 0]), "ignored": fb.tensor([1, -100, 0]),
              "same": data(3, 4, seed=1), "chances": data(3, 4, seed=1).sigmoid()}[kind]
    if kind == "chances":
        x = x.sigmoid()

    class Loss(nn.Module):
        def update_output(self, input: Any) -> Any:
            return c.forward(input, target)

        def update_grad_input(self, input: Any, grad_output: Any) -> Any:
            return c.backward(input, target) * grad_output

    assert fb.gradcheck_module(Loss(), x)
    assert fb.gradcheck(lambda x: c(x, target), x, order=2)


def test_gradcheck_module_names_the_place() -> None:
    class Wrong(nn.Module):
        def update_output(self, input: Any) -> Any:
            return input * input

        def update_grad_input(self, input: Any, grad_output: Any) -> Any:
            return input * grad_output

        def acc_grad_parameters(self, input: Any, grad_output: Any, scale: float = 1) -> None:
            pass

    with pytest.raises(AssertionError, match=r"Wrong: input 0, element \[\d\]"):
        fb.gradcheck_module(Wrong(), data(3))
    with pytest.raises(TypeError, match="float64 parameters"):
        fb.gradcheck_module(nn.Linear(2, 2), data(2))
