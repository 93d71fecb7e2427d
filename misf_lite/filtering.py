"""The per-pixel filter, written ⊛ in the paper (MISF, section 3.1): the one operation that all else is made of."""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

BLOCK = 1 << 18  # elements that stay in a core's cache: on a CPU channels are filtered in blocks of this size


def filter2d(x: Tensor, kernels: Tensor, *, dilation: int = 1, padding: str = "reflect") -> Tensor:
    """``out[b, c, h, w] = Σ_t kernels[b, g, t, h, w] · x[b, c, h + (i - N//2)·dilation, w + (j - N//2)·dilation]``

    where t = i·N + j: a cross-correlation, like ``F.conv2d``, but with a kernel of its own at every pixel.

    Args:
        x: ``(B, C, H, W)``, an image or a feature map, any float dtype.
        kernels: ``(B, G, N*N, H, W)``, N odd, the weights called taps, row by row: tap N*N//2 weighs the pixel itself.
            Each kernel serves C//G channels: G = 1 is one for all of them, G = C one for each (the paper's choice).
        dilation: pixels between neighbouring taps.
        padding: what lies beyond the border: ``"reflect"`` (without repeating the border pixel) or ``"zeros"``.

    Returns:
        ``(B, C, H, W)`` in the wider dtype of the two. Half precisions are summed in float32. No N²-fold copy is made,
        and nothing but ``x`` and ``kernels`` is kept for the backward pass.

    Raises:
        ValueError, TypeError: shapes, dtypes or options that do not fit, with what was given.

    Kernels that look one pixel to the left move the picture to the right:

    >>> x = torch.arange(4.0).view(1, 1, 1, 4)
    >>> kernels = torch.zeros(1, 1, 9, 1, 4)
    >>> kernels[:, :, 3] = 1
    >>> filter2d(x, kernels, padding="zeros").tolist()
    [[[[0.0, 0.0, 1.0, 2.0]]]]
    """
    check(x, kernels, dilation, padding)
    return Filter.apply(x, kernels, dilation, padding)


class Filter(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, kernels: Tensor, dilation: int, padding: str) -> Tensor:
        ctx.save_for_backward(x, kernels)
        wider = torch.promote_types(x.dtype, kernels.dtype)
        out = torch.zeros_like(x, dtype=torch.promote_types(wider, torch.float32))
        ctx.options = dilation, padding, side(kernels) // 2 * dilation, out.dtype
        for x_, kernels_, total in blocks(kernels.shape[1], x, kernels, out):
            window = pad(x_.to(out.dtype), ctx.options[2], padding)
            for kernel, seen in taps(kernels_, window, dilation):
                total.addcmul_(kernel, seen)
        return out.to(wider)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        (x, kernels), (dilation, padding, r, dtype) = ctx.saved_tensors, ctx.options
        to_x, to_kernels = torch.empty_like(x), torch.empty_like(kernels)
        for x_, kernels_, g, to_x_, to_kernels_ in blocks(kernels.shape[1], x, kernels, grad, to_x, to_kernels):
            g, window = g.to(dtype), pad(x_.to(dtype), r, padding)
            to_window = torch.zeros_like(window)
            there, back = taps(kernels_, window, dilation), taps(to_kernels_, to_window, dilation)
            for (kernel, seen), (to_kernel, to_seen) in zip(there, back, strict=True):
                to_seen.addcmul_(kernel, g)
                if x.shape[1] == kernels.shape[1]:
                    to_kernel.copy_(g).mul_(seen)
                else:
                    to_kernel.copy_((g * seen).sum(2, keepdim=True))
            for beyond, seen in reversed(border(to_window, r, padding)):
                seen.add_(beyond)
            to_x_.copy_(to_window[..., r : r + x.shape[2], r : r + x.shape[3]])
        return to_x, to_kernels, None, None


def blocks(G: int, *tensors: Tensor) -> Iterator[list[Tensor]]:
    """The tensors, some groups at a time: images as ``(B, g, C/G, H, W)``, kernels as ``(B, g, N*N, H, W)``."""
    grouped = [t if t.dim() == 5 else t.unflatten(1, (G, -1)) for t in tensors]
    fitting = BLOCK * G // max(1, tensors[0].numel())
    step = max(1, fitting) if tensors[0].device.type == "cpu" and not torch.compiler.is_compiling() else G
    for start in range(0, G, step):
        yield [t[:, start : start + step] for t in grouped]


def taps(kernels: Tensor, window: Tensor, dilation: int) -> Iterator[tuple[Tensor, Tensor]]:
    """For each tap its weights ``(B, g, 1, H, W)`` and what they see ``(B, g, C/G, H, W)``, a view of the window."""
    (H, W), N = kernels.shape[3:], side(kernels)
    for t, kernel in enumerate(kernels.unsqueeze(3).unbind(2)):
        top, left = t // N * dilation, t % N * dilation
        yield kernel, window[..., top : top + H, left : left + W]


def pad(x: Tensor, r: int, padding: str) -> Tensor:
    """The pixels, and r lines beyond the border."""
    window = F.pad(x, (r, r, r, r))
    for beyond, seen in border(window, r, padding):
        beyond.copy_(seen)
    return window


def border(window: Tensor, r: int, padding: str) -> list[tuple[Tensor, Tensor]]:
    """Each line beyond the border, and the line that is seen there: back and forth, however small the picture is."""
    lines = []
    for axis in (3, 4) if padding == "reflect" else ():
        n = window.shape[axis] - 2 * r
        for k in range(1, r + 1):
            seen = k if k < n else abs((k + n - 1) % max(1, 2 * n - 2) - (n - 1))
            lines.append((window.select(axis, r - k), window.select(axis, r + seen)))
            lines.append((window.select(axis, k - r - 1), window.select(axis, -1 - r - seen)))
    return lines


def side(kernels: Tensor) -> int:
    return round(kernels.shape[2] ** 0.5)  # torch.compile cannot trace math.isqrt


def check(x: Tensor, kernels: Tensor, dilation: int, padding: str) -> None:
    if not (x.is_floating_point() and kernels.is_floating_point()):
        raise TypeError(f"filter2d expects float tensors, got {x.dtype} and {kernels.dtype}: convert with .float()")
    fit = x.dim() == 4 and kernels.dim() == 5 and x.shape[0] == kernels.shape[0] and x.shape[2:] == kernels.shape[3:]
    if not fit or kernels.shape[1] == 0 or x.shape[1] % kernels.shape[1]:
        expected = "x (B, C, H, W) and kernels (B, G, N*N, H, W), where G divides C"
        raise ValueError(f"filter2d expects {expected}, got {tuple(x.shape)} and {tuple(kernels.shape)}")
    if kernels.shape[2] != side(kernels) ** 2 or side(kernels) % 2 == 0:
        raise ValueError(f"kernels need N*N taps with N odd (1, 9, 25, 49, …), got {kernels.shape[2]}")
    if padding not in ("reflect", "zeros") or not isinstance(dilation, int) or dilation < 1:
        raise ValueError(f"padding is 'reflect' or 'zeros', dilation from 1 up; got {padding!r} and {dilation!r}")
