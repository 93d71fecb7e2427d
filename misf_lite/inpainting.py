"""From a picture with a hole to a filled picture: weights on disk, any size, PIL in and out."""

import functools
import json
import math
import os
import warnings
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors import SafetensorError, safe_open
from torch import Tensor
from tqdm import tqdm

from misf_lite.datasets import data_folder
from misf_lite.device import device
from misf_lite.images import Source, check_pair, open_image, open_mask, to_tensor
from misf_lite.model import MISF, MISFConfig
from misf_lite.released import ReleasedMISF, load_released

WHOLE = 1024 * 1024  # pixels; larger pictures are filled tile by tile
TILE = 512


def inpaint(image: Source, mask: Source, model: MISF | None = None, tile: int | None = None) -> Image.Image:
    """Fill the hole of a picture.

    Args:
        image: a path, PIL image, array or tensor; see `misf_lite.images.open_image`.
        mask: the same, of the same size; what counts as hole is told in `misf_lite.images.open_mask`.
        model: the model to use, where it lies, also one of `misf_lite.load_released`; None loads the ``photos`` weights
            once, onto `misf_lite.device`.
        tile: side in pixels of the square tiles to work in, 64 or more. None works on the whole picture up to one
            megapixel, and on tiles of 512 beyond.

    Returns:
        A PIL image of the same size: L, LA, RGB, RGBA or I;16, as `open_image` gives it. Known pixels are
        bit-identical to it; filled pixels are opaque.

    Raises:
        ValueError, OSError: an image, mask or pair that cannot be used, with what to do.
    """
    picture, hole = open_image(image), open_mask(mask)
    check_pair(picture, hole)
    if tile is not None and (not isinstance(tile, int) or tile < 64):
        raise ValueError(f"tile must be a whole number, at least 64 pixels to see the surroundings, got {tile!r}")
    if not (model is None or isinstance(model, torch.nn.Module)):
        raise TypeError(f"model must be a MISF, got {model!r}: load one with misf_lite.load_pretrained(name)")
    if not hole.any():
        return picture.copy()
    model = _default_model() if model is None else model
    filled = fill(model, to_tensor(picture), hole, tile)
    return _composite(picture, filled, hole[0, 0].numpy() > 0)


@functools.cache
def _default_model() -> MISF:
    return load_pretrained("photos").to(device())


@torch.no_grad()
def fill(model: MISF, image: Tensor, mask: Tensor, tile: int | None = None) -> Tensor:
    """What the model sees in the hole, at any size: ``(1, 3, H, W)`` in [0, 1].

    Pictures of less than 16 pixels are enlarged by repeating their border; large ones are worked on in overlapping
    tiles that fade into each other. Tiles without a hole are left out. Arguments as for `inpaint`, as tensors.
    """
    weight = next(model.parameters())
    training = model.training
    model.eval()
    try:
        H, W = image.shape[2:]
        small = (0, max(16 - W, 0), 0, max(16 - H, 0))
        x, m = (F.pad(t, small, mode="replicate") for t in (image, mask))
        if tile is None and x[0, 0].numel() > WHOLE:
            tile = TILE
        if tile is None or tile >= max(x.shape[2:]):
            return model(x.to(weight), m.to(weight)).to(image)[..., :H, :W]

        total, weights = torch.zeros_like(x), torch.zeros_like(m)
        blind = 0
        windows = [window for window in _windows(*x.shape[2:], tile) if m[..., *window].any()]
        for rows, columns in tqdm(windows, desc="tiles", leave=False, disable=None):  # quiet where nobody watches
            xt, mt = x[..., rows, columns], m[..., rows, columns]
            blind += bool(mt.all())
            fade = _fade(xt.shape[2], tile)[:, None] * _fade(xt.shape[3], tile)
            total[..., rows, columns] += model(xt.to(weight), mt.to(weight)).to(image) * fade
            weights[..., rows, columns] += fade
        if blind:
            warnings.warn(
                f"the hole is so large that {blind} tiles of {tile} pixels hold no known pixel and are guesses: "
                f"use a larger tile, or a smaller picture",
                stacklevel=3,
            )
        return (total / weights.where(weights > 0, torch.ones(())))[..., :H, :W]
    finally:
        model.train(training)


