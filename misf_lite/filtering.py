"""The per-pixel filter, the one operation that predictive filtering is made of.

Every pixel has a kernel of its own::

    out[b, c, h, w] = Σ_t  kernels[b, g(c), t, h, w] · x[b, c, h + (i - N//2)·dilation, w + (j - N//2)·dilation]

with ``t = i·N + j``. For N = 3 the taps are numbered like this, tap 4 being the pixel itself::

    0 1 2
    3 4 5
    6 7 8

(MISF, section 3.1: the filtering written ⊛.)
"""

import functools
import operator
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
    derivatives of any order exist (reverse mode).
    """
    _check(x, kernels, dilation, padding)
    dilation = operator.index(dilation)
    if torch.compiler.is_compiling():
        return _fused(x, kernels, dilation, padding)
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
    if _side(K) ** 2 != K:
        raise ValueError(f"kernels need N*N taps with N odd (1, 9, 25, 49, …), got {K}")
    if padding not in PADDINGS:
        raise ValueError(f"padding must be one of {PADDINGS}, got {padding!r}")
    if not hasattr(dilation, "__index__") or dilation < 1:
        raise ValueError(f"dilation must be a whole number from 1 up, got {dilation!r}")


# The sum  S = Σ_p g[p] · Σ_t k_t[p] · x[p + t]  is linear in each of g, k and x. Its three derivatives are the
# filter (by g), the filter's adjoint (by x) and the gradient of the kernels (by k). Each of these is linear in the
# two tensors it is given, so its own derivatives are again among the three: backward of backward of … closes here.


def _remember(ctx, inputs, output) -> None:
    ctx.save_for_backward(*inputs[:2])
    ctx.options = inputs[2:]


class _Filter(torch.autograd.Function):
    """out[p] = Σ_t k_t[p] · x[p + t]"""

    setup_context = staticmethod(_remember)

    @staticmethod
    def forward(x, k, dilation, padding):
        N = _side(k.shape[2])
        out = torch.empty_like(x, dtype=_sum_dtype(x, k))
        for groups, xb, total in _blocks(k.shape[1], x, out):
            window = _pad(xb, N, dilation, padding)
            taps = zip(_taps(k[:, groups]), _shifts(window, N, dilation), strict=True)
            torch.mul(*next(taps), out=total)
            for kt, xt in taps:
                total.addcmul_(kt, xt)
        return out.to(torch.promote_types(x.dtype, k.dtype))

    @staticmethod
    def backward(ctx, grad):
        x, k = ctx.saved_tensors
        gx = _Adjoint.apply(grad, k, *ctx.options) if ctx.needs_input_grad[0] else None
        gk = _KernelGrad.apply(grad, x, *_like(k), *ctx.options) if ctx.needs_input_grad[1] else None
        return gx, gk, None, None


class _Adjoint(torch.autograd.Function):
    """gx[p + t] += Σ_t k_t[p] · grad[p]"""

    setup_context = staticmethod(_remember)

    @staticmethod
    def forward(grad, k, dilation, padding):
        N = _side(k.shape[2])
        out = torch.empty_like(grad, dtype=torch.promote_types(grad.dtype, k.dtype))
        for groups, gb, ob in _blocks(k.shape[1], grad, out):
            window = _pad(torch.zeros_like(gb), N, dilation, "zeros")
            for kt, wt in zip(_taps(k[:, groups]), _shifts(window, N, dilation), strict=True):
                wt.addcmul_(kt, gb)
            ob.copy_(_fold(window, N, dilation, padding))
        return out

    @staticmethod
    def backward(ctx, v):
        grad, k = ctx.saved_tensors
        ggrad = _Filter.apply(v, k, *ctx.options) if ctx.needs_input_grad[0] else None
        gk = _KernelGrad.apply(grad, v, *_like(k), *ctx.options) if ctx.needs_input_grad[1] else None
        return ggrad, gk, None, None


class _KernelGrad(torch.autograd.Function):
    """gk_t[p] = Σ_{c in the group} grad[p] · x[p + t]"""

    setup_context = staticmethod(_remember)

    @staticmethod
    def forward(grad, x, G, K, dtype, dilation, padding):
        (B, C, H, W), N = x.shape, _side(K)
        out = x.new_zeros(B, G, K, H, W, dtype=_sum_dtype(x)) if G < C else x.new_empty(B, G, K, H, W, dtype=dtype)
        for groups, xb, gb in _blocks(G, x, grad):
            window = _pad(xb, N, dilation, padding)
            if G == C:  # written once, in the order of memory: its pages are new, and touching them is the cost
                seen = window.unfold(-2, H, dilation).unfold(-2, W, dilation)  # (B, g, 1, N, N, H, W), a view
                torch.mul(gb[:, :, :, None, None], seen, out=out[:, groups].unflatten(2, (N, N)).unsqueeze(2))
            else:
                for ot, xt in zip(_taps(out[:, groups]), _shifts(window, N, dilation), strict=True):
                    ot.add_((gb * xt).sum(2, keepdim=True))
        return out.to(dtype)

    @staticmethod
    def backward(ctx, u):
        (grad, x), options = ctx.saved_tensors, ctx.options[3:]
        ggrad = _Filter.apply(x, u, *options) if ctx.needs_input_grad[0] else None
        gx = _Adjoint.apply(grad, u, *options) if ctx.needs_input_grad[1] else None
        return ggrad, gx, None, None, None, None, None


def _fused(x: Tensor, k: Tensor, dilation: int, padding: str) -> Tensor:
    """The same sum without writing in place, for torch.compile: it fuses the loop and derives the backward."""
    N, dtype = _side(k.shape[2]), _sum_dtype(x, k)
    r = N // 2 * dilation
    window = x.unflatten(1, (k.shape[1], -1)).to(dtype)
    if padding == "zeros":
        window = torch.nn.functional.pad(window, (r, r, r, r))
    else:
        for axis in (-2, -1):
            line = torch.arange(-r, window.shape[axis] + r, device=x.device)
            window = window.index_select(axis, _inside(line, window.shape[axis], padding))
    total = sum(kt.to(dtype) * xt for kt, xt in zip(_taps(k), _shifts(window, N, dilation), strict=True))
    return total.flatten(1, 2).to(torch.promote_types(x.dtype, k.dtype))


def _side(K: int) -> int:
    """The odd N with N² = K, or the next one where there is none (not math.isqrt: torch.compile cannot trace it)."""
    N = 1
    while N * N < K:
        N += 2
    return N


def _like(k: Tensor) -> tuple[int, int, torch.dtype]:
    return k.shape[1], k.shape[2], k.dtype


def _sum_dtype(*tensors: Tensor) -> torch.dtype:
    dtype = torch.float32
    for tensor in tensors:
        dtype = torch.promote_types(dtype, tensor.dtype)
    return dtype


def _blocks(G: int, a: Tensor, b: Tensor) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """The groups' slice, with a's and b's channels of it as ``(B, g, C/G, H, W)``, one block after the other."""
    if a.numel() == 0:
        return
    a, b = (t.unflatten(1, (G, -1)) for t in (a, b))
    B, G, c, H, W = a.shape
    n = max(1, BLOCK // (B * H * W)) if a.device.type == "cpu" else G * c
    for g in range(0, G, max(1, n // c)):
        groups = slice(g, g + max(1, n // c))
        for j in range(0, c, n):
            yield groups, a[:, groups, j : j + n], b[:, groups, j : j + n]


def _taps(k: Tensor) -> tuple[Tensor, ...]:
    return k.unsqueeze(3).unbind(2)  # N² × (B, G, 1, H, W): one kernel for the channels of a group


def _shifts(window: Tensor, N: int, dilation: int) -> Iterator[Tensor]:
    """What each tap sees: N² views of the padded block."""
    H, W = (n - (N - 1) * dilation for n in window.shape[-2:])
    for i in range(0, N * dilation, dilation):
        for j in range(0, N * dilation, dilation):
            yield window[..., i : i + H, j : j + W]


def _pad(x: Tensor, N: int, dilation: int, padding: str) -> Tensor:
    (H, W), r = x.shape[-2:], N // 2 * dilation
    new = x.new_zeros if padding == "zeros" else x.new_empty
    window = new(*x.shape[:-2], H + 2 * r, W + 2 * r, dtype=_sum_dtype(x))
    window[..., r : r + H, r : r + W] = x
    for axis, n in ((-2, H), (-1, W)):
        for outside, inside in _border(n, r, padding):
            window.select(axis, outside).copy_(window.select(axis, inside))
    return window


def _fold(window: Tensor, N: int, dilation: int, padding: str) -> Tensor:
    """The adjoint of ``_pad``: what arrived at a border line goes back to the line it was copied from."""
    r = N // 2 * dilation
    H, W = (n - 2 * r for n in window.shape[-2:])
    for axis, n in ((-1, W), (-2, H)):
        for outside, inside in _border(n, r, padding):
            window.select(axis, inside).add_(window.select(axis, outside))
    return window[..., r : r + H, r : r + W]


@functools.cache
def _border(n: int, r: int, padding: str) -> list[tuple[int, int]]:
    """For each of the r lines beyond either end of n: its position in the padded axis, and that of its source."""
    if padding == "zeros":
        return []
    outside = torch.tensor([*range(-r, 0), *range(n, n + r)])
    return list(zip((outside + r).tolist(), (_inside(outside, n, padding) + r).tolist(), strict=True))


def _inside(line: Tensor, n: int, padding: str) -> Tensor:
    """Where the lines of a padded axis come from: 0 … n - 1."""
    if padding == "reflect" and n > 1:  # a triangle wave: reflects again where the border is wider than n
        line = n - 1 - (n - 1 - line % (2 * n - 2)).abs()
    return line.clamp(0, n - 1)
