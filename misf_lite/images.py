"""Images and masks: read from anything, checked once, and written safely.

An image becomes a ``(1, 3, H, W)`` tensor in [0, 1], a mask a ``(1, 1, H, W)`` tensor of zeros and ones, 1 = hole.
"""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from misf_lite.files import atomic_write, check_target

MAX_PIXELS = 64_000_000  # larger files are refused before they are decoded

Source = str | os.PathLike[str] | Image.Image | np.ndarray | Tensor

# For each ending: Pillow's name for the format, the modes it holds without changing them, how it is written.
_MODES = ("L", "LA", "RGB", "RGBA", "I;16")
_FORMATS: dict[str, tuple[str, tuple[str, ...], dict[str, Any]]] = {
    ".png": ("PNG", _MODES, {}),
    ".tif": ("TIFF", _MODES, {}),
    ".tiff": ("TIFF", _MODES, {}),
    ".webp": ("WEBP", ("L", "LA", "RGB", "RGBA"), {"lossless": True, "exact": True}),
    ".bmp": ("BMP", ("L", "RGB"), {}),
    ".jpg": ("JPEG", ("L", "RGB"), {"quality": 95, "subsampling": 0}),
    ".jpeg": ("JPEG", ("L", "RGB"), {"quality": 95, "subsampling": 0}),
}


def open_image(source: Source, *, at_least: int | None = None) -> Image.Image:
    """Read an image, upright (EXIF), decoded, in mode ``L``, ``LA``, ``RGB``, ``RGBA`` or ``I;16``.

    Args:
        source: a path, a PIL image, a numpy array ``(H, W)`` or ``(H, W, C)``, or a tensor ``(H, W)``, ``(C, H, W)`` or
            ``(1, C, H, W)``; C is 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGBA). Arrays are uint8, uint16 (grey only)
            or float in [0, 1], which is rounded to 8 bit.
        at_least: decode a JPEG file, faster, at 1/2, 1/4 or 1/8 of its size if its short side keeps this many pixels.

    Returns:
        A new image. Palettes are expanded and keep their transparency; other modes are converted as Pillow does it. Of
        its metadata only an ICC profile that still fits stays. Of an animation one frame is used, with a warning.

    Raises:
        FileNotFoundError, IsADirectoryError: there is no such file.
        ValueError: not an image, damaged, larger than ``MAX_PIXELS``, no pixels, wrong shape, values out of range.
        TypeError: ``source`` or its dtype is none of the above.
    """
    if isinstance(source, str | os.PathLike):
        return _read(Path(source), at_least)
    if isinstance(source, Image.Image):
        return _normalise(source, "the PIL image")
    array = _as_array(source)
    if array.dtype == bool:
        raise TypeError("a bool array is a mask, not an image: swap the two arguments, or pass x.astype('uint8') * 255")
    if array.dtype.kind == "f":
        array = np.rint(array * 255).astype(np.uint8)
    if array.dtype != np.uint8 and not (array.dtype == np.uint16 and array.shape[2] == 1):
        given = f"{array.dtype} with {array.shape[2]} channel(s); x.astype('uint8') if its values are 0..255"
        raise TypeError(f"an image is uint8, uint16 (grey only) or float in [0, 1], got {given}")
    return Image.fromarray(array.squeeze(2) if array.shape[2] == 1 else array)


def to_tensor(image: Source) -> Tensor:
    """The colours of an image as ``(1, 3, H, W)`` float32 in [0, 1].

    Grey is repeated three times, 16 bit divided by 65535, and alpha set aside: the colours are those stored in the
    file, also where it is transparent. ``image`` and errors are as for `open_image`.
    """
    array = np.atleast_3d(np.asarray(open_image(image)))
    colours = array[..., : 3 if array.shape[2] >= 3 else 1].astype(np.float32) / np.iinfo(array.dtype).max
    return torch.from_numpy(colours).permute(2, 0, 1)[None].expand(1, 3, -1, -1).contiguous()


