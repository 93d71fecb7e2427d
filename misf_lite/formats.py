"""Files of pictures: which may be opened, which package reads them, and what they hold that Pillow does not tell.

This is knowledge, `misf_lite.images` is the door; ``docs/formats.md`` has the whole table.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from PIL import Image

# What Pillow may open: formats that photographs come in, none that runs a program or hides a larger picture.
READ = ("PNG", "JPEG", "TIFF", "WEBP", "BMP", "GIF", "AVIF", "HEIF", "JXL", "JPEG2000", "PSD", "PPM", "TGA")
_COMMON = (".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".tif", ".tiff", ".webp", ".bmp", ".gif", ".avif")
_OTHERS = (".heic", ".heif", ".hif", ".jxl", ".jp2", ".j2k", ".psd", ".ppm", ".pgm", ".pbm", ".pnm", ".tga")
ENDINGS = frozenset((*_COMMON, *_OTHERS))
RAW = (".dng", ".cr2", ".cr3", ".nef", ".nrw", ".arw", ".raf", ".orf", ".rw2", ".pef", ".srw", ".3fr", ".iiq")

# For each ending: Pillow's name for the format, the modes it holds without changing them, how it is written.
DEEP = ("LA;16", "RGB;16", "RGBA;16")  # which Pillow has no modes for
_MODES = ("L", "LA", "RGB", "RGBA", "I;16", *DEEP)
WRITTEN: dict[str, tuple[str, tuple[str, ...], dict[str, Any]]] = {
    ".png": ("PNG", _MODES, {}),
    ".tif": ("TIFF", tuple(mode for mode in _MODES if mode != "LA;16"), {}),
    ".tiff": ("TIFF", tuple(mode for mode in _MODES if mode != "LA;16"), {}),
    ".webp": ("WEBP", ("L", "LA", "RGB", "RGBA"), {"lossless": True, "exact": True}),
    ".bmp": ("BMP", ("L", "RGB"), {}),
    ".jpg": ("JPEG", ("L", "RGB"), {"quality": 95, "subsampling": 0}),
    ".jpeg": ("JPEG", ("L", "RGB"), {"quality": 95, "subsampling": 0}),
}

# EXIF that stays true of a filled picture: what, camera, program, when, who, and two groups. Of these go the maker's
# notes, which may hold a small picture, a pointer, and the size.
_EXIF = (270, 271, 272, 305, 306, 315, 33432)
_EXIF_GROUPS = (0x8769, 0x8825)
_EXIF_LOST = (37500, 0xA005, 0xA002, 0xA003)


def plugin(head: bytes) -> str | None:
    """The package that teaches Pillow the format of a file that begins like this, if it needs one."""
    if head.startswith((b"\xff\x0a", b"\0\0\0\x0cJXL ")):
        return "pillow_jxl"
    return "pillow_heif" if re.match(rb"....ftyp(hei|hev|mif1|msf1)", head, re.DOTALL) else None


def check_whole(path: Path, image: Image.Image) -> None:
    """Raise ValueError if what Pillow has opened stands for a picture that it cannot read."""
    tags = getattr(image, "tag_v2", {})
    kind = tags.get(254)
    reduced = isinstance(kind, int) and kind & 1  # "a reduced-resolution version of another image"
    if 50706 in tags or reduced:  # 50706 is the version of DNG
        raise ValueError(raw_advice(path))
    if any(number == 1057 and data[4:5] == b"\0" for number, _, data in getattr(image, "resources", [])):
        raise ValueError(f"{path} has layers and no merged picture; save it with maximised compatibility, or as PNG")


def raw_advice(path: Path) -> str:
    advice = "develop it (darktable, RawTherapee, the camera's own program) and export a 16-bit TIFF or PNG"
    return f"{path} is a camera's raw file, of which only a thumbnail could be read; {advice}"


def bit_depth(image: Image.Image, head: bytes) -> int:
    """How many bits a colour the file has. Pillow cuts off all beyond the 8th."""
    match image.format:
        case "PNG":
            return head[24]
        case "TIFF":
            return max(getattr(image, "tag_v2", {}).get(258, (1,)))
        case "HEIF":
            return image.info.get("bit_depth", 8)
        case "AVIF":
            _, found, box = head.partition(b"av1C")
            flags = box[2] if found else 0
            return 12 if flags & 0x20 else 10 if flags & 0x40 else 8
        case "JPEG2000":  # of the first component, in the header of the codestream
            _, found, header = head.partition(b"\xff\x4f\xff\x51")
            return (header[38] & 0x7F) + 1 if found else 8
        case "PPM":
            codec, _, _, parameters = getattr(image, "tile", [("raw", (), 0, ())])[0]
            return parameters[1].bit_length() if codec.startswith("ppm") else 8
    return 8


def jxl_header(data: bytes) -> tuple[int, int, int]:
    """Width, height and bits a colour of a JPEG XL file, which its package tells only when it has decoded all of it.

    Source: ISO/IEC 18181-1, SizeHeader and ImageMetadata.
    """
    start = 0
    while data[start : start + 2] != b"\xff\x0a":  # in boxes
        length, kind = int.from_bytes(data[start : start + 4], "big"), data[start + 4 : start + 8]
        start += {b"jxlc": 8, b"jxlp": 12}.get(kind, length)
        if length < 8 or start > len(data):
            raise ValueError("no codestream")
    stream = int.from_bytes(data[start + 2 : start + 34], "little")

    def take(count: int) -> int:
        nonlocal stream
        value = stream % (1 << count)
        stream >>= count
        return value

    def side() -> int:
        return (take(5) + 1) * 8 if small else take((9, 13, 18, 30)[take(2)]) + 1

    small = take(1)
    H = side()
    ratio = take(3)
    W = side() if ratio == 0 else H * (1, 12, 4, 3, 16, 5, 2)[ratio - 1] // (1, 10, 3, 2, 9, 4, 1)[ratio - 1]
    if take(1):
        return W, H, 8
    if take(1) and take(6) >= 8:  # beside its orientation it has a preview or moves: too rare to read on
        return W, H, 8
    floats = take(1)
    which = take(2)
    return W, H, ((32, 16, 24) if floats else (8, 10, 12))[which] if which < 3 else 1 + take(6)


def kept_exif(image: Image.Image) -> bytes | None:
    """What stays of the EXIF of an image whose hole is filled: no thumbnail of the whole, and no orientation."""
    stored = image.getexif()
    kept = Image.Exif()
    kept.update({tag: stored[tag] for tag in _EXIF if tag in stored})
    for group in _EXIF_GROUPS:
        tags = {tag: value for tag, value in stored.get_ifd(group).items() if tag not in _EXIF_LOST}
        kept.update({group: tags} if tags else {})
    return kept.tobytes() if kept else None


def read_deep(vips: ModuleType, path: Path) -> np.ndarray:
    """The pixels of a PNG or TIFF file of 16-bit colour, upright, ``(H, W, C)``."""
    data = path.read_bytes()  # read by its name, pyvips would remember a file that has changed since
    load = vips.Image.pngload_buffer if data.startswith(b"\x89PNG") else vips.Image.tiffload_buffer
    return load(data, fail_on="error").autorot().numpy()


def write_deep(vips: ModuleType, array: np.ndarray, info: Mapping[str, Any], ending: str) -> bytes:
    """A PNG or TIFF file of 16-bit colour ``(H, W, C)``; TIFF without EXIF."""
    x, y = info.get("dpi", (72, 72))  # some must be written
    colours = "rgb16" if array.shape[2] > 2 else "grey16"
    image = vips.Image.new_from_array(array).copy(interpretation=colours, xres=x / 25.4, yres=y / 25.4)
    for key, name in (("icc_profile", "icc-profile-data"), ("exif", "exif-data")):
        if key in info:
            image.set_type(vips.GValue.blob_type, name, info[key])
    return image.write_to_buffer(ending)
