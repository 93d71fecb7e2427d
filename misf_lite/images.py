"""Images and masks: read from anything, checked once, and written safely.

An image becomes a ``(1, 3, H, W)`` tensor in [0, 1], a mask a ``(1, 1, H, W)`` tensor of zeros and ones, 1 = hole.
``docs/formats.md`` says which formats are read and written, by which library, and what is kept of each.
"""

import io
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from misf_lite import formats
from misf_lite.extras import import_or_explain
from misf_lite.files import atomic_write, check_target

MAX_PIXELS = 64_000_000  # larger files are refused before they are decoded
Source = str | os.PathLike[str] | Image.Image | np.ndarray | Tensor


def open_image(source: Source, *, at_least: int | None = None) -> Image.Image:
    """Read an image, upright (EXIF), decoded, in mode ``L``, ``LA``, ``RGB``, ``RGBA`` or ``I;16``.

    Args:
        source: a path, a PIL image, a numpy array ``(H, W)`` or ``(H, W, C)``, or a tensor ``(H, W)``, ``(C, H, W)`` or
            ``(1, C, H, W)``; C is 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGBA). Arrays are uint8, uint16 or float in
            [0, 1], which is rounded to 8 bit.
        at_least: decode a JPEG file, faster, at 1/2, 1/4 or 1/8 of its size if its short side keeps this many pixels.

    Returns:
        A new image. Palettes are expanded and keep their transparency; other modes are converted as Pillow does it. Of
        16-bit colour, which Pillow has no mode for, it shows the upper 8 bits; `pixels` gives all. Of its metadata stay
        dpi, EXIF without thumbnail, and an ICC profile that still fits.

    Warns (``UserWarning``) of what is not used: further frames, bits beyond the 8th, a damaged EXIF block, and of a
    conversion that changes pixels.

    Raises:
        FileNotFoundError, IsADirectoryError: there is no such file.
        ValueError: not an image, damaged, larger than ``MAX_PIXELS``, no pixels, wrong shape, values out of range; a
            camera's raw file; HEIC or JPEG XL, and the package for it is missing.
        TypeError: ``source`` or its dtype is none of the above.
        MemoryError: it does not fit.
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
    if array.dtype not in (np.uint8, np.uint16):
        given = f"{array.dtype}; x.astype('uint8') if its values are 0..255"
        raise TypeError(f"an image is uint8, uint16 or float in [0, 1], got {given}")
    return from_pixels(array.squeeze(2) if array.shape[2] == 1 else array)


def pixels(image: Image.Image) -> np.ndarray:
    """The pixels of an image from `open_image`, ``(H, W)`` or ``(H, W, C)``: uint8, or uint16 where it has 16 bits.

    Those of 16-bit colour lie in ``image.info["deep"]``, and count as long as the 8 bits that Pillow holds are theirs.
    """
    shown = np.asarray(image)
    deep = image.info.get("deep")
    return deep if deep is not None and np.array_equal(deep >> 8, shown) else shown


def from_pixels(array: np.ndarray, info: Mapping[Any, Any] | None = None) -> Image.Image:
    """The image with these pixels, the opposite of `pixels`; ``info`` is the metadata it takes over."""
    deep = array.dtype == np.uint16 and array.ndim == 3
    image = Image.fromarray((array >> 8).astype(np.uint8) if deep else array)
    image.info = {key: value for key, value in (info or {}).items() if key != "deep"}
    if deep:
        image.info["deep"] = array
    return image


def to_tensor(image: Source) -> Tensor:
    """The colours of an image as ``(1, 3, H, W)`` float32 in [0, 1].

    Grey is repeated three times, 16 bit divided by 65535, and alpha set aside: the colours are those stored in the
    file, also where it is transparent. ``image`` and errors are as for `open_image`.
    """
    array = np.atleast_3d(pixels(open_image(image)))
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
    array = _as_array(source if isinstance(source, np.ndarray | Tensor) else pixels(open_image(source)))
    name = source if isinstance(source, str | os.PathLike) else "this"
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
        warnings.warn(f"{name} does not look like a mask: {grey}. Were image and mask swapped?", stacklevel=2)
    elif not hole.any() and array.max() > 0:
        dark = f"a hole starts at {half}, its largest level is {level.max():.6g} of {whole}"
        warnings.warn(f"{name} has no hole: {dark}. Paint holes white and opaque, or rescale the values", stacklevel=2)
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


def save_image(image: Source, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Write an image, whole or not at all, with its ICC profile, EXIF and dpi where the format has a place for them.

    PNG, TIFF and WebP (written lossless) keep every pixel as it is. JPEG also changes the known ones: a warning
    (``UserWarning``) says by how much.

    Raises:
        FileExistsError: ``path`` exists and ``overwrite`` is False.
        ValueError: an ending that is not known, or a format that cannot hold this image (alpha or 16 bit in JPEG).
        ImportError: 16-bit colour, and pyvips is missing.
        OSError: the folder is missing, not writable or full, or the encoder failed; ``path`` is then as it was.
    """
    image = open_image(image)
    check_output(path, image, overwrite=overwrite)
    ending = Path(path).suffix.lower()
    name, _, options = formats.WRITTEN[ending]
    deep = _mode(image) in formats.DEEP
    kept: dict[str, Any] = {key: image.info[key] for key in ("icc_profile", "exif", "dpi") if key in image.info}
    memory = io.BytesIO()
    try:
        if deep:
            vips = import_or_explain("pyvips", "formats")
            memory.write(formats.write_deep(vips, pixels(image), kept, ending))
        else:
            image.save(memory, name, **kept, **options)
        with atomic_write(path, overwrite=overwrite) as file:
            file.write(memory.getbuffer())
    except MemoryError:
        raise
    except Exception as error:  # encoders raise all kinds
        kind = type(error) if isinstance(error, OSError) else OSError
        raise kind(f"{path} could not be written ({error}); check free space and permissions, or try .png") from error
    if name == "JPEG":
        with Image.open(memory) as stored:
            off = np.abs(np.asarray(stored, np.int16) - np.asarray(image))
        by = f"by {off.mean():.2g} of 255 levels on average and {off.max()} at most"
        warnings.warn(f"{path}: JPEG changes known pixels too, here {by}; .png keeps them", stacklevel=2)
    elif name == "TIFF" and deep and "exif" in kept:
        warnings.warn(f"{path}: TIFF of 16-bit colour is written without EXIF; .png keeps it", stacklevel=2)


