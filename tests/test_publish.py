"""A notebook from outside: run, made into a page, stripped of its solutions."""

import nbformat
import pytest
from PIL import Image

from misf_lite.publish import as_page, embed, run_notebook, student_version


@pytest.fixture
def notebook(tmp_path):
    code = nbformat.v4.new_code_cell
    cells = [
        code('preset = "full"', metadata={"tags": ["parameters"]}),
        code("import matplotlib.pyplot as plt\nplt.plot([1, 2]);", id="curve", metadata={"tags": ["picture"]}),
        code("print('not measured')"),
        code("print(f'{preset}: 3 dB')", metadata={"tags": ["measured"]}),
        code("import ipywidgets\nipywidgets.IntSlider()"),
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    path = tmp_path / "lesson.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)
    return path


@pytest.mark.filterwarnings("default")  # a warning raised inside papermill's event loop would leave it waiting
def test_a_notebook_is_run_with_its_preset_and_leaves_a_page_its_pictures_and_what_was_measured(notebook, tmp_path):
    folder = tmp_path / "new" / "out"
    page, pictures, measured = run_notebook(notebook, folder, "tiny")
    assert page == folder / "lesson.html" and "tiny: 3 dB" in page.read_text(encoding="utf-8")
    assert pictures == [folder / "curve.png"]
    with Image.open(pictures[0]) as picture:
        assert picture.width > 300
    assert measured == "tiny: 3 dB"
    ran = nbformat.read(folder / "lesson.ipynb", as_version=4)
    assert any(cell.get("outputs") for cell in ran.cells)
    assert {path.name for path in folder.iterdir()} == {"lesson.html", "lesson.ipynb", "curve.png"}
    run_again = run_notebook(notebook, folder, "full")
    assert run_again == (page, pictures, "full: 3 dB")


def test_a_missing_notebook_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="run this from a checkout"):
        run_notebook(tmp_path / "none.ipynb", tmp_path)


def test_what_cannot_be_written_is_said_before_anything_runs(notebook, tmp_path):
    (tmp_path / "out" / "lesson.html").mkdir(parents=True)
    with pytest.raises(IsADirectoryError, match=r"lesson\.html is a folder"):
        run_notebook(notebook, tmp_path / "out")
    assert not (tmp_path / "out" / "lesson.ipynb").exists()


# The page


WIDGET = {"_anywidget_id": "misf_lite.widgets.Toy", "_esm": "export default { render() {} }", "data": "a < b"}
VIEW = "application/vnd.jupyter.widget-view+json"


def with_widget(**state):
    """An executed notebook that shows one widget, twice."""
    shown = [{VIEW: {"model_id": "m"}, "image/png": "", "text/plain": "a widget"} for _ in range(2)]
    cell = nbformat.v4.new_code_cell(outputs=[nbformat.v4.new_output("display_data", data) for data in shown])
    states = {"m": {"state": WIDGET | state, "buffers": []}}
    known = {"application/vnd.jupyter.widget-state+json": {"state": states}}
    return nbformat.v4.new_notebook(cells=[cell], metadata={"widgets": known})


def test_a_widget_becomes_html_with_its_data_and_script_each_time_it_is_shown():
    notebook = with_widget()
    embed(notebook)
    first, second = (output["data"] for output in notebook.cells[0].outputs)
    assert set(first) == {"text/html", "text/plain"} and first["text/html"] != second["text/html"]
    assert "const widget = { render() {} }" in first["text/html"] and "mount(" in first["text/html"]
    assert r'{"data": "a \u003c b"}' in first["text/html"]  # nothing in the data can end the script
    assert "widgets" not in notebook.metadata


def test_other_widgets_leave_their_picture():
    notebook = with_widget(_anywidget_id="another.Widget")
    embed(notebook)
    assert [set(output["data"]) for output in notebook.cells[0].outputs] == [{"image/png", "text/plain"}] * 2


def test_a_page_keeps_of_a_progress_bar_only_its_last_state():
    steps = [nbformat.v4.new_output("stream", name="stderr", text=f"\r{n} of 2") for n in range(3)]
    page = as_page(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(outputs=steps)]))
    assert "2 of 2" in page and "1 of 2" not in page


# The student's copy


def test_a_solution_becomes_a_stub_at_its_own_indentation():
    solved = "def double(x):\n    ### BEGIN SOLUTION\n    y = x + x\n    return y\n    ### END SOLUTION\n\nprint(1)"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(solved)])
    assert student_version(notebook).cells[0].source == "def double(x):\n    pass  # your code here\n\nprint(1)"


def test_the_solution_in_the_text_goes_and_the_hint_stays():
    hint = "<details><summary>A hint</summary>Add.</details>\n"
    unfolded = "<details><summary>The solution</summary>\n\n`x + x`\n\n</details>\n"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(f"Do it.\n{hint}{unfolded}Then?")])
    assert student_version(notebook).cells[0].source == f"Do it.\n{hint}Then?"


# The student's version


def stripped(source, **cell):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source, **cell)])
    return student_version(notebook).cells[0]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_solution_is_taken_out_whatever_the_line_ends(end):
    lines = ["x = 1", "if x:", "    ### BEGIN SOLUTION", "    y = 2", "    ### END SOLUTION", "z = 3"]
    assert stripped(end.join(lines)).source == "x = 1\nif x:\n    pass  # your code here\nz = 3"


def test_what_cells_have_put_out_is_taken_out_too():
    output = nbformat.v4.new_output("stream", text="42")
    cell = stripped("print(42)", outputs=[output], execution_count=7)
    assert cell.outputs == [] and cell.execution_count is None


@pytest.mark.parametrize(
    "source",
    [
        "### BEGIN SOLUTION\ny = 2",
        "y = 2\n### END SOLUTION",
        "# begin solution\ny = 2\n# end solution",
        "x = 1  ### BEGIN SOLUTION\ny = 2\n### END SOLUTION",
        "<details open><summary>The solution</summary>y = 2</details>",
    ],
)
def test_a_mark_that_would_leave_a_solution_in_is_refused(source):
    with pytest.raises(ValueError, match=r"cell 1 has .* so a solution would stay"):
        stripped(source)


@pytest.mark.filterwarnings("default")
def test_a_notebook_runs_in_this_python_whatever_else_is_called_python3(notebook, tmp_path, monkeypatch):
    foreign = tmp_path / "kernels" / "python3"
    foreign.mkdir(parents=True)
    text = '{"argv": ["/nowhere/python", "{connection_file}"], "display_name": "x", "language": "python"}'
    (foreign / "kernel.json").write_text(text)
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    assert run_notebook(notebook, tmp_path / "out")[2] == "full: 3 dB"
