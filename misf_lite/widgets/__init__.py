"""Widgets for notebooks: read a kernel under the pointer, paint a hole, browse features, switch parts off.

Each is one ``.py`` beside one ``.js``. They need anywidget: ``pip install anywidget``.
"""

try:
    import anywidget  # noqa: F401
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "misf_lite.widgets needs anywidget, which is not installed: run pip install anywidget", name="anywidget"
    ) from error

from misf_lite.widgets.ablation import Ablation
from misf_lite.widgets.feature_browser import FeatureBrowser
from misf_lite.widgets.kernel_explorer import KernelExplorer
from misf_lite.widgets.mask_painter import MaskPainter

__all__ = ["Ablation", "FeatureBrowser", "KernelExplorer", "MaskPainter"]
