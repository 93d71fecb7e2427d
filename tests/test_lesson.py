"""What a notebook calls: its set-up, and the figure that shows a training run while it goes on."""

from importlib.metadata import version
from types import SimpleNamespace

import matplotlib.pyplot as plt
import nbformat
import pytest
import torch
from nbclient import NotebookClient

import misf_lite as ml
from misf_lite import MISF, MISFConfig, lesson
from misf_lite.training import Progress


def test_set_up_twice_does_no_harm_and_tells_the_device(capsys):
    assert lesson.setup() == lesson.setup() == ml.device()
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 2 and all("device:" in line for line in said)


def test_set_up_installs_what_a_lesson_needs_and_keeps_torch_and_numpy(monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(lesson.importlib.util, "find_spec", lambda name: None if name == "cv2" else name)
    monkeypatch.setattr(
        lesson.subprocess, "run", lambda command: asked.append(command) or SimpleNamespace(returncode=0)
    )
    lesson.setup("cv2")
    (command,) = asked
    assert command[-3:] == ["opencv-python-headless", f"torch=={version('torch')}", f"numpy=={version('numpy')}"]
    assert "installing opencv-python-headless …" in capsys.readouterr().out


def test_what_pip_cannot_install_is_said(monkeypatch):
    monkeypatch.setattr(lesson.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(lesson.subprocess, "run", lambda command: SimpleNamespace(returncode=1))
    with pytest.raises(RuntimeError, match="pip could not install anywidget, ipywidgets, scikit-image"):
        lesson.setup("skimage")


WATCHED = """
import torch
from misf_lite import MISF, MISFConfig, lesson
from misf_lite.training import Progress

history = []
mask = torch.zeros(1, 1, 32, 32)
mask[..., 8:16, 8:16] = 1
watch = lesson.live(torch.rand(1, 3, 32, 32), mask, pixel=(12, 12))
model = MISF(MISFConfig.toy(levels={levels}, width=2, blocks=(1, 1))).eval()
for step in range(1, {times} + 1):
    history.append({{"step": step, "loss": 1 / step, "psnr_hole": [20, 19, 18]}})
    watch(Progress(step, 9, history, model))
"""


@pytest.mark.filterwarnings("default")
def test_in_a_notebook_one_figure_changes_in_place():
    runs = [(0, (0, 3)), (1, (0, 3)), (3, (0, 3)), (3, (3,))]  # the last has no kernel to show
    cells = [nbformat.v4.new_code_cell(WATCHED.format(times=times, levels=levels)) for times, levels in runs]
    notebook = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(notebook, timeout=100, extra_arguments=["--IPKernelApp.log_level=40"]).execute()
    pictures = []
    for cell in notebook.cells:
        (output,) = cell.outputs
        assert output.output_type == "display_data"
        pictures.append(output.data["image/png"])
    assert len(set(pictures)) == 4


def test_outside_a_notebook_nothing_is_shown(capsys):
    image = torch.rand(1, 3, 32, 32)
    watch = lesson.live(image, torch.ones_like(image[:, :1]), pixel=(3, 3))
    watch(Progress(1, 2, [], MISF(MISFConfig.toy(width=2, blocks=(1, 1)))))
    assert not plt.get_fignums() and capsys.readouterr() == ("", "")
