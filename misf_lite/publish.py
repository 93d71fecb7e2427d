"""A notebook from outside: run it, take its solutions out, make a page of it whose widgets need no kernel."""

import base64
import json
import re
import uuid
from pathlib import Path
from typing import Any

from misf_lite.extras import import_or_explain
from misf_lite.files import atomic_write, check_target

# Ten minutes for a cell; and the kernel need not say that it talks to us over plain loopback.
ENGINE = {"execution_timeout": 600, "extra_arguments": ["--IPKernelApp.log_level=40"]}
VIEW = "application/vnd.jupyter.widget-view+json"
STATE = "application/vnd.jupyter.widget-state+json"
MOUNT = Path(__file__).parent / "widgets" / "page.js"
SOLUTION = re.compile(r"^([ \t]*)### BEGIN SOLUTION\n.*?^[ \t]*### END SOLUTION[^\n]*", re.MULTILINE | re.DOTALL)
UNFOLDED = re.compile(r"<details><summary>The solution</summary>.*?</details>\n?", re.DOTALL)
LEFT = re.compile(r"(begin|end)\W*solution|<summary>\W*(the )?solution", re.IGNORECASE)


def student_version(notebook: dict[str, Any]) -> dict[str, Any]:
    """The notebook (as nbformat reads it, changed in place) with every solution replaced by a stub to fill in, and
    without what its cells have put out. Raises ValueError where a mark of a solution is left over.
    """
    notebook["metadata"].pop("widgets", None)
    for number, cell in enumerate(notebook["cells"], 1):
        source = "\n".join(cell["source"].splitlines())
        cell["source"] = UNFOLDED.sub("", SOLUTION.sub(r"\1pass  # your code here", source))
        left = LEFT.search(cell["source"])
        if left:
            pair = "write ### BEGIN SOLUTION and ### END SOLUTION on lines of their own, in this order"
            raise ValueError(f"cell {number} has {left[0]!r} without its counterpart, so a solution would stay: {pair}")
        if cell["cell_type"] == "code":
            cell["outputs"] = []
            cell["execution_count"] = None
    return notebook


def run_notebook(notebook: Path, folder: Path, preset: str = "full") -> tuple[Path, list[Path], str]:
    """Run a notebook; write it, a page that needs no network, and a picture per cell tagged ``picture`` to ``folder``.

    Returns the page, the pictures (named ``<cell id>.png``), and what cells tagged ``measured`` print.

    Raises:
        FileNotFoundError: no such notebook. ImportError: the notebook tools are not installed.
        OSError: the notebook or the page cannot be written to ``folder``; nothing was run.
    """
    if not notebook.is_file():
        raise FileNotFoundError(f"no notebook at {notebook}: run this from a checkout of the project")
    papermill, nbformat = (import_or_explain(name, "notebooks") for name in ("papermill", "nbformat"))
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / f"{notebook.stem}.html"
    for path in (folder / notebook.name, page):
        check_target(path, overwrite=True)
    engine = ENGINE | {"kernel_manager_class": own_kernel()}
    ran = papermill.execute_notebook(notebook, None, {"preset": preset}, cwd=notebook.parent, **engine)
    with atomic_write(folder / notebook.name, overwrite=True) as file:
        file.write(nbformat.writes(ran).encode())
    pictures = []
    measured = ""
    for cell in ran.cells:
        tags = cell.metadata.get("tags", [])
        for output in cell.get("outputs", []):
            if "picture" in tags and "image/png" in output.get("data", {}):
                pictures.append(folder / f"{cell.id}.png")
                with atomic_write(pictures[-1], overwrite=True) as file:
                    file.write(base64.b64decode(output.data["image/png"]))
            if "measured" in tags and output.output_type == "stream":
                measured += output.text
    with atomic_write(page, overwrite=True) as file:
        file.write(as_page(ran).encode())
    return page, pictures, measured.rstrip()


def own_kernel() -> type:
    """What starts a kernel in this very Python, whatever else is called python3 where Jupyter looks."""
    client = import_or_explain("jupyter_client", "notebooks")
    here = client.kernelspec.KernelSpecManager(kernel_dirs=[])
    return type("OwnKernel", (client.AsyncKernelManager,), {"kernel_spec_manager": here})


def as_page(notebook: Any) -> str:
    """An executed notebook (as nbformat reads it, changed in place) as HTML that asks no network for anything."""
    nbconvert = import_or_explain("nbconvert", "notebooks")
    embed(notebook)
    exporter = nbconvert.HTMLExporter(mathjax_url="", require_js_url="", jquery_url="", exclude_input_prompt=True)
    # Of a progress bar only the last state is kept.
    exporter.register_preprocessor("nbconvert.preprocessors.CoalesceStreamsPreprocessor", enabled=True)
    return exporter.from_notebook_node(notebook)[0]


def embed(notebook: Any) -> None:
    """Turn this package's widgets in an executed notebook (changed in place) into HTML; others leave their picture."""
    states = notebook["metadata"].pop("widgets", {}).get(STATE, {}).get("state", {})
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            widget = states.get(data.pop(VIEW, {}).get("model_id"), {"state": {}})
            if widget["state"].get("_anywidget_id", "").startswith("misf_lite."):
                data["text/html"] = _as_html(widget["state"], widget.get("buffers", []))
                data.pop("image/png", None)


def _as_html(state: dict[str, Any], buffers: list[dict[str, Any]]) -> str:
    kept = {key: value for key, value in state.items() if not key.startswith("_")}
    content = json.dumps({"state": kept, "buffers": buffers}).replace("<", "\\u003c")
    script = state["_esm"].replace("export default", "const widget =") + MOUNT.read_text(encoding="utf-8")
    place = f"widget-{uuid.uuid4().hex}"  # one widget may be shown twice
    data = f'<div id="{place}"><script type="application/json">{content}</script></div>'
    return f'{data}\n<script type="module">\n{script}\nmount("{place}", widget);\n</script>'
