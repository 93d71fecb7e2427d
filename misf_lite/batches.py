"""What a step of training learns from: random crops of pictures, and random holes."""

from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from misf_lite.datasets import Pictures, load_photo, open_dataset, open_masks
from misf_lite.images import to_tensor
from misf_lite.masks import BANDS, fit_mask, random_mask
from misf_lite.recipe import Recipe

SHRINK = 288  # larger pictures are shrunk to this short side, unless crops are larger
VALIDATE_AT = 128  # short side of the pictures that are held out


@dataclass
class Batches(Dataset[tuple[Tensor, Tensor]]):
    """What there is to learn from: item ``step`` is that step's images and masks, or one process's share of them."""

    recipe: Recipe
    pictures: Pictures
    masks: Pictures | None = None  # from `misf_lite.datasets.open_masks`; None draws random ones
    rank: int = 0  # which share
    processes: int = 1  # of how many
    contents: dict[str, str] = field(default_factory=dict)  # what pictures and masks are, see `Pictures.contents`

    def __len__(self) -> int:
        return self.recipe.steps

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor]:
        """Images ``(B, 3, crop, crop)`` and masks ``(B, 1, crop, crop)``."""
        rng = np.random.default_rng((self.recipe.seed, step))
        crop = int(rng.choice(self.recipe.crops))
        share = self.recipe.batch * (min(self.recipe.crops) / crop) ** 2 / self.processes
        count = max(1, round(share)) * self.processes  # an equal share for everyone
        seeds = rng.integers(2**31, size=count)
        mine = [np.random.default_rng(seed) for seed in seeds[self.rank :: self.processes]]
        images = [random_crop(self.pictures[int(rng.integers(len(self.pictures)))], crop, rng) for rng in mine]
        return torch.cat(images), torch.cat([self.mask(crop, rng) for rng in mine])

    def mask(self, crop: int, rng: np.random.Generator) -> Tensor:
        if self.masks is not None:
            return fit_mask(np.asarray(self.masks[int(rng.integers(len(self.masks)))]), crop, rng)
        kinds = self.recipe.kinds
        return random_mask(crop, BANDS[rng.integers(3)], kinds[rng.integers(len(kinds))], int(rng.integers(2**32)))


def random_crop(picture: Image.Image, crop: int, rng: np.random.Generator) -> Tensor:
    """A random square at a random scale, sometimes mirrored: ``(1, 3, crop, crop)``."""
    side = rng.uniform(min(crop, *picture.size), min(picture.size))
    left, top = (rng.uniform(0, n - side) for n in picture.size)
    square = picture.resize((crop, crop), Image.Resampling.LANCZOS, (left, top, left + side, top + side))
    image = to_tensor(square)
    return image.flip(3) if rng.random() < 0.5 else image


def open_batches(recipe: Recipe, rank: int = 0, processes: int = 1) -> tuple[Batches, list[Tensor], list[str]]:
    """What to learn from, the pictures held out ``(1, 3, H, W)``, and what a person should know about them."""
    crop = max(recipe.crops)
    toy = recipe.data == "toy"  # whole faces, drawn at the size at which they are learnt
    short_side = crop if toy else VALIDATE_AT
    largest = crop if toy else max(SHRINK, crop)
    open_split = partial(open_dataset, recipe.data, root=recipe.root, without=recipe.masks)
    pictures, held_out = open_split("train", shrink=largest), open_split("val", shrink=short_side)
    masks = open_masks(recipe.masks, without=recipe.data) if recipe.masks else None
    contents = {"pictures": pictures.contents(), "held-out pictures": held_out.contents()}
    if masks:
        contents["masks"] = masks.contents()
    notes = [f"pictures in {recipe.data}: {len(pictures):,} to learn from, {len(held_out)} held out"]
    small = sum(side < crop for side in pictures.short_sides)
    if small:
        notes.append(f"smaller than the crop of {crop} pixels, and so enlarged: {small} of {len(pictures)} pictures")
    notes += dict.fromkeys(pictures.notes + held_out.notes)  # each once
    notes += masks.notes if masks else []
    images = [load_photo(picture, short_side) for picture in held_out]
    return Batches(recipe, pictures, masks, rank, processes, contents), images, notes
