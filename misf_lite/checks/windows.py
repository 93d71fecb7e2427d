"""What a filter's taps see: the oracle of every exercise that filters, and the usual misconceptions about a window."""

import torch.nn.functional as F
from torch import Tensor


def windows(x: Tensor, N: int, dilation: int = 1, beyond: str = "reflect", centred: bool = True) -> Tensor:
    """What each tap sees, cut out by ``F.unfold``.

    Args:
        x: ``(B, C, H, W)``.
        beyond: what lies beyond the border, as `F.pad` names it.
        centred: False is a misconception, windows that start at the pixel.

    Returns:
        ``(B, C, N*N, H, W)``.
    """
    reach = N // 2 * dilation
    around = (reach,) * 4 if centred else (0, 2 * reach, 0, 2 * reach)
    seen = F.unfold(F.pad(x, around, mode=beyond), N, dilation=dilation)  # (B, C*N*N, H*W)
    return seen.unflatten(1, (-1, N * N)).unflatten(3, x.shape[2:])


def side(kernels: Tensor) -> int:
    """N of kernels ``(..., N*N, H, W)``."""
    return round(kernels.shape[-3] ** 0.5)


def swap_taps(kernels: Tensor) -> Tensor:
    """Rows and columns of kernels ``(..., N*N, H, W)`` swapped."""
    N = side(kernels)
    return kernels.unflatten(-3, (N, N)).transpose(-3, -4).flatten(-4, -3)


def turn_taps(kernels: Tensor) -> Tensor:
    """Kernels ``(..., N*N, H, W)`` turned round, as a convolution would lay them on."""
    return kernels.flip(-3)
