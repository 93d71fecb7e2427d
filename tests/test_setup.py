"""`make setup`, on a small copy of the project whose stand-ins for venv and pip take no time."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the Makefile is for Linux and macOS")

ROOT = Path(__file__).parent.parent
QUICK_VENV = "import sys; sys.path.pop(0); import venv; venv.main(['--without-pip', *sys.argv[1:]])"
QUICK_PIP = "print('installed')"


@pytest.fixture
def checkout(tmp_path):
    folder = tmp_path / "a checkout with spaces"
    (folder / ".ci").mkdir(parents=True)
    for name in ("Makefile", ".ci/setup.py", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, folder / name)
    (folder / "venv.py").write_text(QUICK_VENV)  # python -m finds these first
    (folder / "pip.py").write_text(QUICK_PIP)
    return folder


def command(*arguments, python=sys.executable):
    """make's command line and an environment without what an outer `make` left there."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS", "PYTHON"))
    }
    return ["make", *arguments, *([f"PYTHON={python}"] if python else [])], environment


def make(folder, python=sys.executable, **extra):
    line, environment = command("setup", python=python)
    return subprocess.run(line, cwd=folder, env=environment | extra, capture_output=True, text=True, timeout=60)


def sentence(process):
    """What a failed `make` said on stderr, but for make's own closing line."""
    assert process.returncode != 0
    said = [line for line in process.stderr.splitlines() if not line.startswith("make")]
    assert len(said) == 1, process.stderr
    return said[0]


def python_with(folder, prelude):
    """A Python like this one, in which `prelude` was run first."""
    stub = folder / "python-stub"
    run = "exec(sys.argv[1]) if sys.argv[0] == '-c' else runpy.run_path(sys.argv[0], run_name='__main__')"
    stub.write_text(
        f'#!/bin/sh\nexec "{sys.executable}" -c "import runpy, sys; sys.argv.pop(0); {prelude}; {run}" "$@"\n'
    )
    stub.chmod(0o755)
    return "./python-stub"


def test_the_first_setup_announces_each_step_in_one_line(checkout):
    said = make(checkout).stdout.splitlines()
    assert [line.split(",")[0] for line in said[:2]] == [
        f"Setting up: making .venv with Python {sys.version.split()[0]}",
        "Setting up: installing packages",
    ]
    assert said[2].startswith("Set up in ")
    assert len(said) == 3


def test_a_second_setup_does_nothing_says_nothing_and_is_quick(checkout):
    make(checkout)
    (checkout / "pip.py").write_text("raise SystemExit('pip was run')")
    start = time.monotonic()
    second = make(checkout, python=None)
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")
    assert time.monotonic() - start < 2


def test_changed_requirements_are_installed_into_the_environment_that_is_there(checkout):
    make(checkout)
    (checkout / ".venv/kept").touch()
    (checkout / "constraints.txt").write_text("torch==2.15\n")
    assert "installing packages" in make(checkout).stdout
    assert (checkout / ".venv/kept").exists()
    assert make(checkout).stdout == ""


def test_changed_requirements_that_cannot_be_had_leave_the_environment_usable(checkout):
    make(checkout)
    (checkout / "constraints.txt").write_text("torch==2.15\n")
    (checkout / "pip.py").write_text("raise SystemExit('ERROR: No matching distribution found for torch==2.15')")
    sentence(make(checkout))
    assert (checkout / ".venv/bin/python").exists()


def test_an_old_python_is_refused_with_one_sentence(checkout):
    old = python_with(checkout, "sys.version_info = (3, 10, 13)")
    assert sentence(make(checkout, old)) == (
        "Set-up failed: Python 3.11 or newer is needed, and none was found as ./python-stub. "
        "Install one, or name it: make PYTHON=/path/to/python3"
    )


def test_a_python_without_its_venv_module_is_refused_with_what_to_install(checkout):
    bare = python_with(checkout, "sys.modules['ensurepip'] = None")
    assert f"apt install python{sys.version_info[0]}.{sys.version_info[1]}-venv" in sentence(make(checkout, bare))
    assert not (checkout / ".venv").exists()


def test_without_a_network_one_sentence_says_so_and_no_environment_is_left(checkout):
    (checkout / "venv.py").unlink()
    (checkout / "pip.py").unlink()
    offline = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": ""}
    said = sentence(make(checkout, **offline))
    assert "No matching distribution found for hatchling" in said
    assert "check the network connection, then run the same command again" in said
    assert not (checkout / ".venv").exists()


def test_a_full_disk_is_named_and_the_whole_log_is_kept(checkout):
    words = "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device"
    (checkout / "pip.py").write_text(f"print('Collecting torch'); raise SystemExit({words!r})")
    said = sentence(make(checkout))
    assert "No space left on device" in said and "free some 8 GB of disk" in said and "outputs/setup.log" in said
    assert "Collecting torch" in (checkout / "outputs/setup.log").read_text()
    assert not (checkout / ".venv").exists()


def interrupt_while_pip_runs(folder, action):
    """Start a set-up whose pip never ends, do `action(process)` meanwhile, and interrupt it as Ctrl-C does."""
    (folder / "pip.py").write_text("import time; open('pip-runs', 'w').close(); time.sleep(60)")
    line, environment = command("setup")
    heed = "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execvp('make', sys.argv[1:])"
    process = subprocess.Popen(
        [sys.executable, "-c", heed, *line],
        cwd=folder,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while not (folder / "pip-runs").exists():
        assert process.poll() is None
        time.sleep(0.02)
    action(process)
    os.killpg(process.pid, signal.SIGINT)
    stderr = process.communicate(timeout=60)[1]
    (folder / "pip.py").write_text(QUICK_PIP)
    return stderr


def test_an_interrupted_setup_says_so_and_leaves_no_environment(checkout):
    stderr = interrupt_while_pip_runs(checkout, lambda process: None)
    assert "Set-up was interrupted: run the same command again to start it afresh." in stderr.splitlines()
    assert not (checkout / ".venv").exists()
    assert make(checkout).returncode == 0


def test_two_setups_at_once_do_not_harm_each_other(checkout):
    others = []
    interrupt_while_pip_runs(checkout, lambda process: others.append(make(checkout)))
    assert sentence(others[0]).startswith("Another set-up is at work in this folder")


def test_an_environment_left_half_made_is_made_anew(checkout):
    make(checkout)
    next(checkout.glob(".venv/lib/*/site-packages/misf_lite.stamp")).unlink()  # it is what set-up writes last
    (checkout / ".venv/half-made").touch()
    assert make(checkout, python=None).returncode == 0
    assert not (checkout / ".venv/half-made").exists()


def test_an_environment_whose_python_is_gone_is_made_anew(checkout):
    make(checkout)
    python = checkout / ".venv/bin/python"
    python.unlink()
    python.symlink_to("/no/such/python")
    assert make(checkout).returncode == 0
    assert subprocess.run([python, "-c", ""]).returncode == 0


def test_a_moved_checkout_is_set_up_anew(checkout):
    make(checkout)
    moved = checkout.rename(checkout.with_name("moved"))
    assert "making .venv" in make(moved, python=None).stdout


def test_make_alone_lists_every_target(checkout):
    line, environment = command()
    listed = subprocess.run(line, cwd=checkout, env=environment, capture_output=True, text=True).stdout.splitlines()
    assert [line.split()[0] for line in listed] == ["help", "setup", "lab", "demo", "test", "clean"]
