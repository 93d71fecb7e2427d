"""inpaint on any size and mode."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import misf_lite as ml
from misf_lite.inpainting import _overlapping, fill
from misf_lite.masks import KINDS


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = ml.MISF(ml.MISFConfig.toy(width=2, blocks=(1, 1)))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def noise(shape, seed=0, dtype=np.uint8):
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def some_mask(H, W, seed=0):
    return ml.random_mask((H, W), (0.3, 0.3 + 2 / (H * W)), "blobs", seed)


holes = st.one_of(
    st.just("all"), st.just("none"), st.tuples(st.sampled_from(sorted(KINDS)), st.sampled_from(ml.masks.BANDS))
)


@settings(max_examples=60, deadline=None)
@given(H=st.integers(16, 97), W=st.integers(16, 97), hole=holes, seed=st.integers(0, 10**6))
def test_any_size_and_any_hole_give_a_picture_of_the_same_size_with_known_pixels_identical(model, H, W, hole, seed):
    image = Image.fromarray(noise((H, W, 3), seed))
    if hole in ("all", "none"):
        mask = torch.full((1, 1, H, W), float(hole == "all"))
    else:
        mask = ml.random_mask((H, W), hole[1], hole[0], seed)
    output = model(torch.from_numpy(np.array(image)).permute(2, 0, 1)[None] / 255, mask)
    assert output.isfinite().all() and output.min() >= 0 and output.max() <= 1
    result = ml.inpaint(image, mask, model)
    assert result.size == image.size and result.mode == "RGB"
    known = mask[0, 0].numpy() == 0
    assert np.array_equal(np.array(result)[known], np.array(image)[known])


MODES = {
    "L": lambda: Image.fromarray(noise((40, 52))),
    "LA": lambda: Image.fromarray(noise((40, 52, 2))),
    "RGB": lambda: Image.fromarray(noise((40, 52, 3))),
    "RGBA": lambda: Image.fromarray(noise((40, 52, 4))),
    "I;16": lambda: Image.fromarray(noise((40, 52), dtype=np.uint16)),
}


@pytest.mark.parametrize("mode", MODES)
def test_a_picture_keeps_its_mode_and_its_known_pixels_with_alpha_and_all_16_bits(model, mode):
    image, mask = MODES[mode](), some_mask(40, 52)
    result = ml.inpaint(image, mask, model)
    assert (result.mode, result.size) == (mode, image.size)
    hole = mask[0, 0].numpy() > 0
    before, after = np.array(image), np.array(result)
    assert np.array_equal(before[~hole], after[~hole])
    assert not np.array_equal(before[hole], after[hole])
    if mode in ("LA", "RGBA"):
        assert (after[hole][:, -1] == 255).all()


def test_the_hole_is_filled_with_what_the_model_gives(model):
    image, mask = noise((32, 48, 3)), some_mask(32, 48)
    with torch.no_grad():
        output = model(torch.from_numpy(image).permute(2, 0, 1)[None] / 255, mask)
    expected = (output[0].permute(1, 2, 0) * 255).round().numpy()
    hole = mask[0, 0].numpy() > 0
    assert np.array_equal(np.array(ml.inpaint(image, mask, model))[hole], expected[hole])


def test_paths_arrays_tensors_and_pil_images_give_the_same(model, tmp_path):
    array, mask = noise((33, 41, 3)), some_mask(33, 41)
    holes = (mask[0, 0].numpy() * 255).astype(np.uint8)
    Image.fromarray(array).save(tmp_path / "image.png")
    Image.fromarray(holes).save(tmp_path / "mask.png")
    tensor = torch.from_numpy(array).permute(2, 0, 1)[None] / 255
    pairs = [
        (array, holes),
        (Image.fromarray(array), Image.fromarray(holes).convert("1")),
        (tensor, mask),
        (tmp_path / "image.png", str(tmp_path / "mask.png")),
    ]
    results = [np.array(ml.inpaint(*pair, model)) for pair in pairs]
    assert all(np.array_equal(results[0], other) for other in results[1:])


def test_without_a_hole_the_picture_comes_back(model):
    image = Image.fromarray(noise((20, 20, 3)))
    assert np.array_equal(np.array(ml.inpaint(image, np.zeros((20, 20), bool), model)), np.array(image))


def test_a_colour_profile_survives(model):
    image = Image.fromarray(noise((20, 20, 3)))
    image.info["icc_profile"] = b"profile"
    assert ml.inpaint(image, some_mask(20, 20), model).info["icc_profile"] == b"profile"


@pytest.mark.parametrize("size", [(1, 1), (5, 9), (15, 200)])
def test_pictures_smaller_than_the_model_takes_are_filled_too(model, size):
    image = noise((*size, 3))
    mask = np.zeros(size, bool)
    mask[0, 0] = True
    result = np.array(ml.inpaint(image, mask, model))
    assert result.shape == image.shape and np.array_equal(result[~mask], image[~mask])


def test_a_tile_as_large_as_the_picture_changes_nothing(model):
    image, mask = noise((70, 90, 3)), some_mask(70, 90)
    assert np.array_equal(np.array(ml.inpaint(image, mask, model, tile=90)), np.array(ml.inpaint(image, mask, model)))


def test_tiles_agree_with_the_whole_picture_up_to_what_lies_beyond_a_tile():
    trained, image = ml.load_pretrained("photos"), ml.load_photo("sheep.jpg")
    mask = ml.random_mask(image.shape[2:], (0.05, 0.1), "thin", seed=3)
    whole, tiled = fill(trained, image, mask), fill(trained, image, mask, tile=160)
    difference = (whole - tiled).abs()[mask.expand_as(whole) > 0]
    assert difference.mean() < 0.01 and difference.quantile(0.99) < 0.08


@pytest.mark.parametrize(
    ("H", "W", "tile"), [(64, 64, 64), (65, 64, 64), (200, 130, 64), (300, 311, 100), (513, 700, 256)]
)
def test_tiles_cover_every_pixel_and_overlap_by_a_quarter(H, W, tile):
    covered = np.zeros((H, W), int)
    windows = list(itertools.product(_overlapping(H, tile), _overlapping(W, tile)))
    for rows, columns in windows:
        covered[rows, columns] += 1
        assert rows.stop <= H and columns.stop <= W and rows.start >= 0 and columns.start >= 0
    assert covered.min() >= 1
    for axis in (0, 1):
        spans = sorted({(window[axis].start, window[axis].stop) for window in windows})
        assert all(stop - start >= tile / 4 for (_, stop), (start, _) in itertools.pairwise(spans))


def test_small_holes_are_filled_the_same_in_tiles_and_in_the_whole_picture():
    image = ml.load_photo("neuschwansteincastle.jpg", 150)
    mask = torch.zeros(1, 1, *image.shape[2:])
    for y, x in itertools.product(range(20, 130, 37), range(13, 180, 41)):
        mask[..., y : y + 8, x : x + 8] = 1
    trained = ml.load_pretrained("photos")
    whole, tiled = fill(trained, image, mask), fill(trained, image, mask, tile=128)
    assert 255 * (whole - tiled).abs().max() < 4  # 20 with tiles that begin anywhere


def test_a_hole_wider_than_a_tile_is_told(model):
    image, mask = noise((64, 400, 3)), np.ones((64, 400), bool)
    mask[:, :10] = False
    with pytest.warns(UserWarning, match="tiles of 64 pixels hold no known pixel"):
        ml.inpaint(image, mask, model, tile=64)


def test_tiles_too_small_to_see_anything_are_refused(model):
    with pytest.raises(ValueError, match=r"at least 64 pixels .*got 8"):
        ml.inpaint(noise((70, 90, 3)), some_mask(70, 90), model, tile=8)


def test_an_image_and_a_mask_of_different_sizes_are_refused(model):
    with pytest.raises(ValueError, match=r"90×70.*64×64"):
        ml.inpaint(noise((70, 90, 3)), np.zeros((64, 64), bool), model)


def test_large_tiles_do_not_darken_the_corners():
    class Same(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.ones(1))

        def forward(self, image, mask):
            return image * self.scale

    image, mask = torch.full((1, 3, 16, 5000), 0.5), torch.ones(1, 1, 16, 5000)
    mask[..., ::7] = 0
    torch.testing.assert_close(fill(Same(), image, mask, tile=4096), image)


def test_a_model_in_double_or_half_precision_fills_too(model):
    image, mask = noise((40, 40, 3)), some_mask(40, 40)
    expected = np.array(ml.inpaint(image, mask, model)).astype(int)
    for dtype, tolerance in ((torch.float64, 1), (torch.bfloat16, 8)):
        other = ml.MISF(model.config).to(dtype)
        other.load_state_dict(model.state_dict())
        assert abs(np.array(ml.inpaint(image, mask, other)).astype(int) - expected).max() <= tolerance


@pytest.mark.filterwarnings("default")
def test_a_compiled_model_fills_and_its_weights_can_be_saved(model, tmp_path):
    image, mask = noise((40, 40, 3)), some_mask(40, 40)
    compiled = torch.compile(model, backend="aot_eager")
    assert abs(np.array(ml.inpaint(image, mask, compiled)).astype(int) - ml.inpaint(image, mask, model)).max() <= 1
    ml.save_weights(compiled, tmp_path / "weights.safetensors")
    assert ml.load_weights(tmp_path / "weights.safetensors").config == model.config


def test_a_name_instead_of_a_model_is_refused_with_the_way_to_load_it():
    with pytest.raises(TypeError, match="load_pretrained"):
        ml.inpaint(noise((20, 20, 3)), some_mask(20, 20), "photos")


def test_a_model_in_training_mode_is_left_in_it(model):
    model.train()
    ml.inpaint(noise((20, 20, 3)), some_mask(20, 20), model)
    assert model.training
    model.eval()


def test_filling_twice_gives_the_same(model):
    image, mask = noise((50, 60, 3)), some_mask(50, 60)
    assert np.array_equal(np.array(ml.inpaint(image, mask, model)), np.array(ml.inpaint(image, mask, model)))
