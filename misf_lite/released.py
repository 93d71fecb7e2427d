"""The generator that the authors of MISF released, for those who have its checkpoints: theirs, not the paper's table 1.

It differs from `misf_lite.MISF`: KPB has no norms, halves by averaging, and its decoder looks back at its encoder; of
the nine taps of a semantic kernel only three differ; beyond the border lie zeros; ``(tanh + 1) / 2`` squeezes the
picture into its range. Modules are named as in the checkpoints.
"""

import os
import re
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from misf_lite.filtering import filter2d
from misf_lite.model import MISF, MISFConfig, Trace, _check


class ReleasedMISF(nn.Module):
    """The released generator: ``model(image, mask)``, in the place of a `MISF`. Made by `load_released`.

    Args:
        image: ``(B, 3, H, W)`` in [0, 1], any H, W >= 16. What lies under the hole is never looked at.
        mask: ``(B, 1, H, W)``, 1 = hole, 0 = known (from 0.5 up it is hole).

    Returns:
        ``(B, 3, H, W)`` in [0, 1], the whole picture; `misf_lite.inpaint` keeps the known pixels.

    Raises:
        ValueError: shapes that do not fit.

    In a `Trace`, levels are 3 and 0, and ``filter2d(before[level], kernels[level], padding="zeros")`` is
    ``after[level]``. The range comes last: ``decoded`` and level 0, before and after, are around 0 and of any size, and
    ``(tanh(after[0]) + 1) / 2`` is the output. ``config`` is the nearest there is, `MISFConfig.paper`.
    """

    trace = MISF.trace

    def __init__(self) -> None:
        super().__init__()
        self.config = MISFConfig.paper()
        self.encoder0 = nn.Sequential(nn.ReflectionPad2d(3), nn.Conv2d(4, 64, 7), nn.InstanceNorm2d(64), nn.ReLU())
        self.encoder1 = nn.Sequential(nn.Conv2d(64, 128, 4, 2, 1), nn.InstanceNorm2d(128), nn.ReLU())
        self.encoder2 = nn.Sequential(nn.Conv2d(128, 256, 4, 2, 1), nn.InstanceNorm2d(256), nn.ReLU())
        self.kpn_model = ReleasedKPB()
        self.middle = nn.Sequential(*(ReleasedResidual() for _ in range(8)))
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(256, 128, 4, 2, 1),
            nn.InstanceNorm2d(128),
            nn.ReLU(),
            nn.ConvTranspose2d(128, 64, 4, 2, 1),
            nn.InstanceNorm2d(64),
            nn.ReLU(),
            nn.ReflectionPad2d(3),
            nn.Conv2d(64, 3, 7),
        )

    def forward(self, image: Tensor, mask: Tensor, trace: Trace | None = None) -> Tensor:
        _check(image, mask)
        H, W = image.shape[-2:]
        hole = mask >= 0.5
        # Two halvings need multiples of 4.
        x = torch.cat([image.masked_fill(hole, 0), hole.to(image)], 1)
        x = F.pad(x, (0, -W % 4, 0, -H % 4), mode="reflect")

        def filtered(level: int, x: Tensor, kernels: Tensor) -> Tensor:
            y = filter2d(x, kernels, padding="zeros")
            if trace is not None:
                trace.before[level], trace.kernels[level], trace.after[level] = x, kernels, y
            return y

        f2 = self.encoder1(self.encoder0(x))
        k3, k = self.kpn_model(x, f2)
        f3 = filtered(3, self.encoder2(f2), k3)
        decoded = self.decoder(self.middle(f3))[..., :H, :W]
        if trace is not None:
            trace.decoded = decoded
        return (filtered(0, decoded, k[..., :H, :W]).tanh() + 1) / 2


