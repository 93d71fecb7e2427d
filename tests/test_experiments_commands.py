"""The command line of the experiments."""

import subprocess
import sys

import pytest

from experiments.__main__ import main


@pytest.mark.parametrize(
    "command", [[], ["ablate"], ["report"], ["bench"], ["kernels"], ["architecture"], ["pictures"], ["gpu"], ["soak"]]
)
def test_every_command_explains_itself(capsys, command):
    with pytest.raises(SystemExit) as end:
        main([*command, "--help"])
    assert end.value.code == 0 and "usage: python -m experiments" in capsys.readouterr().out


def test_the_module_runs_as_a_program_and_an_error_is_one_line():
    command = [sys.executable, "-m", "experiments", "kernels", "--weights", "nothing"]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 1 and run.stdout == ""
    assert "there are no weights called 'nothing': choose one of" in run.stderr and run.stderr.count("\n") == 1
