"""What a network is trained for: the right colours, the right features, and a picture that could be real.

Images are ``(B, 3, H, W)`` in [0, 1], masks ``(B, 1, H, W)`` with 1 = hole. Every loss is a scalar, the mean of one
value per picture: processes with equal shares of a batch average to what a single one gets. (The MISF paper adds up
L1, 0.1 · adversarial, 0.1 · perceptual and 250 · style.)
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from misf_lite.features import Features
from misf_lite.masks import is_hole
from misf_lite.metrics import between_features, over_places
from misf_lite.recipe import Recipe

if TYPE_CHECKING:  # it takes a while to import
    from accelerate import Accelerator


def hole_weighted_l1(output: Tensor, target: Tensor, mask: Tensor, weight: float = 6.0) -> Tensor:
    """Mean absolute error of each picture, in which a pixel of the hole counts ``weight`` times."""
    return _hole_weighted((output - target).abs(), mask, weight)


def hole_weighted_mse(output: Tensor, target: Tensor, mask: Tensor, weight: float = 6.0) -> Tensor:
    """The same with the squared error.

    Of a thing that may lie here or there (an eye), L1 wants the likeliest colour of each pixel, skin; the squared error
    wants the mean, a blurred eye: from there the network can go on to learn where it lies.
    """
    return _hole_weighted((output - target) ** 2, mask, weight)


def _hole_weighted(error: Tensor, mask: Tensor, weight: float) -> Tensor:
    importance = 1 + (weight - 1) * mask
    return ((error * importance).mean((1, 2, 3)) / importance.mean((1, 2, 3))).mean()


def log_mse(output: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Natural logarithm of the mean squared error in the hole: the negative PSNR, up to scale.

    Easy pictures and hard ones count alike. A floor of 1e-4 (40 dB) tames the trivial, and gives an empty hole a value.
    """
    hole = mask.expand_as(output)
    squared = ((output - target) ** 2 * hole).sum((1, 2, 3)) / hole.sum((1, 2, 3)).clamp(min=1)
    return (squared + 1e-4).log().mean()


def perceptual(a: list[Tensor], b: list[Tensor]) -> Tensor:
    """Mean absolute difference of two lists of features, averaged over the layers (after Johnson et al. 2016)."""
    return torch.stack([F.l1_loss(x, y) for x, y in zip(a, b, strict=True)]).mean()


def style(a: list[Tensor], b: list[Tensor]) -> Tensor:
    """The same between Gram matrices, which know what features go together but not where (Gatys et al. 2016)."""
    return perceptual([_gram(x) for x in a], [_gram(x) for x in b])


def _gram(x: Tensor) -> Tensor:
    """``(B, C, H, W)`` to ``(B, C, C)``: products of channels over all pixels, divided by C·H·W."""
    with torch.autocast(x.device.type, enabled=False):  # half precision would overflow, or lose the small entries
        x = x.flatten(2).float()
        return x @ x.mT / x[0].numel()


class PatchDiscriminator(nn.Module):
    """Tells real patches of 70 × 70 pixels from filled ones (Isola et al. 2017; spectral norm: Miyato et al. 2018).

    From the last convolution to the first, a field of r outputs needs (r - 1)·stride + 4 inputs: 1 → 4 → 7 → 16 → 34 →
    70. Returns logits ``(B, 1, H//8 - 2, W//8 - 2)``, high where a patch looks real; ValueError below 24 × 24 pixels.
    """

    def __init__(self, width: int = 64) -> None:  # channels after the first convolution
        super().__init__()
        channels = [3, width, 2 * width, 4 * width, 8 * width, 1]
        layers: list[nn.Module] = []
        for (c_in, c_out), stride in zip(pairwise(channels), (2, 2, 2, 1, 1), strict=True):
            layers += [spectral_norm(nn.Conv2d(c_in, c_out, 4, stride, padding=1)), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, image: Tensor) -> Tensor:
        H, W = image.shape[2:]
        if min(H, W) < 24:
            advice = "choose larger crops, or no adversarial loss"
            raise ValueError(f"the discriminator expects at least 24 × 24 pixels, got {H} × {W}: {advice}")
        return self.layers(2 * image - 1)  # the zeros of the padding are then grey


class FeatureDiscriminator(nn.Module):
    """Tells real places from filled ones by their features (after Sauer et al. 2021, *Projected GANs*).

    A frozen network that knows what pictures look like has seen most of what there is to see. Three small convolutions
    on each of its layers see the rest, at a tenth of a `PatchDiscriminator`'s arithmetic.

    Takes `Features`, a list of ``(B, C, h, w)``; returns their logits, a list of ``(B, 1, h, w)``.
    """

    def __init__(self, channels: Sequence[int], width: int = 64) -> None:
        super().__init__()
        self.heads = nn.ModuleList(self.head(c, width) for c in channels)

    def head(self, c_in: int, width: int) -> nn.Sequential:
        return nn.Sequential(
            nn.GroupNorm(1, c_in, affine=False),  # each layer has a scale of its own
            spectral_norm(nn.Conv2d(c_in, width, 3, padding=1)),
            nn.LeakyReLU(0.2),
            spectral_norm(nn.Conv2d(width, width, 3, padding=1)),
            nn.LeakyReLU(0.2),
            spectral_norm(nn.Conv2d(width, 1, 1)),
        )

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        return [head(x) for head, x in zip(self.heads, features, strict=True)]


