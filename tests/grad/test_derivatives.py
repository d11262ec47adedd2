"""Every public function that has a derivative, checked: by differences, forward and second order.

The list is the library's own: a function that is in no case and not among those without derivatives
fails. The graphs are computed node by node (the reference device), where all cases take seconds;
some are compiled too, and FLAMBEAU_TEST_DERIVATIVES=compiled compiles all of them (minutes).
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator
from typing import Any

import flambeau as fb
import pytest
from derivative_cases import CASES, A, Case
from derivative_check import Check
from flambeau.compiler.config import override

WITHOUT = {  # public functions without a case, by their reason
    "gives booleans or whole numbers": """
        all any allclose array_equal argmax argmin argpartition argsort argwhere bitwise_and
        bitwise_invert bitwise_left_shift bitwise_or bitwise_right_shift bitwise_xor bucketize
        count_nonzero eq equal flatnonzero ge gt histc bhistc isclose isfinite isin isinf isnan
        isneginf isposinf le logical_and logical_not logical_or logical_xor lt ne nonzero one_hot
        searchsorted signbit is_complex is_tensor linalg.matrix_rank histogram_bin_edges nms
        quantize""",
    "makes a tensor of numbers": """
        arange asarray diag_indices empty empty_like eye from_dlpack from_numpy full full_like
        indices iota_like linspace logspace map_storage ones ones_like range_ tensor tri
        tril_indices triu_indices zeros zeros_like ix_ bartlett_window blackman_window
        hamming_window hann_window fft.fftfreq fft.rfftfreq Tensor.new_empty
        Tensor.new_full Tensor.new_ones Tensor.new_tensor Tensor.new_zeros""",
    "draws whole numbers, or numbers of no parameter": """
        bernoulli binomial geometric integers multinomial multinomial_alias
        multinomial_alias_setup poisson rand rand_like randn randn_like randperm dropout_mask""",
    "asks about or sets something": """
        broadcast_shapes can_cast compile_report compute default_dtype detect_nan eager empty_cache
        enable_grad finfo get_rng_state iinfo initial_seed is_grad_enabled isdtype manual_seed
        memory no_grad no_sync num_cores num_threads numel promote_types reset_peak_memory
        result_type seed set_default_dtype set_grad_enabled set_num_threads set_rng_state
        sync_report threads tic toc Tensor.buffer Tensor.detach Tensor.dim Tensor.element_size
        Tensor.graph Tensor.is_contiguous Tensor.is_same_size Tensor.is_set_to Tensor.is_size
        Tensor.item Tensor.numpy Tensor.numel Tensor.storage Tensor.storage_offset Tensor.stride
        Tensor.tolist Tensor.realize""",
    "makes functions, which have tests of their own": """
        compile custom_op elementwise backward grad value_and_grad vjp jvp jacobian hessian
        gradcheck gradcheck_module scan while_loop Tensor.apply""",
    "reads or writes files and pictures, or is SciPy's": """
        load load_checkpoint save save_checkpoint from_pil to_pil flat_function linear_operator""",
    "is linalg's function, which has a case, as Torch7 spells it": """
        btrifact btrisolve eig gels gesv inverse orgqr ormqr potrf potri potrs pstrf qr svd symeig
        trtrs""",
    "rounds: its gradient is not that of its value, see tests/ops": "fake_quantize",
    "works on the bits": "bitcast nextafter Tensor.type",
    "documented to have none": "as_strided linalg.geqrf",
    "drawn by rejection, checked in tests/ops/test_distributions.py":
        "gamma beta chisquare student_t dirichlet",
    "rejects parameters that require gradients, documented": "von_mises truncated_normal",
    "is a cast": """
        Tensor.bfloat16 Tensor.bool Tensor.byte Tensor.cdouble Tensor.cfloat Tensor.char
        Tensor.double Tensor.float Tensor.half Tensor.int Tensor.long Tensor.short""",
    "needs a GPU": "Tensor.cuda",
}
COMPILED = ("atan2", "lgamma", "var", "logcumsumexp", "renorm", "index_add", "sort", "mm", "conv2d",
            "max_pool2d", "gather", "linalg.solve", "fft.rfft")


def functions(module: Any, title: str) -> Iterator[tuple[str, Any]]:
    for name in sorted({*dir(module), *getattr(module, "_LATER", ())}):
        f = getattr(module, name)
        if not name.startswith("_") and callable(f) and not inspect.isclass(f):
            yield f"{title}{name}", f


def registry() -> dict[int, set[str]]:
    """Every public function under all its names: fb, fb.linalg, fb.fft and the methods (but those
    in place, which are made from them)."""
    found: dict[int, set[str]] = {}
    for name, f in functions(fb, ""):
        found.setdefault(id(f), set()).add(name)
    for module, title in ((fb.linalg, "linalg."), (fb.fft, "fft.")):
        for name, f in functions(module, title):
            if getattr(f, "__module__", "").startswith(module.__name__):
                found.setdefault(id(f), set()).add(name)
    for name, f in functions(fb.Tensor, "Tensor."):
        if not name.endswith("_"):
            found.setdefault(id(f), set()).add(name)
    return found


def test_every_public_function_has_a_case_or_a_reason() -> None:
    without = {name for names in WITHOUT.values() for name in names.split()}
    lacking = []
    for names in registry().values():
        plain = names | {n.removeprefix("Tensor.") for n in names}
        if not plain & set(CASES) and not names & without:
            lacking.append(" = ".join(sorted(names)))
    assert not lacking, f"neither in derivative_cases.py nor in WITHOUT: {lacking}"
    known = {name for names in registry().values() for name in names}
    gone = [n for n in (*without, *CASES) if n not in known and f"Tensor.{n}" not in known]
    assert not gone, f"listed, but no function of the library: {gone}"
    assert not without & set(CASES), "both with and without a derivative"


def check(name: str, device: str) -> None:
    case, failures = CASES[name], []
    with override(device=device):
        for kind in ("real", "complex")[:1 + case.complex]:
            found = Check(name, case, kind)
            fb.compute(*found.values())
            failures += found.failures()
    assert not failures, "\n".join(failures)


@pytest.mark.parametrize("name", CASES)
def test_derivative(name: str) -> None:
    check(name, "reference")


@pytest.mark.parametrize(
    "name", CASES if os.environ.get("FLAMBEAU_TEST_DERIVATIVES") == "compiled" else COMPILED)
def test_compiled_derivative(name: str) -> None:
    check(name, "cpu")


def test_functions_of_nothing_have_derivatives() -> None:
    """jvp of a result that does not depend on the input failed with IndexError."""
    value, slope = fb.jvp(fb.sign, [fb.tensor([1.0, -2.0])], [fb.ones(2)])
    assert value.tolist() == [1, -1] and slope.tolist() == [0, 0]
    value, back = fb.vjp(lambda x: fb.ones(2), fb.ones(3))
    assert back(fb.ones(2))[0].tolist() == [0, 0, 0]


def test_a_wrong_derivative_is_found() -> None:
    cut = Check("cut", Case(lambda x: x * x.detach(), (A,)))
    assert next(line.split(":")[1].strip() for line in cut.failures()) == "reverse mode"


def test_unique_gives_gradients_to_the_first_of_each() -> None:
    x = fb.tensor([3.0, 1.0, 3.0, 2.0], requires_grad=True)
    values, inverse = fb.unique(x, return_inverse=True)
    (values * fb.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert x.grad.tolist() == [3, 1, 0, 2] and inverse.tolist() == [2, 0, 2, 1]
    rows = fb.tensor([[1.0, 2.0], [1.0, 2.0]], requires_grad=True)
    fb.unique(rows, axis=0).sum().backward()
    assert rows.grad.tolist() == [[1, 1], [0, 0]]
