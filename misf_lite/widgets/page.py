"""Widgets on a page: what an exported notebook shows lives on from ``file://``, without a kernel and a network."""

import json
from pathlib import Path

VIEW = "application/vnd.jupyter.widget-view+json"
STATE = "application/vnd.jupyter.widget-state+json"
SHIM = (Path(__file__).parent / "page.js").read_text(encoding="utf-8")


def embed(notebook: dict) -> dict[str, str]:
    """Turn each widget in the outputs of an executed notebook (changed in place) into HTML that holds its data.

    Other widgets, which can do nothing without a kernel, leave the picture that was stored beside them.

    Returns:
        The widgets' scripts by name, for `with_scripts`.
    """
    states = notebook["metadata"].pop("widgets", {}).get(STATE, {}).get("state", {})
    scripts = {}
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            view = data.pop(VIEW, None)
            widget = states.get(view["model_id"]) if view else None
            if not widget or not widget["state"].get("_anywidget_id", "").startswith("misf_lite."):
                continue
            state = dict(widget["state"])
            name = state["_anywidget_id"]
            scripts[name] = state["_esm"]
            kept = {key: value for key, value in state.items() if not key.startswith("_")}
            content = json.dumps({"state": kept, "buffers": widget.get("buffers", [])}).replace("<", "\\u003c")
            data["text/html"] = f'<div data-widget="{name}"><script type="application/json">{content}</script></div>'
            data.pop("image/png", None)
    return scripts


def with_scripts(page: str, scripts: dict[str, str]) -> str:
    """The page with what `embed` returned at its end."""
    tags = [
        f'<script type="module">\n{script.replace("export default", "const widget =")}\n{SHIM}\n'
        f"mountAll({json.dumps(name)}, widget);\n</script>\n"
        for name, script in scripts.items()
    ]
    head, end, tail = page.rpartition("</body>")
    return head + "".join(tags) + end + tail
