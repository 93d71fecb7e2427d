"""The generator that the authors of MISF released, for those who have its checkpoints: theirs, not the paper's table 1.

It differs from `misf_lite.MISF`: KPB has no norms, halves by averaging, and its decoder looks back at its encoder; of
the nine taps of a semantic kernel only three differ; beyond the border lie zeros; ``(tanh + 1) / 2`` squeezes the
picture into its range. Modules are named as in the checkpoints.
"""

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from misf_lite.filtering import filter2d
from misf_lite.flow import Watch, unwatched
from misf_lite.masks import is_hole
from misf_lite.model import MISFConfig, check_inputs


class ReleasedMISF(nn.Module):
    """The released generator: ``model(image, mask)``, in the place of a `MISF`. `misf_lite.load_released` makes it.

    The filters pad with zeros. The range comes last: in a `Flow` ``picture`` and ``picture_hat``, the filtered one, are
    around 0 and of any size, and ``(tanh(picture_hat) + 1) / 2`` is the output. ``config`` is the nearest there is,
    `MISFConfig.paper`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.config = MISFConfig.paper()
        self.encoder0 = nn.Sequential(nn.ReflectionPad2d(3), nn.Conv2d(4, 64, 7), nn.InstanceNorm2d(64), nn.ReLU())
        self.encoder1 = nn.Sequential(nn.Conv2d(64, 128, 4, 2, 1), nn.InstanceNorm2d(128), nn.ReLU())
        self.encoder2 = nn.Sequential(nn.Conv2d(128, 256, 4, 2, 1), nn.InstanceNorm2d(256), nn.ReLU())
        self.kpn_model = ReleasedKPB()
        self.middle = nn.Sequential(*(ReleasedResidual() for _ in range(8)))
        half = [nn.ConvTranspose2d(256, 128, 4, 2, 1), nn.InstanceNorm2d(128), nn.ReLU()]
        whole = [nn.ConvTranspose2d(128, 64, 4, 2, 1), nn.InstanceNorm2d(64), nn.ReLU()]
        self.decoder = nn.Sequential(*half, *whole, nn.ReflectionPad2d(3), nn.Conv2d(64, 3, 7))

    def forward(self, image: Tensor, mask: Tensor, flow: Watch = unwatched) -> Tensor:
        check_inputs(image, mask)
        (H, W), hole = image.shape[2:], is_hole(mask)
        x = torch.cat([image.masked_fill(hole, 0), hole.to(image)], 1)
        x = F.pad(x, (0, -W % 4, 0, -H % 4), mode="reflect")  # two halvings need multiples of 4

        F2 = flow("F2", self.encoder1(flow("F1", self.encoder0(x))))
        K3, K = self.kpn_model(x, F2)
        F3 = flow("F3", self.encoder2(F2))
        F3 = flow("F3_hat", filter2d(F3, flow("K3", K3), padding="zeros"))
        picture = flow("picture", self.decoder(self.middle(F3))[..., :H, :W])
        filtered = flow("picture_hat", filter2d(picture, flow("K", K[..., :H, :W]), padding="zeros"))
        return flow("output", (filtered.tanh() + 1) / 2)


class ReleasedKPB(nn.Module):
    """KPB: from the picture with its mask and F2 to the kernels of F3 and of the image, ``(B, G, 9, h, w)`` each."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = three_convs(4, 64)
        self.conv2 = three_convs(64, 128)
        self.conv3 = three_convs(256, 256)
        self.conv4 = three_convs(256, 512)
        self.conv7 = three_convs(768, 256)
        self.conv8 = three_convs(512, 128)
        self.conv9 = three_convs(192, 64)
        self.kernels = nn.Conv2d(256, 64 * 9, 1)
        self.core_img = nn.Conv2d(64, 3 * 9, 1)
        self.upsample = nn.Upsample(scale_factor=2, mode="bilinear")
        self.conv_final = nn.Conv2d(12, 3, 3)  # in the checkpoints, and never used

    def forward(self, x: Tensor, f2: Tensor) -> tuple[Tensor, Tensor]:
        e1 = self.conv1(x)
        e2 = torch.cat([self.conv2(F.avg_pool2d(e1, 2)), f2], 1)
        e3 = self.conv3(F.avg_pool2d(e2, 2))
        # 64 · 9 numbers for 256 · 9 taps: each serves four in a row, so a kernel has only three different ones.
        k3 = self.kernels(e3).repeat_interleave(4, 1)
        y = self.conv7(torch.cat([e3, self.conv4(e3)], 1))
        y = self.conv8(torch.cat([e2, self.upsample(y)], 1))
        y = self.conv9(torch.cat([e1, self.upsample(y)], 1))
        return k3.unflatten(1, (256, 9)), self.core_img(y).unflatten(1, (3, 9))


def three_convs(c_in: int, c_out: int) -> nn.Sequential:
    """Three 3×3 convolutions, each with its ReLU."""
    layers: list[nn.Module] = []
    for c in (c_in, c_out, c_out):
        layers += [nn.Conv2d(c, c_out, 3, padding=1), nn.ReLU()]
    return nn.Sequential(OrderedDict(conv1=nn.Sequential(*layers)))


class ReleasedResidual(nn.Module):
    """x + conv(conv(x)), the first dilated."""

    def __init__(self) -> None:
        super().__init__()
        dilated = [nn.ReflectionPad2d(2), nn.Conv2d(256, 256, 3, dilation=2), nn.InstanceNorm2d(256), nn.ReLU()]
        plain = [nn.ReflectionPad2d(1), nn.Conv2d(256, 256, 3), nn.InstanceNorm2d(256)]
        self.conv_block = nn.Sequential(*dilated, *plain)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv_block(x)
