"""Networks that filter the picture itself."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from misf_lite import MISF, Flow, MISFConfig, filter2d
from misf_lite.classical import smooth_guess
from misf_lite.lite import ImageFilter, LiteConfig, LiteMISF, build

SMALL = {"width": 2, "blocks": (1, 1)}
CONFIGS = {
    "photos": LiteConfig(**SMALL),
    "from a black hole": LiteConfig(**SMALL, passes=3, smooth=False),
    "raw": LiteConfig(**SMALL, passes=2, softmax=(False, False)),
    "features only": LiteConfig(**SMALL, levels=(3,)),
    "image only": LiteConfig(**SMALL, levels=(0,), passes=2, smooth=False),
}
every = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)


def picture(H=18, W=22):
    rng = torch.Generator().manual_seed(0)
    return torch.rand(1, 3, H, W, generator=rng), (torch.rand(1, 1, H, W, generator=rng) > 0.6).float()


def shaken(config):
    torch.manual_seed(0)
    model = build(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model.eval()


@every
def test_known_pixels_stay_as_they_are_and_every_weight_learns(config):
    image, mask = picture()
    model = shaken(config)
    output = model(image, mask)
    assert output.min() >= 0 and output.max() <= 1
    assert torch.equal(output * (1 - mask), image * (1 - mask)) and not torch.equal(output, image)
    output.sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@every
def test_what_lies_under_the_hole_is_never_looked_at(config):
    image, mask = picture()
    model = shaken(config)
    expected = model(image, mask)
    assert torch.equal(expected, model(torch.where(mask > 0, torch.nan, image), mask))


@settings(max_examples=20, deadline=None)
@given(H=st.integers(16, 49), W=st.integers(16, 49), name=st.sampled_from(sorted(CONFIGS)))
def test_any_size_from_16_up_gives_a_picture_of_the_same_size(H, W, name):
    output = shaken(CONFIGS[name])(*picture(H, W))
    assert output.shape == (1, 3, H, W) and output.isfinite().all()


def test_an_untrained_network_fills_the_hole_with_the_smooth_guess():
    image, mask = picture(37, 50)
    torch.testing.assert_close(LiteMISF()(image, mask), smooth_guess(image, mask))


def test_untrained_raw_kernels_return_the_picture_with_its_hole():
    image, mask = picture()
    config = LiteConfig(**SMALL, levels=(0,), softmax=(False, False), smooth=False)
    assert torch.equal(ImageFilter(config)(image, mask), image * (1 - mask))


@pytest.mark.parametrize("smooth", [True, False])
def test_every_pass_uses_the_same_kernels_and_the_decoder_adds_to_the_last(smooth):
    image, mask = picture()
    flow = Flow.of(shaken(LiteConfig(**SMALL, passes=3, smooth=smooth)), image, mask)
    y = flow["seen"]
    for _ in range(3):
        last = y
        y = filter2d(y, flow["K"]) + flow.get("given_back", 0)
    torch.testing.assert_close(flow["picture"], last)
    torch.testing.assert_close(flow["output"], (y + mask * flow["added"]).clamp(0, 1))


def test_equal_taps_leave_the_smooth_guess_as_it_is():
    image, mask = picture()
    flow = Flow.of(
        shaken(LiteConfig(**SMALL)), image, mask, K=lambda K: torch.full_like(K, 1 / 9), added=torch.zeros_like
    )
    torch.testing.assert_close(flow["filled"], flow["seen"])


def test_known_pixels_have_the_identity_as_their_kernel():
    image, mask = picture()
    K = Flow.of(shaken(LiteConfig(**SMALL)), image, mask)["K"]
    known = K.movedim(2, -1)[(mask == 0)]
    assert (known == torch.eye(9)[4]).all()


def test_image_level_filtering_alone_has_no_branch_that_decodes():
    model = build(CONFIGS["image only"])
    assert {name.partition(".")[0] for name, _ in model.named_parameters()} == {"E1", "E2", "E3", "heads"}


def test_a_config_builds_its_own_network():
    assert type(build(MISFConfig.toy())) is MISF and type(build(LiteConfig())) is LiteMISF
    assert type(build(LiteConfig(levels=(0,)))) is ImageFilter


def test_no_pass_at_all_is_refused():
    with pytest.raises(ValueError, match="passes is from 1 to 1000, composite True; got 0"):
        LiteConfig(passes=0)