def open_mask(source: Source) -> Tensor:
    """Read a mask as ``(1, 1, H, W)`` float32 of exact zeros and ones, 1 = hole.

    ``source`` is as for ``open_image``; arrays may also be bool, or any integer type with values in 0..255. What counts
    as a hole, pixel by pixel, never by interpolation:

    1. A pixel is reduced to one level. In colour the brightest channel decides, so red paint counts; with alpha the
       level is multiplied by it (``max(R, G, B) * alpha / 255``), so what is transparent is known.
    2. bool: True is a hole. Integers whose largest level is 1: 1 is a hole. Other integers: from half of the type's
       range on, 128 in 8 bit and 32768 in 16 bit. Floats in [0, 1]: from 0.5 on.

    Warns (``UserWarning``) when more than 5 % of the levels lie between 1/8 and 7/8 of the range, which does not look
    like a mask, and when no level reaches half although the mask is not empty. Raises the errors of ``open_image``.
    """
    array = _as_array(source if isinstance(source, np.ndarray | Tensor) else np.asarray(open_image(source)))
    if array.dtype.kind in "iu" and array.dtype != np.uint16 and array.min() >= 0 and array.max() <= 255:
        array = array.astype(np.uint8)
    if array.dtype.kind not in "bf" and array.dtype not in (np.uint8, np.uint16):
        raise TypeError(f"a mask is bool, uint8, uint16, integers in 0..255 or floats in [0, 1], got {array.dtype}")
    whole = 1 if array.dtype.kind in "bf" else int(np.iinfo(array.dtype).max)
    level = array.max(axis=2)
    if array.shape[2] in (2, 4):
        level = array[..., :-1].max(axis=2).astype(float) * array[..., -1] / whole
    if array.dtype.kind == "u" and level.max() == 1:
        whole = 1
    half = 0.5 if array.dtype.kind == "f" else (whole + 1) // 2
    hole = level >= half
    between = float(((level > whole / 8) & (level < whole * 7 / 8)).mean())
    if between > 0.05:
        grey = f"{between:.0%} of its pixels are neither dark (known) nor bright (hole, from {half} of {whole} on)"
        warnings.warn(f"this does not look like a mask: {grey}. Were image and mask swapped?", stacklevel=2)
    elif level.max() > 0 and not hole.any():
        dark = f"a hole starts at {half}, its largest level is {level.max():.6g} of {whole}"
        warnings.warn(f"this mask has no hole: {dark}. Paint holes white, or rescale the values", stacklevel=2)
    return torch.from_numpy(hole.astype(np.float32))[None, None]


def check_pair(image: Image.Image, mask: Tensor) -> None:
    """Raise ValueError unless ``mask`` ``(1, 1, H, W)`` has the size of ``image``."""
    H, W = mask.shape[2:]
    if image.size == (W, H):
        return
    advice = "make the mask anew at the image's size (nothing is resized silently: that would move the hole's edge)"
    if image.size == (H, W):
        advice = "one looks rotated by 90° (EXIF is applied here, not everywhere): rotate it, or save both upright"
    raise ValueError(f"image is {image.width}×{image.height} and mask is {W}×{H} (width×height); {advice}")


def save_image(image: Image.Image, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Write an image, whole or not at all.

    PNG, TIFF and WebP (written lossless) keep every pixel as it is; JPEG also changes the known ones.

    Raises:
        FileExistsError: ``path`` exists and ``overwrite`` is False.
        ValueError: an ending that is not known, or a format that cannot hold this image (alpha or 16 bit in JPEG).
        OSError: the folder is missing, not writable or full, or the encoder failed; ``path`` is then as it was.
    """
    check_output(path, overwrite=overwrite)
    image = open_image(image)
    name, modes, options = _FORMATS[Path(path).suffix.lower()]
    if image.mode not in modes:
        raise ValueError(f"a {name} file cannot hold alpha or 16 bit, and this image is {image.mode}; use .png")
    try:
        with atomic_write(path, overwrite=overwrite) as file:
            image.save(file, name, icc_profile=image.info.get("icc_profile"), **options)
    except (OSError, ValueError, KeyError) as error:
        kind = type(error) if isinstance(error, OSError) else OSError
        raise kind(f"{path} could not be written ({error}); check free space and permissions, or try .png") from error


def check_output(path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Whether an image could be saved there, to be asked before the work; errors as for `save_image`."""
    if Path(path).suffix.lower() not in _FORMATS:
        raise ValueError(f"{path} ends in {Path(path).suffix!r}, which is not one of {', '.join(_FORMATS)}; use .png")
    check_target(path, overwrite=overwrite)


def _read(path: Path, at_least: int | None) -> Image.Image:
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder, not an image; name a file inside it")
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist (working folder: {Path.cwd()}); check the spelling")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty (0 bytes); copy or download it again")
    with path.open("rb") as file:
        with _blaming(path):
            image = Image.open(file)
            W, H = image.size
            if W * H > MAX_PIXELS:
                raise Image.DecompressionBombError(f"{W}×{H} are {W * H / 1e6:.1f} megapixels")
        if at_least:
            image.draft(None, (at_least, at_least))
        return _normalise(image, str(path))


