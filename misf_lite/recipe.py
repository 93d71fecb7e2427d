"""How to train: what to learn from, what to want, how to get there."""

from dataclasses import dataclass
from typing import Any, Self

from misf_lite.masks import KINDS

LOSSES = ("l1", "mse", "log_mse", "perceptual", "style", "feature_distance", "adversarial")
CHOICES = {
    "schedule": ("one-cycle", "constant"),
    "precision": ("float32", "bf16", "fp16"),
    "features": ("efflite0", "vgg19"),  # not efflite1, which is the judge
    "discriminator": ("patches", "features"),
}


@dataclass(frozen=True)
class Recipe:
    """The defaults are what trains best in ten minutes on a laptop. Raises ValueError for what cannot work."""

    # What to learn from
    data: str = "photos"  # a name or a folder, see misf_lite.datasets.open_dataset
    root: str = "datasets"  # where torchvision keeps CelebA and Places365
    masks: str | None = None  # a folder of masks; None draws random ones
    # Of random masks; what is named twice is drawn twice as often.
    kinds: tuple[str, ...] = ("strokes", "strokes", "strokes", "box", "blobs", "blobs", "thin", "text")
    start: str | None = None  # weights to start from, a name or a file; None draws them at random
    crops: tuple[int, ...] = (64, 128)  # sides in pixels; each step takes one of them at random
    batch: int = 16  # pictures per step of the smallest crop, in all processes together; larger ones are fewer

    # What to want: the weights of the losses, see misf_lite.losses; 0 leaves one out
    l1: float = 1.0
    mse: float = 0.0
    log_mse: float = 0.0
    perceptual: float = 0.0
    style: float = 0.0
    feature_distance: float = 0.0
    adversarial: float = 0.0
    hole_weight: float = 6.0  # how much more a pixel in the hole counts in l1 and mse
    features: str = "efflite0"  # what those that see features look through: efflite0 (offline) or vgg19
    discriminator: str = "patches"  # what it looks at: patches of 70 × 70 pixels, or those features

    # How to get there
    steps: int = 2000
    lr: float = 2e-3  # learning rate; of the one-cycle schedule the highest
    discriminator_lr: float = 2e-4
    schedule: str = "one-cycle"  # or constant
    betas: tuple[float, float] = (0.9, 0.999)  # of AdamW
    weight_decay: float = 1e-4
    clip: float = 1.0  # largest norm of the gradient
    ema_decay: float = 0.999  # of the moving average of the weights
    precision: str = "float32"  # or bf16 or fp16, mixed with it
    seed: int = 0  # of weights, pictures and holes

    @classmethod
    def toy(cls, **changes: Any) -> Self:
        """Toy faces of 64 pixels."""
        return cls(**{"data": "toy", "crops": (64,), **changes})

    @classmethod
    def paper(cls, **changes: Any) -> Self:
        """Section 4.1 of the paper: 350,000 steps at 256 pixels, four losses, on VGG19's features."""
        data = {"data": "places365", "crops": (256,), "batch": 8}
        losses = {"perceptual": 0.1, "style": 250.0, "adversarial": 0.1, "hole_weight": 1.0, "features": "vgg19"}
        steps = {"steps": 350_000, "lr": 1e-4, "discriminator_lr": 1e-5, "schedule": "constant"}
        adam = {"betas": (0.0, 0.9), "weight_decay": 0.0}
        return cls(**{**data, **losses, **steps, **adam, **changes})

    @property
    def losses(self) -> dict[str, float]:
        """The losses that are used, with their weights."""
        return {name: getattr(self, name) for name in LOSSES if getattr(self, name)}

    def __post_init__(self) -> None:
        for name in ("crops", "betas", "kinds"):  # lists are welcome
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name in ("steps", "batch", "lr", "discriminator_lr", "hole_weight", "clip"):
            require(getattr(self, name) > 0, f"{name} must be more than 0, got {getattr(self, name)}")
        for name, choices in CHOICES.items():
            given = getattr(self, name)
            require(given in choices, f"{name} must be one of {', '.join(choices)}, got {given!r}")
        wanted = f"0 or more, and one of them more than 0; got {self.losses or 'none'}"
        require(min(self.losses.values(), default=-1) > 0, f"the weights of the losses must be {wanted}")
        require(min(self.crops, default=0) >= 16, f"crops must be sides of 16 pixels or more, got {self.crops}")
        known = set(self.kinds) <= set(KINDS) and self.kinds
        require(known, f"kinds must be of {', '.join(KINDS)}, at least one; got {self.kinds}")
        require(0 <= self.seed < 2**32, f"seed must be from 0 to 2**32 - 1, got {self.seed}")
        require(0 <= self.ema_decay < 1, f"ema_decay must be from 0 to below 1, got {self.ema_decay}")


def require(holds: object, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)
