"""A notebook from outside: run it, take its solutions out, make a page of it whose widgets need no kernel."""

import base64
import json
import re
import uuid
from pathlib import Path
from typing import Any

from misf_lite.files import atomic_write, check_target

# Ten minutes for a cell; and the kernel need not say that it talks to us over plain loopback.
ENGINE = {"execution_timeout": 600, "extra_arguments": ["--IPKernelApp.log_level=40"]}
VIEW = "application/vnd.jupyter.widget-view+json"
STATE = "application/vnd.jupyter.widget-state+json"
MOUNT = Path(__file__).parent / "widgets" / "page.js"
SOLUTION = re.compile(r"^([ \t]*)### BEGIN SOLUTION\n.*?^[ \t]*### END SOLUTION[^\n]*", re.MULTILINE | re.DOTALL)
UNFOLDED = re.compile(r"<details><summary>The solution</summary>.*?</details>\n?", re.DOTALL)


def student_version(notebook: dict[str, Any]) -> dict[str, Any]:
    """The notebook (as nbformat reads it, changed in place) with every solution replaced by a stub to fill in."""
    for cell in notebook["cells"]:
        cell["source"] = UNFOLDED.sub("", SOLUTION.sub(r"\1pass  # your code here", cell["source"]))
    return notebook


def run_notebook(notebook: Path, folder: Path, preset: str = "full") -> tuple[Path, list[Path], str]:
    """Run a notebook and write it, a page that needs no network, and its pictures to ``folder``.

    Cells tagged ``picture`` give ``<cell id>.png``; what cells tagged ``measured`` print is returned.

    Returns:
        The page, the pictures, the measured text.

    Raises:
        FileNotFoundError: no such notebook. ImportError: the notebook tools are not installed.
        OSError: the notebook or the page cannot be written to ``folder``; nothing was run.
    """
    if not notebook.is_file():
        raise FileNotFoundError(f"no notebook at {notebook}: run this from a checkout of the project")
    try:
        import nbformat
        import papermill
    except ImportError as error:
        raise ImportError(f"{error}: pip install 'misf-lite[notebooks]'") from error
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / f"{notebook.stem}.html"
    for path in (folder / notebook.name, page):
        check_target(path, overwrite=True)
    ran = papermill.execute_notebook(notebook, None, {"preset": preset}, cwd=notebook.parent, **ENGINE)
    _write(folder / notebook.name, nbformat.writes(ran).encode())
    pictures = []
    measured = []
    for cell in ran.cells:
        tags = cell.metadata.get("tags", [])
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "picture" in tags and "image/png" in data:
                pictures.append(_write(folder / f"{cell.id}.png", base64.b64decode(data["image/png"])))
            if "measured" in tags and output.output_type == "stream":
                measured.append(output.text)
    _write(page, as_page(ran).encode())
    return page, pictures, "".join(measured).rstrip()


def _write(path: Path, content: bytes) -> Path:
    with atomic_write(path, overwrite=True) as file:
        file.write(content)
    return path


def as_page(notebook: Any) -> str:
    """An executed notebook (as nbformat reads it, changed in place) as HTML that asks no network for anything."""
    from nbconvert import HTMLExporter, preprocessors

    embed(notebook)
    exporter = HTMLExporter(mathjax_url="", require_js_url="", jquery_url="", exclude_input_prompt=True)
    exporter.register_preprocessor(preprocessors.CoalesceStreamsPreprocessor, enabled=True)  # ends of progress bars
    return exporter.from_notebook_node(notebook)[0]


def embed(notebook: Any) -> None:
    """Turn each widget in the outputs of an executed notebook (changed in place) into HTML with its data and script.

    Other widgets, which can do nothing without a kernel, leave the picture that was stored beside them.
    """
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
    return (
        f'<div id="{place}"><script type="application/json">{content}</script></div>\n'
        f'<script type="module">\n{script}\nmount("{place}", widget);\n</script>'
    )
