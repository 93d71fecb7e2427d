"""The per-pixel filter, the one operation that predictive filtering is made of.

Every pixel has a kernel of its own::

    out[b, c, h, w] = Σ_t  kernels[b, g(c), t, h, w] · x[b, c, h + (i - N//2)·dilation, w + (j - N//2)·dilation]

with ``t = i·N + j``. For N = 3 the taps are numbered like this, tap 4 being the pixel itself::

    0 1 2
    3 4 5
    6 7 8

(MISF, section 3.1: the filtering written ⊛.)
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

PADDINGS = ("zeros", "reflect", "replicate")

# Eager work goes in blocks of channels that stay in a core's cache (measured: `misf-lite bench filter`).
BLOCK = 1 << 18  # elements


def filter2d(x: Tensor, kernels: Tensor, *, dilation: int = 1, padding: str = "reflect") -> Tensor:
    """Filter every pixel of ``x`` with its own N×N kernel: cross-correlation, like ``F.conv2d``.

    Args:
        x: ``(B, C, H, W)``, any float dtype, any values: an image or a feature map.
        kernels: ``(B, G, N*N, H, W)``, N odd. G divides C, and group g filters channels
            ``g*C//G … (g+1)*C//G - 1``: G = 1 shares one kernel among all channels, G = C is the paper's.
        dilation: distance in pixels between neighbouring taps.
        padding: what lies beyond the border: ``"zeros"``, ``"reflect"`` (the border pixel is not
            repeated) or ``"replicate"``. Works at any size, also when the kernel is larger than the image.

    Returns:
        ``(B, C, H, W)`` in the wider dtype of the two; half precisions are summed in float32.

    Raises:
        ValueError, TypeError: shapes, dtypes or options that do not fit, with what was given.

    No N²-fold copy of ``x`` is made, nothing but ``x`` and ``kernels`` is kept for backward, and
    derivatives of any order exist.
    """
    _check(x, kernels, dilation, padding)
    dtype = torch.promote_types(x.dtype, kernels.dtype)
    x, kernels = x.to(dtype), kernels.to(dtype)
    if torch.compiler.is_compiling():
        return _plain(x, kernels, dilation, padding)
    return _Filter.apply(x, kernels, dilation, padding)


def _check(x: Tensor, kernels: Tensor, dilation: int, padding: str) -> None:
    if x.dim() != 4 or kernels.dim() != 5:
        raise ValueError(
            f"filter2d expects x (B, C, H, W) and kernels (B, G, N*N, H, W), "
            f"got {tuple(x.shape)} and {tuple(kernels.shape)}"
        )
    if not (x.is_floating_point() and kernels.is_floating_point()):
        raise TypeError(f"filter2d expects float tensors, got {x.dtype} and {kernels.dtype}: convert with .float()")
    (B, C, H, W), (kB, G, K, kH, kW) = x.shape, kernels.shape
    if (kB, kH, kW) != (B, H, W):
        raise ValueError(f"batch, height and width differ: x has {(B, H, W)}, kernels have {(kB, kH, kW)}")
    if G == 0 or C % G:
        raise ValueError(f"the number of kernel groups must divide the channels, got G = {G} and C = {C}")
    if math.isqrt(K) ** 2 != K or K % 2 == 0:
        raise ValueError(f"kernels need N*N taps with N odd (1, 9, 25, 49, …), got {K}")
    if padding not in PADDINGS:
        raise ValueError(f"padding must be one of {PADDINGS}, got {padding!r}")
    if not isinstance(dilation, int) or dilation < 1:
        raise ValueError(f"dilation must be a whole number from 1 up, got {dilation!r}")


# The sum  S = Σ_p g[p] · Σ_t k_t[p] · x[p + t]  is linear in each of g, k and x. Its three derivatives are the
# filter (by g), the filter's adjoint (by x) and the gradient of the kernels (by k). Each of these is linear in the
# two tensors it is given, so its own derivatives are again among the three: backward of backward of … closes here.


class _Filter(torch.autograd.Function):
    """out[p] = Σ_t k_t[p] · x[p + t]"""

    @staticmethod
    def forward(ctx, x, k, dilation, padding):
        ctx.save_for_backward(x, k)
        ctx.options = dilation, padding
        out = torch.zeros_like(x, dtype=_sum_dtype(x))
        for g, xb, total in _blocks(k, x, out):
            window = _pad(xb, k, dilation, padding)
            for kt, xt in zip(_taps(k[:, g]), _shifts(window, k, dilation), strict=True):
                total.addcmul_(kt, xt)
        return out.to(x.dtype)

    @staticmethod
    def backward(ctx, grad):
        x, k = ctx.saved_tensors
        gx = _Adjoint.apply(grad, k, *ctx.options) if ctx.needs_input_grad[0] else None
        gk = _KernelGrad.apply(grad, x, k, *ctx.options) if ctx.needs_input_grad[1] else None
        return gx, gk, None, None


class _Adjoint(torch.autograd.Function):
    """gx[p + t] += Σ_t k_t[p] · grad[p]"""

    @staticmethod
    def forward(ctx, grad, k, dilation, padding):
        ctx.save_for_backward(grad, k)
        ctx.options = dilation, padding
        out = torch.empty_like(grad)
        for g, gb, ob in _blocks(k, grad, out):
            window = _pad(torch.zeros_like(gb), k, dilation, "zeros")
            for kt, wt in zip(_taps(k[:, g]), _shifts(window, k, dilation), strict=True):
                wt.addcmul_(kt, gb)
            ob.copy_(_fold(window, k, dilation, padding))
        return out

    @staticmethod
    def backward(ctx, v):
        grad, k = ctx.saved_tensors
        ggrad = _Filter.apply(v, k, *ctx.options) if ctx.needs_input_grad[0] else None
        gk = _KernelGrad.apply(grad, v, k, *ctx.options) if ctx.needs_input_grad[1] else None
        return ggrad, gk, None, None


class _KernelGrad(torch.autograd.Function):
    """gk_t[p] = Σ_{c in the group} grad[p] · x[p + t]; ``k`` is looked at for its shape alone"""

    @staticmethod
    def forward(ctx, grad, x, k, dilation, padding):
        ctx.save_for_backward(grad, x)
        ctx.options = dilation, padding
        out = torch.zeros_like(k, dtype=_sum_dtype(k)) if x.shape[1] > k.shape[1] else torch.empty_like(k)
        for g, xb, gb in _blocks(k, x, grad):
            window = _pad(xb, k, dilation, padding)
            for ot, xt in zip(_taps(out[:, g]), _shifts(window, k, dilation), strict=True):
                if out.shape[1] == x.shape[1]:
                    torch.mul(gb, xt, out=ot)
                else:
                    ot.add_((gb * xt).sum(2, keepdim=True))
        return out.to(k.dtype)

    @staticmethod
    def backward(ctx, u):
        grad, x = ctx.saved_tensors
        ggrad = _Filter.apply(x, u, *ctx.options) if ctx.needs_input_grad[0] else None
        gx = _Adjoint.apply(grad, u, *ctx.options) if ctx.needs_input_grad[1] else None
        return ggrad, gx, None, None, None


def _plain(x: Tensor, k: Tensor, dilation: int, padding: str) -> Tensor:
    """The same sum for torch.compile, which fuses the loop and derives the backward itself."""
    window, total = _pad_by_index(x.unflatten(1, (k.shape[1], -1)), k, dilation, padding), 0
    for kt, xt in zip(_taps(k), _shifts(window, k, dilation), strict=True):
        total = total + kt.to(_sum_dtype(k)) * xt
    return total.flatten(1, 2).to(x.dtype)


def _sum_dtype(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)


def _blocks(k: Tensor, a: Tensor, b: Tensor) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """The groups' slice, with a's and b's channels of it as ``(B, g, C/G, H, W)``, one block after the other."""
    a, b = (t.unflatten(1, (k.shape[1], -1)) for t in (a, b))
    B, G, c, H, W = a.shape
    n = max(1, BLOCK // (B * H * W)) if a.device.type == "cpu" else G * c
    for g in range(0, G, max(1, n // c)):
        groups = slice(g, g + max(1, n // c))
        for j in range(0, c, n):
            yield groups, a[:, groups, j : j + n], b[:, groups, j : j + n]


def _taps(k: Tensor) -> tuple[Tensor, ...]:
    return k.unsqueeze(3).unbind(2)  # N² × (B, G, 1, H, W): one kernel for the channels of a group


def _shifts(window: Tensor, k: Tensor, dilation: int) -> Iterator[Tensor]:
    """What each tap sees: N² views of the padded block."""
    N, (H, W) = math.isqrt(k.shape[2]), k.shape[3:]
    for i in range(0, N * dilation, dilation):
        for j in range(0, N * dilation, dilation):
            yield window[..., i : i + H, j : j + W]


def _border(n: int, r: int, padding: str) -> Iterator[tuple[int, int]]:
    """For each of the r lines beyond either end of n: its position in the padded axis, and that of its source."""
    for i in () if padding == "zeros" else (*range(-r, 0), *range(n, n + r)):
        inside = min(max(i, 0), n - 1)
        if padding == "reflect" and n > 1:  # a triangle wave: reflects again where r >= n
            inside = n - 1 - abs(n - 1 - i % (2 * n - 2))
        yield i + r, inside + r


def _reach(k: Tensor, dilation: int) -> int:
    return math.isqrt(k.shape[2]) // 2 * dilation


def _pad(x: Tensor, k: Tensor, dilation: int, padding: str) -> Tensor:
    (H, W), r = x.shape[-2:], _reach(k, dilation)
    window = x.new_zeros(*x.shape[:-2], H + 2 * r, W + 2 * r, dtype=_sum_dtype(x))
    window[..., r : r + H, r : r + W] = x
    for axis, n in ((-2, H), (-1, W)):
        for outside, inside in _border(n, r, padding):
            window.select(axis, outside).copy_(window.select(axis, inside))
    return window


def _fold(window: Tensor, k: Tensor, dilation: int, padding: str) -> Tensor:
    """The adjoint of ``_pad``: what arrived at a border line goes back to the line it was copied from."""
    (H, W), r = k.shape[-2:], _reach(k, dilation)
    for axis, n in ((-1, W), (-2, H)):
        for outside, inside in _border(n, r, padding):
            window.select(axis, inside).add_(window.select(axis, outside))
    return window[..., r : r + H, r : r + W]


def _pad_by_index(x: Tensor, k: Tensor, dilation: int, padding: str) -> Tensor:
    """``_pad`` without writing in place."""
    r, x = _reach(k, dilation), x.to(_sum_dtype(x))
    if padding == "zeros":
        return torch.nn.functional.pad(x, (r, r, r, r))
    for axis, n in ((-2, x.shape[-2]), (-1, x.shape[-1])):
        source = dict(_border(n, r, padding))
        x = x.index_select(axis, torch.tensor([source.get(i, i) - r for i in range(n + 2 * r)], device=x.device))
    return x