def generator_loss(fake_logits: Tensor, mask: Tensor | None = None) -> Tensor:
    """-log(probability that what is filled is real): the non-saturating loss of Goodfellow et al. 2014.

    With a mask, places count by their share of hole: the rest is real, whoever looks.
    """
    return over_places(F.softplus(-fake_logits), mask).mean()


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor, mask: Tensor | None = None) -> Tensor:
    """-log(probability that real is real) - log(probability that filled is filled). (Goodfellow et al. 2014.)"""
    return over_places(F.softplus(-real_logits) + F.softplus(fake_logits), mask).mean()


class Objective:
    """The losses of a step, each with its weight; and the discriminator's own step, where there is one."""

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        self.hole_weight = recipe.hole_weight
        self.weights = recipe.losses
        self.parts: dict[str, Any] = {}  # what belongs into a checkpoint
        adversarial = "adversarial" in self.weights
        self.projected = adversarial and recipe.discriminator == "features"
        self.views: tuple[list[Tensor], list[Tensor]]  # what the discriminator sees, filled and real
        self.where: Tensor | None = None  # the hole there, where only that counts
        looks = self.projected or self.weights.keys() & {"perceptual", "style", "feature_distance"}
        self.features = Features(recipe.features).to(device) if looks else None
        if adversarial:
            seen = self.features.channels if self.features and self.projected else None
            judge = FeatureDiscriminator(seen) if seen else PatchDiscriminator()
            self.discriminator = judge.to(device)
            betas = (0.0, recipe.betas[1])  # without momentum: what it judges changes under its eyes
            adam = torch.optim.Adam(self.discriminator.parameters(), recipe.discriminator_lr, betas)
            self.parts = {"discriminator": self.discriminator, "discriminator_optimiser": adam}

    def prepare(self, accelerator: "Accelerator") -> None:
        if self.parts:
            self.judge, self.optimiser = accelerator.prepare(*self.parts.values())

    def __call__(self, output: Tensor, image: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """``loss``, the weighted sum, and each of the losses. Those from ``perceptual`` on see the picture filled."""
        filled = torch.where(is_hole(mask), output, image)
        seen: list[Tensor] = []
        truth: list[Tensor] = []
        where = mask
        if self.features:  # strided networks look closer at some pixels than at others: not always at the same ones
            shift = torch.randint(16, (2,)).tolist()
            shifted, real, where = (x.roll(shift, (2, 3)) for x in (filled, image, mask))
            seen = self.features(shifted)
            with torch.no_grad():
                truth = self.features(real)
        if self.projected:
            self.views, self.where = (seen, truth), where
        else:
            self.views = [filled], [image]
        known: dict[str, Callable[[], Tensor]] = {
            "l1": lambda: hole_weighted_l1(output, image, mask, self.hole_weight),
            "mse": lambda: hole_weighted_mse(output, image, mask, self.hole_weight),
            "log_mse": lambda: log_mse(output, image, mask),
            "perceptual": lambda: perceptual(seen, truth),
            "style": lambda: style(seen, truth),
            "feature_distance": lambda: between_features(seen, truth, where).mean(),
            "adversarial": self.judged,
        }
        losses = {name: known[name]() for name in self.weights}
        weighted = (weight * losses[name] for name, weight in self.weights.items())
        return {"loss": sum(weighted, torch.zeros((), device=output.device)), **losses}

    def judged(self) -> Tensor:
        self.discriminator.requires_grad_(False)  # it learns in its own step
        logits = self.logits(self.discriminator, self.views[0])
        self.discriminator.requires_grad_(True)
        return torch.stack([generator_loss(fake, self.where) for fake in logits]).mean()

    def logits(self, discriminator: nn.Module, views: list[Tensor]) -> list[Tensor]:
        return discriminator(views) if self.projected else [discriminator(*views)]

    def learn(self, accelerator: "Accelerator") -> dict[str, Tensor]:
        """The discriminator's step, on what the last call saw, cut off from the generator."""
        if not self.parts:
            return {}
        views = [torch.cat([real, fake.detach()]) for fake, real in zip(*self.views, strict=True)]
        with accelerator.autocast():
            pairs = [x.chunk(2) for x in self.logits(self.judge, views)]
            loss = torch.stack([discriminator_loss(real, fake, self.where) for real, fake in pairs]).mean()
        self.optimiser.zero_grad(set_to_none=True)
        accelerator.backward(loss)
        self.optimiser.step()
        return {"discriminator": loss}
