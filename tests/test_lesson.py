"""The figure that shows a training run while it goes on."""

import matplotlib.pyplot as plt
import nbformat
import pytest
import torch
from nbclient import NotebookClient

from misf_lite import MISF, MISFConfig, lesson
from misf_lite.training import Progress

WATCHED = """
import torch
from misf_lite import MISF, MISFConfig, lesson
from misf_lite.training import Progress

history = []
mask = torch.zeros(1, 1, 32, 32)
mask[..., 8:16, 8:16] = 1
watch = lesson.live(torch.rand(1, 3, 32, 32), mask, pixel=(12, 12))
for step in range(1, {times} + 1):
    history.append({{"step": step, "loss": 1 / step, "psnr_hole": [20, 19, 18]}})
    watch(Progress(step, 9, history, MISF(MISFConfig.toy(image={image}, width=2, blocks=1)).eval()))
"""


@pytest.mark.filterwarnings("default")
def test_in_a_notebook_one_figure_changes_in_place():
    cells = [WATCHED.format(times=times, image=image) for times, image in ((0, True), (1, True), (3, True), (3, False))]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
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
    watch(Progress(1, 2, [], MISF(MISFConfig.toy(width=2, blocks=1))))
    assert not plt.get_fignums() and capsys.readouterr() == ("", "")
