"""What the widgets send to the browser, and what they do in Python; test_widgets_browser.py looks at the rest."""

import base64
import io
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch
from PIL import Image

import misf_lite as ml
from misf_lite import MISF, Flow, MISFConfig, figures
from misf_lite.kernels import entropy, hole_share
from misf_lite.lite import LiteConfig, build
from misf_lite.publish import VIEW
from misf_lite.widgets import Ablation, FeatureBrowser, KernelExplorer, MaskPainter, base
from misf_lite.widgets.ablation import ablate

SIDE = 32
SMALL = {"width": 4, "blocks": (1, 1)}
CONFIGS = {
    "the photos' way": LiteConfig(**SMALL, passes=4),
    "the paper's way": MISFConfig.paper(**SMALL),
    "all levels": MISFConfig.toy(**SMALL, levels=(0, 1, 2, 3)),
    "image only": LiteConfig(**SMALL, levels=(0,), kernel_size=(5, 3), passes=1, smooth=False),
    "semantic only": MISFConfig.toy(**SMALL, levels=(3,)),
}


def busy(config):
    """A model whose kernels differ from pixel to pixel."""
    torch.manual_seed(0)
    model = build(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return model


def busy_model(**config):
    return busy(MISFConfig.toy(**SMALL, **config))


@pytest.fixture
def image():
    return torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def mask(image):
    mask = torch.zeros_like(image[:, :1])
    mask[..., 10:22, 8:20] = 1
    return mask


def numbers(data, *shape):
    return torch.from_numpy(np.frombuffer(data, "<f2").astype(np.float32)).view(*shape)


def filtered_in_the_browser(level):
    """What the sums in the browser are, of every pixel and channel that was sent."""
    C, (h, w), taps = len(level["channels"]), level["size"], level["N"] ** 2
    kernels = numbers(level["kernels"], -1, taps, h, w)[level["group"]]
    x = numbers(level["before"], C, h, w)
    return ml.filter2d(x[None], kernels[None], dilation=level["dilation"], padding=level["padding"])[0]


def after_the_filter(flow, level):
    """What the model made of a level."""
    return flow[f"F{level}_hat"] if level else ml.filter2d(flow["picture"], flow["K"])


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("size", [(SIDE, SIDE), (21, 34)], ids=str)
def test_the_browser_can_compute_what_came_out_of_each_filter_to_a_grey_level(config, size):
    image, model = torch.rand(1, 3, *size), busy(config)
    mask = ml.random_mask(size, (0.2, 0.4), "blobs", 0)
    explorer = KernelExplorer(image, mask, model)
    assert [level["number"] for level in explorer.data["levels"]] == list(model.config.levels)
    for level in explorer.data["levels"]:
        after = after_the_filter(explorer.flow, level["number"])[0, level["channels"]]
        scale = max(1, after.abs().max().item())
        assert (filtered_in_the_browser(level) - after).abs().max() / scale < 1 / 255


@pytest.mark.parametrize("padding", ["zeros", "reflect"])
@pytest.mark.parametrize("groups", [1, 3])
def test_kernels_made_by_hand_need_no_model_and_no_mask(image, groups, padding):
    kernels = torch.randn(1, groups, 25, SIDE, SIDE)
    explorer = KernelExplorer(image, kernels=kernels, dilation=2, padding=padding)
    expected = ml.filter2d(image, kernels, dilation=2, padding=padding)[0]
    assert explorer.flow is None
    assert (filtered_in_the_browser(explorer.data["levels"][0]) - expected).abs().max() < 0.02  # weights up to 4


def test_overlays_are_what_kernels_py_says(image, mask):
    explorer = KernelExplorer(image, mask, busy_model())
    kernels = explorer.flow["K"]
    maps = {part["name"]: part for part in explorer.data["levels"][0]["maps"]}
    for name, expected in {"entropy": entropy(kernels), "hole": hole_share(kernels, mask)}.items():
        low, high = maps[name]["low"], maps[name]["high"]
        sent = torch.from_numpy(np.frombuffer(maps[name]["values"], np.uint8) / 255 * (high - low) + low)
        torch.testing.assert_close(
            sent.view(SIDE, SIDE), expected.mean((0, 1)), atol=(high - low) / 500, rtol=0, check_dtype=False
        )


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_what_is_added_after_the_filter_makes_the_output(image, mask, config):
    explorer = KernelExplorer(image, mask, busy(config))
    if 0 in config.levels:
        output = after_the_filter(explorer.flow, 0).clone()
        for part in explorer.data["added"]:
            output[mask.expand_as(image) == 1] += numbers(part["values"], -1)
        torch.testing.assert_close(output.clamp(0, 1), explorer.flow["output"], atol=1e-3, rtol=0)


def test_where_a_decoder_adds_the_explorer_says_so(image, mask):
    photos, paper = (KernelExplorer(image, mask, busy(CONFIGS[f"the {name} way"])) for name in ("photos'", "paper's"))
    names = [part["name"] for part in photos.data["added"]]
    assert names == ["what the pass gives back", "what the decoder adds"] and paper.data["added"] == []


def size_of(state):
    if isinstance(state, dict):
        return sum(map(size_of, state.values()))
    if isinstance(state, list | tuple):
        return sum(map(size_of, state))
    return len(state) if isinstance(state, bytes | str) else 8


@pytest.mark.parametrize(
    "model", [ml.load_pretrained("photos"), busy_model(kernel_size=(3, 3))], ids=["photos", "small"]
)
def test_no_widget_takes_eight_megabytes_at_256_pixels(model):
    image, mask = torch.rand(1, 3, 256, 256), ml.random_mask((256, 256))
    explorer = KernelExplorer(image, mask, model)
    for widget in (
        explorer,
        FeatureBrowser(image, mask, model),
        MaskPainter(image, model, mask),
        Ablation(image, mask, model),
    ):
        megabytes = size_of(widget.get_state()) / 1e6
        print(f"{type(widget).__name__} {megabytes:.2f} MB")
        assert megabytes < 8
    assert len(explorer.data["levels"][1]["channels"]) == model.config.channels(3), "all of F3 fits"


def test_where_not_all_channels_fit_those_that_changed_most_are_sent(image, mask, monkeypatch):
    monkeypatch.setattr(base, "BUDGET", 70_000)
    model = busy_model(levels=(0, 1), kernel_size=(3, 3))
    level = KernelExplorer(image, mask, model).data["levels"][1]
    everything = FeatureBrowser(image, mask, model).data["levels"][0]
    assert 0 < len(level["channels"]) < 4 and level["channels"] == everything["channels"][: len(level["channels"])]
    assert everything["change"] == sorted(everything["change"], reverse=True)


def test_a_picture_that_is_too_large_is_refused_with_advice():
    image = torch.rand(1, 3, 700, 700)
    with pytest.raises(ValueError, match=r"take \d+\.\d MB .* explore a smaller picture"):
        KernelExplorer(image, kernels=torch.rand(1, 1, 25, 700, 700))


WRONG = {
    "neither model nor kernels": (lambda x, m: KernelExplorer(x, m), "give one of"),
    "no model": (lambda x, m: KernelExplorer(x, m, "photos"), "got str: load one with"),
    "a model without a mask": (lambda x, m: KernelExplorer(x, model=busy_model()), "give .* a mask"),
    "a batch": (lambda x, m: KernelExplorer(x.expand(2, -1, -1, -1), m, busy_model()), r"image\[:1\] of a batch"),
    "another mask": (lambda x, m: MaskPainter(x, busy_model(), m[..., 1:]), "a mask .* of the image's size"),
    "a pixel outside": (lambda x, m: KernelExplorer(x, m, busy_model(), pixel=(0, SIDE)), "inside the picture"),
    "kernels of 13": (lambda x, m: KernelExplorer(x, kernels=torch.rand(1, 1, 169, SIDE, SIDE)), "up to 11×11"),
    "no semantic filtering": (lambda x, m: FeatureBrowser(x, m, busy_model(levels=(0,))), "1, 2 or 3 in levels"),
    "no filtering": (lambda x, m: KernelExplorer(x, m, busy_model(levels=())), "no kernels to show"),
    "no hole": (lambda x, m: Ablation(x, 0 * m, busy_model()), "give one with a hole"),
    "unknown kernels": (lambda x, m: ablate(busy_model(), x, m, kernels="mean"), "one of .*got 'mean'"),
}


@pytest.mark.parametrize(("make", "advice"), WRONG.values(), ids=WRONG)
def test_bad_input_is_refused_with_what_was_expected(image, mask, make, advice):
    with pytest.raises(ValueError, match=advice):
        make(image, mask)


def test_every_widget_leaves_a_picture_for_plain_viewers(image, mask):
    model = busy_model()
    hand = KernelExplorer(image, kernels=torch.rand(1, 1, 9, SIDE, SIDE))
    semantic = KernelExplorer(image, mask, busy_model(levels=(3,)))
    assert "of F3" in semantic.still().axes[1].get_title()
    for widget in (
        KernelExplorer(image, mask, model), hand, semantic, FeatureBrowser(image, mask, model),
        MaskPainter(image, model), MaskPainter(image, model, mask), Ablation(image, mask, model),
    ):  # fmt: skip
        data, _ = widget._repr_mimebundle_()
        picture = Image.open(io.BytesIO(base64.b64decode(data["image/png"])))
        assert picture.width > 300 and VIEW in data and type(widget).__name__ in data["text/plain"]


def test_colours_are_those_of_the_figures():
    script = base.script("kernel_explorer")
    assert f'"hole": "{figures.HOLE}"' in script and f'"mark": "{figures.MARK}"' in script
    assert '"kernel": "053061' in script, "RdBu_r starts with dark blue"


def test_scripts_import_nothing_and_ask_no_network():
    for name in ("kernel_explorer", "mask_painter", "feature_browser", "ablation"):
        script = base.script(name).replace("http://www.w3.org/2000/svg", "")
        assert "import " not in script and "http" not in script and "fetch(" not in script
        assert script.count("export default") == 1 and "</script" not in script


def ask(painter, number, mask):
    """What the browser does when the pointer is released."""
    painter.set_state({"asked": {"number": number, "mask": memoryview(base.holes(mask))}})


def answered(widget, number):
    done = threading.Event()
    widget.observe(lambda change: change.new["number"] == number and done.set(), "answer")
    if widget.answer.get("number") == number:
        done.set()
    assert done.wait(30)
    return widget.answer


def test_a_painted_hole_is_filled_and_known_pixels_stay(image, mask):
    model = busy_model()
    painter = MaskPainter(image, model)
    assert painter.filled is None and not painter.mask.any()
    ask(painter, 1, mask)
    assert answered(painter, 1)["seconds"] > 0
    assert torch.equal(painter.mask, mask)
    inside = painter.mask.expand(-1, 3, -1, -1) == 1
    assert torch.equal(painter.filled[~inside], painter.image[~inside])
    assert (painter.filled - Flow.of(model, painter.image, mask)["output"])[inside].abs().max() < 1 / 255


def test_with_a_slow_model_the_latest_hole_wins(image, mask):
    class Slow(MISF):
        seen, started, go = [], threading.Event(), threading.Event()

        def forward(self, image, mask, flow=None):
            self.seen.append(mask.sum().item())
            self.started.set()
            assert self.go.wait(30)
            return super().forward(image, mask, flow)

    painter = MaskPainter(image, Slow(MISFConfig.toy(**SMALL)).eval())
    holes = [mask * (torch.arange(SIDE) < stop) for stop in (12, 14, 16, 18)]
    ask(painter, 1, holes[0])
    assert Slow.started.wait(30)
    for number, hole in enumerate(holes[1:], 2):
        ask(painter, number, hole)  # comes back at once: nothing freezes
    Slow.go.set()
    answered(painter, 4)
    assert Slow.seen == [holes[0].sum().item(), holes[3].sum().item()]


def test_a_question_without_its_number_does_not_end_the_answers(image, mask):
    painter = MaskPainter(image, ml.load_pretrained("misf"))
    painter.asked = {"mask": b""}
    ask(painter, 2, mask)
    assert answered(painter, 2).keys() >= {"rgb", "seconds"}


def test_a_job_that_raises_does_not_end_the_jobs():
    done = []

    def work(job):
        if job == 1:
            raise ValueError("not this one")
        done.append(job)

    latest = base.Latest(work)
    for job in (1, 2):
        latest.ask(job)
        deadline = time.monotonic() + 10
        while latest._busy and time.monotonic() < deadline:
            time.sleep(0.01)
    assert done == [2]


def test_pictures_that_would_take_the_machine_or_the_connection_are_refused():
    model = ml.load_pretrained("misf")
    with pytest.raises(ValueError, match=r"the picture of MaskPainter is 2×2000 pixels, .* 20-fold at most"):
        MaskPainter(torch.zeros(1, 3, 2000, 2), model)
    with pytest.raises(ValueError, match="MaskPainter takes up to 10,000,000 pixels, got 3000×4000"):
        MaskPainter(torch.zeros(1, 1, 1, 1).expand(1, 3, 3000, 4000), model)


def test_a_failure_of_the_model_is_told_in_the_widget_and_the_next_hole_is_filled(image, mask):
    model = busy_model()
    painter = MaskPainter(image, model)
    painter.set_state({"asked": {"number": 1, "mask": memoryview(bytes(7))}})
    assert "ValueError" in answered(painter, 1)["error"]
    ask(painter, 2, mask)
    assert "rgb" in answered(painter, 2)


def filled(model, image, mask, **settings):
    return ablate(model, image, mask, **settings)["filled"]


def test_a_filter_that_is_off_is_the_identity(image, mask):
    model = busy_model(composite=False)
    off = filled(model, image, mask, semantic=False, image_level=False)
    assert torch.equal(off, filled(model, image, mask, kernels="identity"))
    flow = ablate(model, image, mask, semantic=False)
    torch.testing.assert_close(flow["F3_hat"], flow["F3"])
    assert not torch.equal(after_the_filter(flow, 0), flow["picture"])


def test_every_switch_changes_the_picture_and_the_model_stays_as_it_is(image, mask):
    model = busy_model(composite=False)
    whole = Flow.of(model, image, mask)["filled"]
    settings = [{"semantic": False}, {"image_level": False}, {"link": False}, {"kernels": "box"}, {"kernels": "pixel"}]
    pictures = [filled(model, image, mask, **setting) for setting in settings]
    pictures.append(filled(model, image, mask, kernels="pixel", pixel=(SIDE - 1, SIDE - 1)))
    for i, picture in enumerate(pictures):
        assert not torch.equal(picture, whole)
        assert not any(torch.equal(picture, other) for other in pictures[:i])
    assert torch.equal(Flow.of(model, image, mask)["filled"], whole)
    assert torch.equal(filled(model, image, mask), whole)


def test_the_panel_answers_with_picture_and_psnr(image, mask):
    model = busy_model()
    panel = Ablation(image, mask, model)
    panel.set_state({"asked": panel.asked | {"number": 1, "kernels": "box"}})
    answer = answered(panel, 1)
    expected = ml.metrics.psnr(filled(model, image, mask, kernels="box"), image, mask).item()
    assert answer["psnr"] == pytest.approx(expected)


def test_without_anywidget_the_package_works_and_the_widgets_say_what_is_missing():
    program = (
        "import sys; sys.modules['anywidget'] = None; import misf_lite, misf_lite.lesson, misf_lite.publish\n"
        "try: import misf_lite.widgets\n"
        "except ModuleNotFoundError as error: print(error)"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert "run pip install anywidget" in said
