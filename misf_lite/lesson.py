"""What a notebook calls: its set-up, and a figure that changes in place."""

import importlib.util
import io
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import torch
from torch import Tensor

import misf_lite as ml
from misf_lite import figures
from misf_lite.device import explain_device

if TYPE_CHECKING:  # it brings accelerate, which takes a while
    from misf_lite.training import Progress

WIDGETS = ("anywidget", "ipywidgets")
PACKAGES = {"cv2": "opencv-python-headless", "patchmatch": "pypatchmatch", "skimage": "scikit-image"}  # for pip


def setup(*needed: str, seed: int = 0) -> torch.device:
    """Get a notebook ready; safe to run twice. Sets the look of figures and the seed, tells which device is used and
    why, and installs modules that are missing: ``needed`` names what only this notebook imports, such as ``"cv2"``.
    Never installs another torch or numpy.

    Raises:
        RuntimeError: pip cannot install one of them.
    """
    missing = [PACKAGES.get(name, name) for name in (*WIDGETS, *needed) if importlib.util.find_spec(name) is None]
    if missing:
        print(f"installing {', '.join(missing)} …")
        kept = [f"{name}=={version(name)}" for name in ("torch", "numpy")]
        command = [sys.executable, "-m", "pip", "install", "--quiet", *missing, *kept]
        if subprocess.run(command).returncode:
            raise RuntimeError(f"pip could not install {', '.join(missing)} (see above): check the network connection")
    plt.rcParams.update({"figure.dpi": 110, "axes.titlesize": 10, "image.interpolation": "nearest"})
    torch.manual_seed(seed)
    device, why = explain_device()
    print(f"misf_lite {ml.__version__}, torch {torch.__version__}; device: {why}")
    return device


def live(image: Tensor, mask: Tensor, pixel: tuple[int, int]) -> Callable[["Progress"], None]:
    """For ``train(…, watch=live(…))``: in a notebook one figure that changes in place, elsewhere nothing.

    Args:
        image: ``(1, 3, H, W)``, filled again after each validation. mask: ``(1, 1, H, W)``, 1 = hole.
        pixel: row and column whose image-level kernel is shown, if the model has one there.
    """
    IPython = sys.modules.get("IPython")  # a notebook has imported it
    if IPython is None or not hasattr(IPython.get_ipython(), "kernel"):
        return lambda progress: None
    from IPython.display import Image, display

    def drawn(history: list[dict], sample: Tensor, kernel: Tensor | None) -> Image:
        axes = figures.show_training(history, sample, kernel)
        figures.mark_pixel(axes[2], *pixel)
        file = io.BytesIO()
        axes[0].figure.savefig(file, format="png")
        plt.close(axes[0].figure)  # or the notebook shows it a second time
        return Image(file.getvalue())

    shown = display(drawn([], figures.with_hole(image, mask), None), display_id=True)

    def watch(progress: "Progress") -> None:
        device = next(progress.model.parameters()).device
        flow = ml.Flow.of(progress.model, image.to(device), mask.to(device))
        kernel = flow["K"][0, 0, :, *pixel] if "K" in flow else None
        shown.update(drawn(progress.history, flow["filled"], kernel))

    return watch
