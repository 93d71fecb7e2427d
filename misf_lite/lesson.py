"""A notebook's set-up; and, from outside, running one and making the student's version of it."""

import importlib.util
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import matplotlib.pyplot as plt
import torch

import misf_lite as ml
from misf_lite.device import explain_device

NEEDED = ("ipywidgets",)  # beyond the package's own requirements
CELL_TIMEOUT = 600  # seconds


def setup(seed: int = 0) -> torch.device:
    """Get a notebook ready; safe to run twice. Installs what is missing (never another torch or numpy), sets the look
    of figures and the seed, and tells which device is used and why."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        print(f"installing {', '.join(missing)} …")
        kept = [f"{name}=={version(name)}" for name in ("torch", "numpy")]
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", *missing, *kept], check=True)
    plt.rcParams.update({"figure.dpi": 100, "axes.titlesize": 11, "image.interpolation": "nearest"})
    torch.manual_seed(seed)
    device, why = explain_device()
    print(f"misf_lite {ml.__version__}, torch {torch.__version__}; device: {why}")
    return device


SOLUTION = re.compile(r"^([ \t]*)### BEGIN SOLUTION\n.*?^[ \t]*### END SOLUTION[^\n]*", re.MULTILINE | re.DOTALL)


def student_version(notebook: dict) -> dict:
    """The notebook (as nbformat reads it, changed in place) with every solution replaced by a stub to fill in."""
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell["source"] = SOLUTION.sub(r"\1pass  # your code here", cell["source"])
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
    except ImportError as error:
        raise ImportError(f"{error}: pip install 'misf-lite[notebooks]'") from error
    import base64

    folder.mkdir(parents=True, exist_ok=True)
    ran = folder / notebook.name
    papermill.execute_notebook(notebook, ran, {"preset": preset}, cwd=notebook.parent, execution_timeout=CELL_TIMEOUT)
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
            if "application/vnd.jupyter.widget-view+json" in data:  # a page has no kernel to move a slider with
                output.data = {"text/plain": "(Sliders: run the notebook to use them.)"}
    exporter = HTMLExporter(mathjax_url="", require_js_url="", jquery_url="", exclude_input_prompt=True)
    page = folder / f"{notebook.stem}.html"
    page.write_text(exporter.from_notebook_node(content)[0], encoding="utf-8")
    return page, pictures, "".join(measured).rstrip()
