"""filter2d against F.conv2d, F.unfold and numerical derivatives."""

import doctest
import math
import shutil
import sys

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck

from misf_lite import filter2d, filtering

PADDINGS = ("zeros", "reflect")
TORCH_PAD = {"zeros": "constant", "reflect": "reflect"}


def by_unfold(x, kernels, dilation=1, padding="reflect"):
    """The same filter from torch's own padding and F.unfold."""
    (B, C, H, W), (G, K) = x.shape, kernels.shape[1:3]
    N = math.isqrt(K)
    r = N // 2 * dilation
    patches = F.unfold(F.pad(x, (r, r, r, r), mode=TORCH_PAD[padding]), N, dilation=dilation)
    return (patches.view(B, G, C // G, K, H, W) * kernels.unsqueeze(2)).sum(3).flatten(1, 2)


def random_pair(B, C, G, N, H, W, dtype=torch.float64, seed=0):
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(B, C, H, W, generator=rng, dtype=torch.float64)
    kernels = torch.randn(B, G, N * N, H, W, generator=rng, dtype=torch.float64)
    return x.to(dtype), kernels.to(dtype)


@pytest.mark.parametrize("dilation", [1, 2, 3])
@pytest.mark.parametrize("N", [1, 3, 5])
def test_one_kernel_for_all_pixels_is_a_convolution(N, dilation):
    x, _ = random_pair(2, 4, 4, N, 11, 8)
    weights = torch.randn(4, N * N, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    kernels = weights.view(1, 4, N * N, 1, 1).expand(2, 4, N * N, 11, 8)
    expected = F.conv2d(x, weights.view(4, 1, N, N), padding=N // 2 * dilation, dilation=dilation, groups=4)
    torch.testing.assert_close(filter2d(x, kernels, dilation=dilation, padding="zeros"), expected)


@settings(max_examples=60, deadline=None)
@given(
    B=st.integers(1, 3),
    groups=st.sampled_from([(1, 1), (3, 1), (3, 3), (6, 2), (6, 3), (8, 8)]),
    N=st.sampled_from([1, 3, 5]),
    dilation=st.integers(1, 2),
    padding=st.sampled_from(PADDINGS),
    H=st.integers(5, 12),
    W=st.integers(5, 12),
    seed=st.integers(0, 99),
)
def test_random_kernels_agree_with_unfold(B, groups, N, dilation, padding, H, W, seed):
    x, kernels = random_pair(B, *groups, N, H, W, seed=seed)
    expected = by_unfold(x, kernels, dilation, padding)
    torch.testing.assert_close(filter2d(x, kernels, dilation=dilation, padding=padding), expected)


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("G", [1, 3])
def test_a_delta_kernel_is_exactly_the_identity(G, padding):
    x = random_pair(2, 3, G, 5, 9, 13, torch.float32)[0]
    kernels = torch.zeros(2, G, 25, 9, 13)
    kernels[:, :, 12] = 1
    assert torch.equal(filter2d(x, kernels, padding=padding), x)


def test_tap_0_reads_the_upper_left_neighbour():
    x = torch.arange(9.0).view(1, 1, 3, 3)
    kernels = torch.zeros(1, 1, 9, 3, 3)
    kernels[:, :, 0] = 1
    assert filter2d(x, kernels, padding="zeros")[0, 0].tolist() == [[0, 0, 0], [0, 0, 1], [0, 3, 4]]


@pytest.mark.parametrize("padding", PADDINGS)
def test_a_kernel_larger_than_the_image_is_padded_like_numpy(padding):
    import numpy as np

    x, kernels = random_pair(1, 2, 2, 7, 2, 3)
    padded = torch.from_numpy(np.pad(x.numpy(), ((0, 0), (0, 0), (6, 6), (6, 6)), mode=TORCH_PAD[padding]))
    patches = F.unfold(padded, 7, dilation=2).view(1, 2, 49, 2, 3)
    expected = (patches * kernels).sum(2)
    torch.testing.assert_close(filter2d(x, kernels, dilation=2, padding=padding), expected)


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("G", [1, 2, 4])
def test_derivatives_are_right(G, dilation, padding):
    x, kernels = (t.requires_grad_() for t in random_pair(1, 4, G, 3, 2, 3))
    assert gradcheck(lambda x, kernels: filter2d(x, kernels, dilation=dilation, padding=padding), (x, kernels))


def test_a_second_derivative_is_refused():
    x, kernels = (t.requires_grad_() for t in random_pair(1, 2, 1, 3, 3, 3))
    (first,) = torch.autograd.grad(filter2d(x, kernels).pow(3).sum(), kernels, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


def test_the_example_in_the_docstring_is_true():
    assert doctest.testmod(filtering) == (0, 4)


@pytest.mark.parametrize(("C", "G"), [(70, 70), (70, 1), (70, 35)])
def test_the_result_does_not_depend_on_the_blocks_of_channels(C, G, monkeypatch):
    x, kernels = (t.requires_grad_() for t in random_pair(2, C, G, 3, 6, 5))
    whole = filter2d(x, kernels)
    expected = torch.autograd.grad(whole.pow(2).sum(), (x, kernels))
    monkeypatch.setattr("misf_lite.filtering.BLOCK", 2 * 6 * 5 * 16)
    blocked = filter2d(x, kernels)
    torch.testing.assert_close(blocked, whole)
    torch.testing.assert_close(torch.autograd.grad(blocked.pow(2).sum(), (x, kernels)), expected)


@pytest.mark.parametrize("G", [1, 2, 6])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_summed_in_float32(dtype, G):
    x, kernels = (t.requires_grad_() for t in random_pair(2, 6, G, 5, 8, 7, dtype))
    y = filter2d(x, kernels)
    exact = by_unfold(x.double(), kernels.double())
    # One rounding at the end, none on the way: half a unit in the last place.
    assert y.dtype == dtype
    assert (
        torch.equal(y, exact.float().to(dtype)) or (y - exact).abs().max() <= torch.finfo(dtype).eps * exact.abs().max()
    )
    gx, gk = torch.autograd.grad(y.sum(), (x, kernels))
    assert gx.dtype == gk.dtype == dtype
    ex, ek = torch.autograd.grad(exact.sum(), (x, kernels))
    for got, expected in ((gx, ex), (gk, ek)):
        assert (got - expected).abs().max() <= 2 * torch.finfo(dtype).eps * expected.abs().max()


def test_mixed_dtypes_give_the_wider_one_and_each_gradient_its_own():
    x, kernels = random_pair(1, 2, 1, 3, 6, 6)
    x, kernels = x.float().requires_grad_(), kernels.bfloat16().requires_grad_()
    y = filter2d(x, kernels)
    y.sum().backward()
    assert (y.dtype, x.grad.dtype, kernels.grad.dtype) == (torch.float32, torch.float32, torch.bfloat16)


def test_under_autocast_kernels_from_a_convolution_filter_in_their_precision():
    head = torch.nn.Conv2d(2, 9, 1)
    x = torch.rand(1, 2, 8, 8, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        kernels = head(x).unflatten(1, (1, 9))
        y = filter2d(x, kernels)
    assert kernels.dtype == torch.bfloat16 and y.dtype == torch.float32
    torch.testing.assert_close(y, by_unfold(x, kernels.float()))
    y.sum().backward()
    assert head.weight.grad.isfinite().all() and x.grad.isfinite().all()


def test_channels_last_gives_the_same_and_stays_channels_last():
    x, kernels = random_pair(2, 4, 4, 3, 6, 8)
    last = x.contiguous(memory_format=torch.channels_last)
    y = filter2d(last, kernels.flatten(1, 2).contiguous(memory_format=torch.channels_last).unflatten(1, (4, 9)))
    assert y.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(y, filter2d(x, kernels), check_stride=False)


@pytest.mark.skipif(
    sys.platform == "win32" or not (shutil.which("c++") or shutil.which("g++")),
    reason="torch.compile on a CPU needs a C++ compiler",
)
@pytest.mark.filterwarnings("default")
def test_compiled_and_eager_agree_in_values_and_gradients():
    x, kernels = (t.requires_grad_() for t in random_pair(2, 4, 2, 3, 9, 7, torch.float32))
    compiled = torch.compile(filter2d, fullgraph=True)
    eager = filter2d(x, kernels, dilation=2)
    fused = compiled(x, kernels, dilation=2)
    torch.testing.assert_close(fused, eager)
    expected = torch.autograd.grad(eager.pow(2).sum(), (x, kernels))
    torch.testing.assert_close(torch.autograd.grad(fused.pow(2).sum(), (x, kernels)), expected)


@pytest.mark.parametrize(("padding", "dynamic"), [("reflect", None), ("reflect", True), ("zeros", None)])
@pytest.mark.filterwarnings("default")
def test_one_compiled_filter_serves_every_size(padding, dynamic):
    torch._dynamo.reset()
    compiled = torch.compile(filter2d, fullgraph=True, dynamic=dynamic, backend="aot_eager")
    for H in range(5, 15):  # more sizes than torch would recompile for
        for N in (3, 5):
            x, kernels = random_pair(1, 2, 1, N, H, H + 2, torch.float32)
            torch.testing.assert_close(compiled(x, kernels, padding=padding), filter2d(x, kernels, padding=padding))


@pytest.mark.parametrize("x_dtype", [torch.float32, torch.bfloat16])
def test_only_what_was_given_is_kept_for_backward(x_dtype):
    x, kernels = torch.rand(1, 3, 32, 32, dtype=x_dtype, requires_grad=True), torch.rand(1, 3, 9, 32, 32)
    kernels = kernels.bfloat16().requires_grad_()
    saved = filter2d(x, kernels).grad_fn.saved_tensors
    assert {t.data_ptr() for t in saved} == {x.data_ptr(), kernels.data_ptr()}


def test_an_empty_batch_gives_an_empty_batch():
    x, kernels = torch.zeros(0, 2, 4, 4, requires_grad=True), torch.zeros(0, 1, 9, 4, 4, requires_grad=True)
    filter2d(x, kernels).sum().backward()
    assert x.grad.shape == x.shape and kernels.grad.shape == kernels.shape


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_cuda_and_cpu_agree():
    x, kernels = (t.requires_grad_() for t in random_pair(2, 6, 3, 3, 9, 7, torch.float32))
    on_cpu = filter2d(x, kernels)
    on_gpu = filter2d(x.cuda(), kernels.cuda())
    torch.testing.assert_close(on_gpu.cpu(), on_cpu)
    expected = torch.autograd.grad(on_cpu.pow(2).sum(), (x, kernels))
    torch.testing.assert_close(torch.autograd.grad(on_gpu.pow(2).sum(), (x, kernels)), expected)


@pytest.mark.parametrize(
    ("x_shape", "k_shape", "options", "message"),
    [
        ((3, 8, 8), (1, 1, 9, 8, 8), {}, "expects x"),
        ((1, 3, 8, 8), (1, 9, 8, 8), {}, "expects x"),
        ((1, 3, 8, 8), (1, 1, 9, 8, 9), {}, "expects x"),
        ((1, 3, 8, 8), (2, 1, 9, 8, 8), {}, "expects x"),
        ((1, 3, 8, 8), (1, 2, 9, 8, 8), {}, "where G divides C"),
        ((1, 3, 8, 8), (1, 1, 4, 8, 8), {}, "N odd"),
        ((1, 3, 8, 8), (1, 1, 8, 8, 8), {}, "N odd"),
        ((1, 3, 8, 8), (1, 1, 9, 8, 8), {"padding": "circular"}, "padding is 'reflect' or 'zeros'"),
        ((1, 3, 8, 8), (1, 1, 9, 8, 8), {"dilation": 0}, "dilation"),
        ((1, 3, 8, 8), (1, 1, 9, 8, 8), {"dilation": 1.5}, "dilation"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_was_given(x_shape, k_shape, options, message):
    with pytest.raises(ValueError, match=message):
        filter2d(torch.zeros(x_shape), torch.zeros(k_shape), **options)


def test_whole_numbers_are_refused():
    with pytest.raises(TypeError, match=r"convert with \.float"):
        filter2d(torch.zeros(1, 1, 8, 8, dtype=torch.uint8), torch.zeros(1, 1, 9, 8, 8))