class ReleasedKPB(nn.Module):
    """KPB: from the picture with its mask and F2 to the kernels of F3 and of the image, ``(B, G, 9, h, w)`` each."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = ThreeConvs(4, 64)
        self.conv2 = ThreeConvs(64, 128)
        self.conv3 = ThreeConvs(256, 256)
        self.conv4 = ThreeConvs(256, 512)
        self.conv7 = ThreeConvs(768, 256)
        self.conv8 = ThreeConvs(512, 128)
        self.conv9 = ThreeConvs(192, 64)
        self.kernels = nn.Conv2d(256, 64 * 9, 1)
        self.core_img = nn.Conv2d(64, 3 * 9, 1)
        self.conv_final = nn.Conv2d(12, 3, 3)  # in the checkpoints, and never used

    def forward(self, x: Tensor, f2: Tensor) -> tuple[Tensor, Tensor]:
        e1 = self.conv1(x)
        e2 = torch.cat([self.conv2(F.avg_pool2d(e1, 2)), f2], 1)
        e3 = self.conv3(F.avg_pool2d(e2, 2))
        # 64 · 9 numbers for 256 · 9 taps: each serves four in a row, so a kernel has only three different ones.
        k3 = self.kernels(e3).repeat_interleave(4, 1)
        y = self.conv7(torch.cat([e3, self.conv4(e3)], 1))
        y = self.conv8(torch.cat([e2, _twice(y)], 1))
        y = self.conv9(torch.cat([e1, _twice(y)], 1))
        return k3.unflatten(1, (256, 9)), self.core_img(y).unflatten(1, (3, 9))


class ThreeConvs(nn.Module):
    """Three 3×3 convolutions, each with its ReLU."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        layers = [(nn.Conv2d(c, c_out, 3, padding=1), nn.ReLU()) for c in (c_in, c_out, c_out)]
        self.conv1 = nn.Sequential(*(layer for pair in layers for layer in pair))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv1(x)


class ReleasedResidual(nn.Module):
    """x + conv(conv(x)), the first dilated."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(
            nn.ReflectionPad2d(2),
            nn.Conv2d(256, 256, 3, dilation=2),
            nn.InstanceNorm2d(256),
            nn.ReLU(),
            nn.ReflectionPad2d(1),
            nn.Conv2d(256, 256, 3),
            nn.InstanceNorm2d(256),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv_block(x)


def _twice(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def load_released(path: str | os.PathLike) -> ReleasedMISF:
    """The authors' released generator in eval mode on the CPU, with the weights of one of their checkpoints.

    The checkpoints (CelebA, Places2, Dunhuang) do not come with this project, and nothing is downloaded: fetch one from
    the authors' page. ``misf_lite.inpaint(image, mask, misf_lite.load_released(path))`` fills a hole with it.

    Args:
        path: a PyTorch file that holds the weights under ``"generator"``.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a damaged file, one that could run code when it is loaded, one without a generator, or one whose
            weights are not the released generator's. Never are weights left as they were drawn at random.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"no checkpoint at {path}: download one of the generator's from the page of MISF's authors, and give the "
            f"path of the file"
        )
    state = _generator(path)
    with torch.device("meta"):
        model = ReleasedMISF()
    expected, given = ({name: tuple(t.shape) for name, t in s.items()} for s in (model.state_dict(), state))
    wrong = [f"{name} is missing" for name in expected.keys() - given.keys()]
    wrong += [f"{name} is not part of it" for name in given.keys() - expected.keys()]
    for name in expected.keys() & given.keys():
        if given[name] != expected[name]:
            wrong.append(f"{name} has shape {given[name]} instead of {expected[name]}")
    if wrong:
        first = "; ".join(sorted(wrong)[:3]) + f"; and {len(wrong) - 3} more" * (len(wrong) > 3)
        raise ValueError(f"{path} does not hold the released generator: {first}")
    model = model.to_empty(device="cpu")
    model.load_state_dict(state, strict=True)
    return model.eval()


def _generator(path: Path) -> dict[str, Tensor]:
    """The tensors under "generator", by the names they have in one process: DataParallel's "module." is taken off."""
    with path.open("rb") as file:  # an error here is the system's, one below the file's
        try:
            saved = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # what is damaged raises anything
            raise _refusal(path, error) from None  # torch's own error tells how to run what may be malicious
    if not isinstance(saved, dict) or "generator" not in saved:
        keys = ", ".join(repr(key) for key in list(saved)[:3]) if isinstance(saved, dict) else type(saved).__name__
        raise ValueError(f"{path} holds no 'generator', but {keys or 'nothing'}: give the generator's checkpoint")
    state = saved["generator"]
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{path} holds a 'generator' that is no dict of tensors: give the authors' own checkpoint")
    return {str(name).removeprefix("module."): tensor for name, tensor in state.items()}


def _refusal(path: Path, error: Exception) -> ValueError:
    """What to say of a file that torch does not load."""
    if asked := re.search(r"GLOBAL (\S+)", str(error)):
        return ValueError(
            f"{path} asks for {asked[1]}, and loading that could run code of whoever made the file: it is refused; "
            f"take the checkpoint from the authors' own page"
        )
    try:
        with safe_open(path, "pt"):
            return ValueError(
                f"{path} is a safetensors file, not one of the authors' checkpoints: misf_lite.load_weights loads what "
                f"misf_lite.save_weights wrote"
            )
    except SafetensorError:
        return ValueError(f"{path} is damaged or not a PyTorch checkpoint: download it anew")
