"""The benchmarks, on the smallest shapes: that they measure what they say. What they measure, they print."""

import re
from types import SimpleNamespace

import pytest
import torch

import misf_lite as ml
from experiments import benchmarks
from experiments.__main__ import main
from misf_lite.batches import Batches
from misf_lite.lite import ImageFilter, LiteConfig, LiteMISF
from misf_lite.recipe import Recipe

SMALL = ml.MISFConfig.toy(width=2, blocks=(0, 0))
FEW = Recipe(data="toy", crops=(16,), batch=2)


def row(table, name):
    """The numbers of a table's row."""
    (line,) = (line for line in table.splitlines() if line.startswith(name))
    return [float(n.replace(",", "")) for n in re.findall(r"\d[\d.,]*", line[len(name) :])]


def test_the_usual_ways_compute_what_filter2d_does():
    x, kernels = torch.randn(2, 3, 6, 7), torch.randn(2, 3, 9, 6, 7)
    for way in (benchmarks.stacked, benchmarks.unfolded):
        torch.testing.assert_close(way(x, kernels), ml.filter2d(x, kernels))


def test_the_filter_is_compared_with_the_usual_ways():
    table = benchmarks.bench_filter((1, 2, 16, 16), rounds=1)
    assert row(table, "filter2d")[1::2][:2] == [1, 1]
    assert all(len(row(table, name)) == 6 for name in ("stack of shifted copies", "F.unfold"))


def test_memory_is_what_a_call_holds_at_its_peak_beyond_its_result():
    extra = benchmarks.peak_extra(lambda: (torch.empty(1000) * torch.empty(1000)).relu())  # the result is 4000 bytes
    assert 8000 <= extra < 9000


def test_multiply_adds_counted_by_hand():
    config = LiteConfig(levels=(0,), width=1, blocks=(0, 0), outer_kernel=1, passes=2, smooth=False)
    down = 16**2 * 4 + 8**2 * (16 * 1 * 2) + 4**2 * (16 * 2 * 4)  # pixels × window × channels in and out
    up = 4**2 * (16 * 4 * 2) + 8**2 * (16 * 2 * 1) + 16**2 * 9
    filters = 2 * 16**2 * 3 * 9
    image, mask = torch.rand(1, 3, 16, 16), torch.zeros(1, 1, 16, 16)
    assert benchmarks.multiply_adds(ImageFilter(config), image, mask) == down + up + filters


def test_filtered_features_are_counted_with_their_own_size():
    image, mask = torch.rand(1, 3, 16, 16), torch.zeros(1, 1, 16, 16)
    plain, filtered = (ml.MISF(ml.MISFConfig.toy(width=1, blocks=(0, 0), levels=levels)) for levels in ((0,), (0, 3)))
    head = 4**2 * 4 * (4 * 9)  # pixels × channels in and out of the kernels' 1×1 convolution
    more = benchmarks.multiply_adds(filtered, image, mask) - benchmarks.multiply_adds(plain, image, mask)
    assert more == head + 4**2 * 4 * 9


def test_the_architectures_are_compared_with_the_papers():
    table = benchmarks.bench_model(size=16, rounds=1)
    paper, lite, toy = (row(table, name) for name in ("paper", "lite", "toy"))
    assert paper[1] == paper[3] == 1 and lite[1] > 10 and toy[1] > lite[1]
    assert lite[4] == sum(p.numel() for p in LiteMISF().parameters())


def test_drawing_is_compared_with_training():
    table = benchmarks.bench_loader(SMALL, FEW, size=(48, 32), files=2, rounds=2)
    taken = [row(table, f"{precision} training")[0] for precision in ("float32", "bf16")]
    for name in ("bundled photographs", "folder of 48×32 JPEGs", "the same, kept as JPEG"):
        drawn, *ratios = row(table, name)
        assert ratios == pytest.approx([drawn / n for n in taken], abs=0.1, rel=0.02)


def test_the_loop_and_the_bare_steps_are_timed_on_the_same_batches(monkeypatch):
    """On a clock that only drawing (3 seconds) and bare steps (10 seconds) move."""
    clock, drawn, draw, bare_step = [1000.0], [], Batches.__getitem__, benchmarks.bare_step

    def slow_draw(batches, step):
        clock[0] += 3
        drawn.append(step)
        return draw(batches, step)

    def slow_step(*recipe):
        step = bare_step(*recipe)

        def run(*batch):
            clock[0] += 10
            return step(*batch)

        return run

    monkeypatch.setattr(benchmarks, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    monkeypatch.setattr(Batches, "__getitem__", slow_draw)
    monkeypatch.setattr(benchmarks, "bare_step", slow_step)
    table = benchmarks.bench_train(SMALL, FEW, turns=1, workers=0)
    assert row(table, "training loop") == [3000] and row(table, "bare step") == [10_000]
    assert row(table, "ratio") == [0.3] * 3
    assert set(drawn) == set(range(20)) and drawn.count(15) == 2
    assert row(table, "memory of a step:")[0] > 0 and all(n > 0.1 for n in row(table, "memory of this process"))  # GB


def test_one_thread_is_for_the_benchmark_alone():
    torch.set_num_threads(2)
    try:
        with benchmarks.one_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


def test_a_gpu_is_not_timed_from_outside(monkeypatch):
    monkeypatch.setattr(benchmarks, "device", lambda: torch.device("cuda"))
    with pytest.raises(ValueError, match="MISF_LITE_DEVICE=cpu"):
        benchmarks.bench_train(SMALL, FEW)


@pytest.mark.parametrize("what", ["filter", "loader", "model", "train"])
def test_every_benchmark_is_a_command(what, monkeypatch, capsys):
    monkeypatch.setattr(benchmarks, f"bench_{what}", lambda: f"a table of {what}")
    assert main(["bench", what]) == 0
    assert capsys.readouterr().out == f"a table of {what}\n"
