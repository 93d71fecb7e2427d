"""inpaint on any size and mode, and weights that are right or refused."""

import itertools
import json
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file, save_file

import misf_lite as ml
from misf_lite.inpainting import fill, pretrained
from misf_lite.masks import KINDS
from misf_lite.metrics import mean_fill, psnr


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = ml.MISF(ml.MISFConfig.toy(width=2, blocks=1))
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


@pytest.mark.parametrize(("H", "W", "tile"), [(64, 64, 64), (65, 64, 64), (200, 130, 64), (513, 700, 256)])
def test_tiles_cover_every_pixel_and_overlap_by_a_quarter(H, W, tile):
    from misf_lite.inpainting import _windows

    covered = np.zeros((H, W), int)
    windows = list(_windows(H, W, tile))
    for rows, columns in windows:
        covered[rows, columns] += 1
        assert rows.stop <= H and columns.stop <= W and rows.start >= 0 and columns.start >= 0
    assert covered.min() >= 1
    for axis in (0, 1):
        spans = sorted({(window[axis].start, window[axis].stop) for window in windows})
        assert all(stop - start >= tile / 4 for (_, stop), (start, _) in itertools.pairwise(spans))


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


# Weights


@pytest.fixture
def saved(model, tmp_path):
    ml.save_weights(model, tmp_path / "weights.safetensors")
    return tmp_path / "weights.safetensors"


def test_saved_weights_come_back_with_their_config(model, saved):
    again = ml.load_weights(saved)
    assert again.config == model.config and not again.training
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name])
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_weights_that_cannot_be_written_leave_the_old_ones(model, saved, monkeypatch):
    before = saved.read_bytes()

    def full(path, data):
        with path.open("wb") as file:
            file.write(data[:50])
        raise OSError("No space left on device")

    monkeypatch.setattr(type(saved), "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        ml.save_weights(model, saved)
    assert saved.read_bytes() == before and len(list(saved.parent.iterdir())) == 1


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no weights at .*nothing\.safetensors"):
        ml.load_weights(tmp_path / "nothing.safetensors")


@pytest.mark.parametrize("kept", [0, 5, 200, -1])
def test_a_truncated_file_is_refused(saved, kept):
    saved.write_bytes(saved.read_bytes()[:kept])
    with pytest.raises(ValueError, match="truncated or not a safetensors file"):
        ml.load_weights(saved)


def test_a_file_of_another_program_is_refused(saved):
    save_file(load_file(saved), saved)
    with pytest.raises(ValueError, match="holds no misf_lite config"):
        ml.load_weights(saved)


@pytest.mark.parametrize("change", ["missing", "unexpected", "shape"])
def test_weights_that_do_not_fit_their_architecture_are_refused(model, saved, change):
    state = load_file(saved)
    name = sorted(state)[0]
    if change == "missing":
        del state[name]
    elif change == "unexpected":
        state["kpb.more"] = torch.zeros(1)
    else:
        state[name] = torch.zeros(*state[name].shape, 2)
    save_file(state, saved, metadata={"config": json.dumps(ml.inpainting.asdict(model.config))})
    with pytest.raises(ValueError, match="does not fit the architecture"):
        ml.load_weights(saved)


def test_a_config_field_from_another_version_is_refused(model, saved):
    config = ml.inpainting.asdict(model.config) | {"attention": True}
    save_file(load_file(saved), saved, metadata={"config": json.dumps(config)})
    with pytest.raises(ValueError, match=r"does not fit the architecture.*attention"):
        ml.load_weights(saved)


def test_unknown_weights_are_refused_with_the_names_there_are():
    with pytest.raises(ValueError, match=r"choose one of .*misf.*photos"):
        ml.load_pretrained("faces")


@pytest.mark.parametrize("name", pretrained())
def test_every_weights_file_loads_within_its_size(name):
    model = ml.load_pretrained(name)
    assert not model.training
    assert (ml.datasets.data_folder() / "weights" / f"{name}.safetensors").stat().st_size <= 15_000_000


@pytest.mark.parametrize("name", ["photos", "toy"])
def test_trained_weights_beat_the_mean_colour_in_the_hole_by_3_db_on_held_out_pictures(name):
    if name == "photos":
        images = [ml.load_photo(path, 128) for path in ml.photos("test")[:12]]
    else:
        images = ml.toy_faces(12, 64, seed=3 * 2**30).split(1)
    model, gains = ml.load_pretrained(name), []
    for i, image in enumerate(images):
        mask = ml.random_mask(image.shape[2:], ml.masks.BANDS[i % 3], seed=i)
        with torch.no_grad():
            gains.append(psnr(model(image, mask), image, mask) - psnr(mean_fill(image, mask), image, mask))
    assert torch.stack(gains).mean() > 3


def test_pretrained_weights_fill_without_any_warning():
    image = ml.open_image(ml.photos("test")[0]).resize((90, 66))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ml.inpaint(image, some_mask(66, 90)).size == (90, 66)
