"""The script for a GPU, at toy size on whatever there is."""

import torch

from experiments import gpu
from misf_lite.model import MISFConfig
from misf_lite.recipe import Recipe


def test_the_report_holds_checks_steps_and_a_table_and_the_folder_the_weights(tmp_path, monkeypatch):
    recipe = Recipe(crops=(32,), batch=2, **gpu.SHARP)
    toy = MISFConfig.toy(width=4, blocks=(1, 1))
    monkeypatch.setattr(gpu, "checks", lambda where, folder: iter([gpu.Check("a check", 1e-7, 1e-5)]))
    report = gpu.run(tmp_path / "gpu", 0.01, recipe, {"photos": toy, "paper": toy}, size=16)
    for words in ("a check", "allowed 1e-05: ok", "photos: 4 steps of", "smooth guess", "0% to 20%"):
        assert words in report
    assert (tmp_path / "gpu" / "report.txt").read_text(encoding="utf-8") == report
    assert (tmp_path / "gpu" / "curves.png").exists()
    assert (tmp_path / "gpu" / "paper" / "weights.safetensors").exists()


def test_all_checks_hold_on_the_cpu(tmp_path):
    checks = list(gpu.checks(torch.device("cpu"), tmp_path))
    assert len(checks) == 6
    assert [str(check) for check in checks if check.error > check.allowed] == []
