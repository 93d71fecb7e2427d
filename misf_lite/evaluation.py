"""How well holes are filled, band by band, under one written-down protocol.

Protocol: each picture is resized to a short side (`load_photo`) and given one seeded random mask per band;
the filled picture is composited with the known pixels, rounded to 8 bit, and compared inside the hole and as a whole.
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from misf_lite.masks import BANDS, random_mask
from misf_lite.metrics import psnr, ssim

Method = Callable[[Tensor, Tensor], Tensor]


@torch.no_grad()
def evaluate(
    methods: dict[str, Method], images: Iterable[Tensor], *, kind: str = "strokes", seed: int = 0
) -> dict[str, list[dict[str, float]]]:
    """Fill one hole per picture and band with every method.

    Args:
        methods: name -> function of image ``(1, 3, H, W)`` and mask ``(1, 1, H, W)`` that returns the filled image.
        images: each ``(1, 3, H, W)`` in [0, 1].
        kind, seed: the masks; picture i in band b gets ``random_mask(…, seed=seed + 1000·b + i)``.

    Returns:
        For each method, one row per band: ``psnr`` of the whole picture and ``psnr_hole`` inside the hole, in
        decibels, and ``ssim`` of the whole picture, each the mean over the pictures.
    """
    scores = {name: [[] for _ in BANDS] for name in methods}
    for i, image in enumerate(images):
        image = (image * 255).round() / 255
        for b, band in enumerate(BANDS):
            mask = random_mask(tuple(image.shape[2:]), band, kind, seed + 1000 * b + i).to(image.device)
            for name, fill in methods.items():
                filled = torch.where(mask > 0, fill(image, mask), image)
                filled = (filled * 255).round() / 255
                row = psnr(filled, image), psnr(filled, image, mask), ssim(filled, image)
                scores[name][b].append([value.item() for value in row])
    if not scores or not all(bands[0] for bands in scores.values()):
        raise ValueError("nothing to evaluate: give at least one method and one image")
    return {
        name: [
            dict(zip(("psnr", "psnr_hole", "ssim"), torch.tensor(rows).mean(0).tolist(), strict=True)) for rows in bands
        ]
        for name, bands in scores.items()
    }
