"""Predictive filtering for image inpainting, from a box blur to interactive MISF (CVPR 2022)."""

try:
    from misf_lite.datasets import load_photo, photos
    from misf_lite.device import device
    from misf_lite.filtering import filter2d
    from misf_lite.flow import Flow
    from misf_lite.images import open_image, open_mask, save_image
    from misf_lite.inpainting import fill, inpaint
    from misf_lite.masks import random_mask
    from misf_lite.model import MISF, MISFConfig
    from misf_lite.toy_faces import toy_faces
    from misf_lite.weights import load_pretrained, load_released, load_weights, save_weights
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"misf_lite needs {error.name}, which is not installed: run pip install {error.name}", name=error.name
    ) from error

__version__ = "0.1.0"

__all__ = [
    "MISF",
    "Flow",
    "MISFConfig",
    "device",
    "fill",
    "filter2d",
    "inpaint",
    "load_photo",
    "load_pretrained",
    "load_released",
    "load_weights",
    "open_image",
    "open_mask",
    "photos",
    "random_mask",
    "save_image",
    "save_weights",
    "toy_faces",
]