def check_output(path: str | os.PathLike[str], image: Image.Image | None = None, *, overwrite: bool = False) -> None:
    """Whether an image could be saved there, to be asked before the work; errors as for `save_image`.

    ``image`` is the picture to be filled, from `open_image`: its mode, too, must fit the format.
    """
    ending = Path(path).suffix.lower()
    if ending not in formats.WRITTEN:
        known = ", ".join(formats.WRITTEN)
        raise ValueError(f"{path} ends in {Path(path).suffix!r}, which is not one of {known}; use .png")
    check_target(path, overwrite=overwrite)
    if image is None:
        return
    name, modes, _ = formats.WRITTEN[ending]
    mode = _mode(image)
    if mode not in modes:
        given = f"this image is {mode}; use .png"
        raise ValueError(f"{path}: a {name} file cannot hold alpha or 16 bit, and {given}")
    if mode in formats.DEEP:
        import_or_explain("pyvips", "formats")


def _mode(image: Image.Image) -> str:
    """The mode of an image, as Pillow would call it if it had modes for 16-bit colour."""
    deep = "deep" in image.info and pixels(image).dtype == np.uint16
    return f"{image.mode};16" if deep else image.mode


def _read(path: Path, at_least: int | None) -> Image.Image:
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder, not an image; name a file inside it")
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist (working folder: {Path.cwd()}); check the spelling")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty (0 bytes); copy or download it again")
    if path.suffix.lower() in formats.RAW:
        raise ValueError(formats.raw_advice(path))
    with path.open("rb") as file:
        head = file.read(65536)
        depth = 0
        plugin = formats.plugin(head)
        package = _package(plugin, path) if plugin else None
        if plugin == "pillow_heif" and package:
            package.register_heif_opener()
        with _blaming(path):
            if plugin == "pillow_jxl":
                W, H, depth = formats.jxl_header(head + file.read())
                _check_size(W, H)  # before it is opened, which decodes it
            file.seek(0)
            Image.init()
            image = Image.open(file, formats=[name for name in formats.READ if name in Image.OPEN])
            _check_size(*image.size)
            if image.format == "PNG":
                image.verify()  # the checksums, which decoding passes over
                file.seek(0)
                image = Image.open(file, formats=["PNG"])
            depth = depth or formats.bit_depth(image, head)
        formats.check_whole(path, image)
        if at_least:
            image.draft(None, (at_least, at_least))
        result = _normalise(image, str(path))
        if head.startswith(b"\x89PNG") and head[25] == 4:  # grey with alpha, which Pillow makes RGBA if it is 16 bit
            result = from_pixels(pixels(result.convert("LA")), result.info)
        return _deepen(path, image, depth, result) if depth > 8 and image.mode[0] not in "IF" else result