def _windows(H: int, W: int, tile: int) -> Iterator[tuple[slice, slice]]:
    """Tiles that overlap by at least a quarter and end with the picture."""

    def starts(n: int) -> list[int]:
        count = 1 + max(0, math.ceil((n - tile) / (0.75 * tile)))
        return np.linspace(0, max(0, n - tile), count).round().astype(int).tolist()

    for top in starts(H):
        for left in starts(W):
            yield slice(top, min(top + tile, H)), slice(left, min(left + tile, W))


def _fade(n: int, tile: int) -> Tensor:
    """1 in the middle of a tile, falling towards both ends over a quarter of it."""
    steps = torch.arange(n) + 0.5
    return (torch.minimum(steps, n - steps) / (tile / 4)).clamp(max=1)


def _composite(picture: Image.Image, filled: Tensor, hole: np.ndarray) -> Image.Image:
    """The picture with its hole filled, in the picture's own mode."""
    pixels = np.array(picture)
    colour = filled[0].permute(1, 2, 0).numpy()  # (H, W, 3)
    if picture.mode in ("L", "LA", "I;16"):
        colour = colour @ np.array([0.299, 0.587, 0.114], np.float32)  # luma, ITU-R BT.601
    if picture.mode in ("LA", "RGBA"):
        opaque = np.ones((*hole.shape, 1), np.float32)
        colour = np.concatenate([colour.reshape(*hole.shape, -1), opaque], 2)
    scale = np.iinfo(pixels.dtype).max
    pixels[hole] = (colour[hole] * scale).round().clip(0, scale).astype(pixels.dtype)
    result = Image.fromarray(pixels)
    result.info = dict(picture.info)  # the colour profile, if there is one
    return result


def pretrained() -> list[str]:
    """Names of the weights that came with the project."""
    return sorted(path.stem for path in (data_folder() / "weights").glob("*.safetensors"))


def load_pretrained(name: str = "photos") -> MISF:
    """A trained model in eval mode on the CPU, from the files that come with the project; no network is used.

    ``"toy"`` is another name for ``"misf"``, the whole model on toy faces.

    Raises:
        ValueError: no such weights; the message lists those there are.
    """
    return load_weights(weights_path(name))


def weights_path(name: str) -> Path:
    """Where weights lie: the path itself, if it has an ending, or the file of a name that came with the project.

    Raises:
        ValueError: no such name.
    """
    if Path(name).suffix:
        return Path(name)
    file = "misf" if name == "toy" else name
    if file not in pretrained():
        raise ValueError(f"there are no weights called {name!r}: choose one of {', '.join(pretrained()) or '(none)'}")
    return data_folder() / "weights" / f"{file}.safetensors"


def find_weights(name: str) -> MISF | ReleasedMISF:
    """The model of a name or of a path: a .pth or .pt file is one of `load_released`."""
    path = weights_path(name)
    return load_released(path) if path.suffix in (".pth", ".pt") else load_weights(path)


def save_weights(model: MISF, path: str | os.PathLike) -> None:
    """Write the model's weights, with its config inside, as safetensors: to a temporary name, then renamed.

    Raises:
        TypeError: not a `MISF`, whose config alone says how it is built.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.part")
    model = getattr(model, "_orig_mod", model)  # what torch.compile wraps
    if not isinstance(model, MISF):
        raise TypeError(f"save_weights writes what load_weights can build, a MISF, got {type(model).__name__}")
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    try:
        temporary.write_bytes(safetensors.torch.save(state, {"config": json.dumps(asdict(model.config))}))
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def load_weights(path: str | os.PathLike) -> MISF:
    """A model in eval mode with the architecture and the weights of a file that `save_weights` wrote.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a damaged file, one of another program, or one that does not fit its architecture. Never are
            weights left as they were drawn at random.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"no weights at {path}: give the path of a .safetensors file, or a name of {pretrained()}"
        )
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a dict
    except SafetensorError as error:
        raise ValueError(f"{path} is truncated or not a safetensors file ({error}): copy or train it anew") from error
    if "config" not in metadata:
        raise ValueError(f"{path} holds no misf_lite config: it was not written by misf_lite.save_weights")
    try:
        config = MISFConfig(**json.loads(metadata["config"]))
        model = MISF(config)
        model.load_state_dict(state, strict=True)
    except (RuntimeError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} does not fit the architecture it names, it is from another version: {error}"
        ) from error
    return model.eval()