@contextmanager
def _blaming(name: str | Path) -> Iterator[None]:
    """Whatever a decoder raises on damaged data, and that is nearly everything, said in one way."""
    try:
        yield
    except MemoryError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        limit = f"{MAX_PIXELS / 1e6:.1f} megapixels (misf_lite.images.MAX_PIXELS, Pillow's PIL.Image.MAX_IMAGE_PIXELS)"
        raise ValueError(f"{name} is too large ({error}); shrink it, or raise the limit of {limit}") from error
    except UnidentifiedImageError as error:
        raise ValueError(f"{name} is not an image that Pillow can read; export it as PNG or JPEG") from error
    except Exception as error:
        raise ValueError(f"{name} is truncated or damaged ({error}); copy or download it again") from error


def _normalise(image: Image.Image, name: str) -> Image.Image:
    """A decoded, upright copy in one of ``_MODES``, free of metadata that no longer fits."""
    if 0 in image.size:
        raise ValueError(f"{name} has no pixels: it is {image.width}×{image.height}")
    with _blaming(name):
        frames = getattr(image, "n_frames", 1)
        result = ImageOps.exif_transpose(image)
        if image.mode[0] not in "IF":
            grey = image.mode in ("1", "L", "LA", "La")
            mode = ("L" if grey else "RGB") + ("A" if result.has_transparency_data else "")
            result = result if result.mode == mode else result.convert(mode)
    if image.mode[0] in "IF":  # 16 and 32 bit; numpy knows every byte order
        array = np.asarray(result)
        if array.dtype.kind != "f":
            if array.min() < 0 or array.max() > 65535:
                raise ValueError(f"{name} has values {array.min()}..{array.max()}, expected 0..65535; rescale them")
            array = array.astype(np.uint16)
        result = open_image(array)
    profile = None if image.mode in ("CMYK", "LAB") else image.info.get("icc_profile")
    result.info = {"icc_profile": profile} if profile else {}
    if frames > 1 and image.format != "MPO":  # an MPO is a camera's JPEG with a preview behind it
        warnings.warn(f"{name} has {frames} frames; only frame {image.tell() + 1} is used", stacklevel=4)
    return result


def _as_array(source: object) -> np.ndarray:
    """An array or tensor as ``(H, W, C)`` in native byte order, shape and float values checked."""
    if not isinstance(source, np.ndarray | Tensor):
        raise TypeError(f"expected a path, a PIL image, a numpy array or a tensor, got {type(source).__name__}")
    given = f"{type(source).__name__} {tuple(source.shape)} of {str(source.dtype).removeprefix('torch.')}"
    if isinstance(source, Tensor):
        tensor = source.detach().cpu()
        array = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()  # which has no bfloat16
        if array.ndim == 4 and len(array) == 1:
            array = array[0]
        if array.ndim == 3:
            array = np.moveaxis(array, 0, -1)
        wanted = "(H, W), (C, H, W) or (1, C, H, W), channels first: x.permute(2, 0, 1) if they are last"
    else:
        array = source.astype(source.dtype.newbyteorder("="), copy=False)
        wanted = "(H, W) or (H, W, C), channels last: x.transpose(1, 2, 0) if they are first"
    if array.size == 0:
        raise ValueError(f"{given} has no pixels")
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] > 4:
        raise ValueError(f"expected one image with C in 1..4, {wanted}; got {given}")
    if array.dtype.kind != "f":
        return array
    low, high = array.min(), array.max()
    if not np.isfinite([low, high]).all():
        raise ValueError(f"{given} holds NaN or infinite values; mend them (np.nan_to_num) first")
    if low < -1e-6 or high > 1 + 1e-6:  # rounding noise is forgiven
        advice = "divide by 255 or pass uint8" if high > 1 else "rescale it, (x + 1) / 2 if it is in [-1, 1]"
        raise ValueError(f"float values must lie in [0, 1], got {low:.6g} to {high:.6g}; {advice}")
    return array