def _package(name: str, path: Path) -> ModuleType:
    try:
        return import_or_explain(name, "formats")
    except (ImportError, OSError) as error:  # OSError: a library behind it
        raise ValueError(f"{path}: {error}") from error


@contextmanager
def _blaming(name: object) -> Iterator[None]:
    """Whatever a decoder raises on damaged data, and that is nearly everything, said in one way."""
    try:
        yield
    except MemoryError as error:
        raise MemoryError(f"{name} does not fit into the free memory; shrink it, or close other programs") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        limit = f"{MAX_PIXELS / 1e6:.1f} megapixels (misf_lite.images.MAX_PIXELS, Pillow's PIL.Image.MAX_IMAGE_PIXELS)"
        raise ValueError(f"{name} is too large ({error}); shrink it, or raise the limit of {limit}") from error
    except UnidentifiedImageError as error:
        raise ValueError(f"{name} is not an image that can be read here; export it as PNG or JPEG") from error
    except Exception as error:
        why = " ".join(str(error).split())
        raise ValueError(f"{name} is truncated or damaged ({why}); copy or download it again") from error


def _check_size(W: int, H: int) -> None:
    if W * H > MAX_PIXELS:
        raise Image.DecompressionBombError(f"{W}×{H} are {W * H / 1e6:.1f} megapixels")


def _deepen(path: Path, image: Image.Image, depth: int, result: Image.Image) -> Image.Image:
    """The same with 16-bit colour, if its file can be read so; ``result`` has the upper 8 bits of it."""
    told = f"{path} has {depth} bits a colour, of which 8 are used"
    tags = getattr(image, "tag_v2", {})
    plain = image.mode in ("RGB", "RGBA") and tags.get(338, (2,)) == (2,)  # alpha as in PNG, if there is any
    if depth != 16 or image.format not in ("PNG", "TIFF") or not plain:
        warnings.warn(f"{told}; to keep more, export it as a 16-bit PNG", stacklevel=4)
        return result
    try:
        vips = _package("pyvips", path)
    except ValueError as error:
        if tags.get(284) == 2:  # in planes, of which Pillow makes noise
            raise
        warnings.warn(f"{told}. To keep all: {error}", stacklevel=4)
        return result
    with _blaming(path):
        return from_pixels(formats.read_deep(vips, path), result.info)


