"""What only some commands need: modules that an extra of this project brings, weights that torchvision brings."""

from importlib import import_module
from pathlib import Path
from types import ModuleType

import torch


def import_or_explain(name: str, extra: str) -> ModuleType:
    """A module that an extra of this project brings.

    Raises:
        ImportError: it is missing, or broken; the message names the extra that brings it.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise ImportError(f"this needs {name} ({error}): run pip install 'misf-lite[{extra}]'") from error


def torchvision_weights(name: str) -> Path:
    """The file with a network's ImageNet weights, if torchvision has downloaded it before: nothing is downloaded here.

    Raises:
        FileNotFoundError: it has not; the message names the command. ImportError: torchvision is missing.
    """
    weights = import_or_explain("torchvision.models", "training").get_model_weights(name).IMAGENET1K_V1
    path = Path(torch.hub.get_dir(), "checkpoints", Path(weights.url).name)
    if not path.is_file():
        code = f"import torchvision; torchvision.models.{name}(weights='IMAGENET1K_V1')"
        command = f'To download them ({weights.meta["_file_size"]:.0f} MB): python -c "{code}"'
        raise FileNotFoundError(f"the weights of {name} should be in {path}. {command}. Without them, efflite0 works.")
    return path
