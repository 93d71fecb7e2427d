"""Weights that are right or refused."""

import json
import random
import warnings
from dataclasses import asdict

import pytest
import torch
from safetensors.torch import load_file, save_file

import misf_lite as ml
from misf_lite.classical import mean_fill
from misf_lite.lite import LiteConfig, build
from misf_lite.masks import BANDS
from misf_lite.metrics import psnr
from misf_lite.model import MISFConfig
from misf_lite.weights import find_weights, pretrained, weights_path

CONFIGS = {
    "MISF": MISFConfig.toy(width=2, blocks=(1, 1)),
    "LiteMISF": LiteConfig(width=2, passes=3),
    "ImageFilter": LiteConfig(width=2, levels=(0,), smooth=False),
}


def metadata(config):
    return {"config": json.dumps(asdict(config))}


@pytest.fixture(params=CONFIGS.values(), ids=CONFIGS)
def model(request):
    return build(request.param).eval()


@pytest.fixture
def saved(model, tmp_path):
    ml.save_weights(model, tmp_path / "weights.safetensors")
    return tmp_path / "weights.safetensors"


def test_saved_weights_come_back_with_their_config(model, saved):
    again = ml.load_weights(saved)
    assert type(again) is type(model)
    assert again.config == model.config and not again.training
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name])
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_the_same_weights_give_the_same_bytes(model, saved, tmp_path):
    for i in range(8):
        ml.save_weights(model, tmp_path / f"{i}.safetensors")
        assert (tmp_path / f"{i}.safetensors").read_bytes() == saved.read_bytes()


def test_weights_that_cannot_be_written_leave_the_old_ones(model, saved, monkeypatch):
    before = saved.read_bytes()

    def full(descriptor):
        raise OSError("No space left on device")

    monkeypatch.setattr("os.fsync", full)
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


def test_any_flipped_bit_in_weights_is_noticed(saved):
    whole = saved.read_bytes()
    for i in random.Random(0).sample(range(len(whole)), 40):
        saved.write_bytes(whole[:i] + bytes([whole[i] ^ 1 << i % 8]) + whole[i + 1 :])
        with pytest.raises(ValueError, match=r"weights\.safetensors .*"):
            ml.load_weights(saved)


def test_weights_without_a_checksum_as_older_versions_wrote_them_load(model, saved):
    save_file(load_file(saved), saved, metadata(model.config))
    assert ml.load_weights(saved).config == model.config


def test_weights_that_are_not_finite_are_neither_written_nor_loaded(model, saved):
    state = load_file(saved)
    name = sorted(state)[0]
    state[name].view(-1)[0] = float("nan")
    save_file(state, saved, metadata(model.config))
    with pytest.raises(ValueError, match=f"{name} holds NaN or infinity"):
        ml.load_weights(saved)
    before = saved.read_bytes()
    model.load_state_dict(state)
    with pytest.raises(ValueError, match=f"{name} holds NaN or infinity"):
        ml.save_weights(model, saved)
    assert saved.read_bytes() == before


def test_a_hole_is_never_filled_with_values_that_are_not_finite(model):
    for parameter in model.parameters():
        parameter.data.fill_(1e30)
    with pytest.raises(FloatingPointError, match="the model's output is not finite"):
        ml.inpaint(torch.rand(3, 20, 24), torch.eye(20, 24), model)


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
        state["more"] = torch.zeros(1)
    else:
        state[name] = torch.zeros(*state[name].shape, 2)
    save_file(state, saved, metadata=metadata(model.config))
    with pytest.raises(ValueError, match=r"does not hold the architecture that it names: .*(missing|not part|shape)"):
        ml.load_weights(saved)


def test_a_config_field_from_another_version_is_refused(model, saved):
    later = metadata(model.config)
    later["config"] = later["config"].replace('"levels"', '"attention"')
    save_file(load_file(saved), saved, metadata=later)
    with pytest.raises(ValueError, match=r"names an architecture that there is not.*attention"):
        ml.load_weights(saved)


@pytest.mark.parametrize(
    "field",
    [{"blocks": [10**9, 2]}, {"passes": 10**9}, {"kernel_size": [10**4 + 1, 3]}, {"width": 8.0}, {"levels": [0, 0]}],
)
def test_an_architecture_beyond_all_bounds_is_refused_at_once(tmp_path, field):
    config = asdict(CONFIGS["LiteMISF"]) | field
    save_file({"a": torch.zeros(1)}, tmp_path / "w.safetensors", {"config": json.dumps(config)})
    with pytest.raises(ValueError, match="names an architecture that there is not"):
        ml.load_weights(tmp_path / "w.safetensors")


def test_what_does_not_fit_takes_no_memory(saved, monkeypatch):
    config = MISFConfig(width=4096, blocks=(8, 8))  # 90 billion weights
    save_file(load_file(saved), saved, metadata=metadata(config))
    with pytest.raises(ValueError, match="does not hold the architecture"):
        ml.load_weights(saved)


def test_unknown_weights_are_refused_with_the_names_there_are():
    with pytest.raises(ValueError, match=r"choose one of .*misf.*photos"):
        ml.load_pretrained("faces")


@pytest.mark.parametrize("name", pretrained())
def test_every_weights_file_loads_within_its_size(name):
    model = ml.load_pretrained(name)
    assert not model.training
    assert weights_path(name).stat().st_size <= 15_000_000


@pytest.mark.parametrize("name", ["photos", "toy"])
def test_trained_weights_beat_the_mean_colour_in_the_hole_by_3_db_on_held_out_pictures(name):
    if name == "photos":
        images = [ml.load_photo(path, 128) for path in ml.photos("test")[:12]]
    else:
        images = ml.toy_faces(12, 64, seed=3 * 2**30).split(1)
    model = ml.load_pretrained(name)
    gains = []
    for i, image in enumerate(images):
        mask = ml.random_mask(image.shape[2:], BANDS[i % 3], seed=i)
        filled = ml.fill(model, image, mask)
        gains.append(psnr(filled, image, mask) - psnr(mean_fill(image, mask), image, mask))
    assert torch.stack(gains).mean() > 3


def test_pretrained_weights_fill_without_any_warning():
    image = ml.open_image(ml.photos("test")[0]).resize((90, 66))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ml.inpaint(image, ml.random_mask((66, 90))).size == (90, 66)


def test_the_name_toy_stands_for_misf():
    assert weights_path("toy") == weights_path("misf") and find_weights("toy").config == find_weights("misf").config