def _normalise(image: Image.Image, name: str) -> Image.Image:
    """A decoded, upright copy in one of the five modes, with the metadata that still fits."""
    if 0 in image.size:
        raise ValueError(f"{name} has no pixels: it is {image.width}×{image.height}")
    with _blaming(name):
        _check_size(*image.size)
        image.load()
        frames = getattr(image, "n_frames", 1)
        result, info = _upright(image, name)
        if image.mode[0] not in "IF":
            grey = image.mode in ("1", "L", "LA", "La")
            mode = ("L" if grey else "RGB") + ("A" if result.has_transparency_data else "")
            result = result if result.mode == mode else result.convert(mode)
    if image.mode[0] in "IF":  # 16 and 32 bit; numpy knows every byte order
        array = _as_array(np.asarray(result), name)[..., 0]
        if array.dtype.kind == "f":
            warnings.warn(f"{name} holds floats, which are rounded to 8 bits", stacklevel=4)
            array = np.rint(array * 255).astype(np.uint8)
        elif array.min() < 0 or array.max() > 65535:
            raise ValueError(f"{name} has values {array.min()}..{array.max()}, expected 0..65535; rescale them")
        else:
            array = array.astype(np.uint16)
        result = Image.fromarray(array)
    if image.mode in ("CMYK", "LAB", "YCbCr", "HSV"):
        info.pop("icc_profile", None)
        warnings.warn(f"{name} is {image.mode} and converted to RGB, known pixels too", stacklevel=4)
    result.info = info
    if "deep" in info and pixels(result) is not info["deep"]:
        del info["deep"]
        warnings.warn(f"{name} has changed since it was opened: of its 16 bits a colour 8 are left", stacklevel=4)
    if frames > 1 and image.format not in ("MPO", "PSD"):  # a camera's preview; layers, which are merged already
        warnings.warn(f"{name} has {frames} frames; only frame {image.tell() + 1} is used", stacklevel=4)
    return result


def _upright(image: Image.Image, name: str) -> tuple[Image.Image, dict[Any, Any]]:
    """A copy, turned as EXIF says, with the metadata that stay true when its hole is filled."""
    info: dict[Any, Any] = {key: image.info[key] for key in ("icc_profile", "deep") if image.info.get(key) is not None}
    result = image.copy()
    try:
        exif = formats.kept_exif(image)
        info |= {"exif": exif} if exif else {}
        if image.format != "JXL" or getattr(image, "jpeg", False):  # JPEG XL is turned when it is decoded
            result = ImageOps.exif_transpose(image)
    except MemoryError:
        raise
    except Exception as error:
        advice = "check that the picture is upright, and its mask like it"
        warnings.warn(f"{name} has a damaged EXIF block, which is left out ({error}); {advice}", stacklevel=5)
    x, y = image.info.get("dpi", (0, 0))
    if 0 < float(x) < 1e6 and 0 < float(y) < 1e6:
        info["dpi"] = (float(x), float(y)) if result.size == image.size else (float(y), float(x))
    return result, info


def _as_array(source: object, name: str | None = None) -> np.ndarray:
    """An array or tensor as ``(H, W, C)`` in native byte order, shape and float values checked."""
    if not isinstance(source, np.ndarray | Tensor):
        raise TypeError(f"expected a path, a PIL image, a numpy array or a tensor, got {type(source).__name__}")
    given = f"{name or type(source).__name__} {tuple(source.shape)} of {str(source.dtype).removeprefix('torch.')}"
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
    with _blaming(given):
        _check_size(array.shape[1], array.shape[0])
    if array.dtype.kind != "f":
        return array
    low, high = array.min(), array.max()
    if not np.isfinite([low, high]).all():
        raise ValueError(f"{given} holds NaN or infinite values; mend them (np.nan_to_num) first")
    if low < -1e-6 or high > 1 + 1e-6:  # rounding noise is forgiven
        advice = "divide by 255 or pass uint8" if high > 1 else "rescale it, (x + 1) / 2 if it is in [-1, 1]"
        raise ValueError(f"{given}: float values must lie in [0, 1], got {low:.6g} to {high:.6g}; {advice}")
    return array
