"""What docs/formats.md promises: of each format, what is read, what is written, what is kept, and what is refused."""

import base64
import io
import re
import struct
import sys
from pathlib import Path

import cv2
import numpy as np
import pillow_heif
import pillow_jxl
import pytest
import pyvips
import tifffile
import torch
from PIL import ExifTags, Image, ImageCms, TiffImagePlugin
from psd_tools import PSDImage
from torch import nn

from misf_lite import formats, images
from misf_lite.images import from_pixels, open_image, open_mask, pixels, save_image, to_tensor
from misf_lite.inpainting import inpaint

pillow_heif.register_heif_opener()
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
IFD1 = ExifTags.IFD.IFD1
TABLE = Path(__file__).parents[1] / "docs" / "formats.md"
# 4×3 pixels, 16 bits a colour, lossless, in boxes: written by cjxl 0.7.0.
DEEP_JXL = base64.b64decode(
    "AAAADEpYTCANCocKAAAAFGZ0eXBqeGwgAAAAAGp4bCAAAAAJanhsbAoAAABAanhsY/8KEDD8ABQXAggCAQCkAEsYixVCArTOAOCv2wH2BKOCUcGo"
    "D2oJikUk0z4P0j8MzelHvwAwEAYA"
)


def smooth(height: int = 24, width: int = 36) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x * 255 / width, y * 255 / height, (x + y) * 255 / (height + width)], 2).round().astype(np.uint8)


def deep(channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 65536, (5, 7, channels), dtype=np.uint16)


def write_vips(array: np.ndarray, path: Path, orientation: int = 1, **options) -> Path:
    colours = "rgb16" if array.shape[2] > 2 else "grey16"
    image = pyvips.Image.new_from_array(array).copy(interpretation=colours)
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.set_type(pyvips.GValue.gint_type, "orientation", orientation)
    image.set_type(pyvips.GValue.blob_type, "exif-data", exif.tobytes())
    path.write_bytes(image.write_to_buffer(path.suffix, **options))
    return path


def full_exif(orientation: int = 6) -> bytes:
    exif = Image.Exif()
    exif.update({271: "ACME", 272: "Eye 1", 306: "2026:05:04 03:02:01", 0x0112: orientation})
    exif.update({0x8769: {36867: "2026:05:04 03:02:01", 37500: b"maker's notes"}, 0x8825: {1: "N", 2: (1.0, 2.0, 3.0)}})
    return exif.tobytes()


class Grey(nn.Module):
    """A model that fills with middle grey."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, image, mask):
        return torch.full_like(image, 0.5)


# What is read


@pytest.mark.parametrize(
    ("name", "options", "off"),
    [
        ("photo.png", {}, 0),
        ("photo.tif", {"compression": "tiff_lzw"}, 0),
        ("photo.webp", {"lossless": True}, 0),
        ("photo.bmp", {}, 0),
        ("photo.ppm", {}, 0),
        ("photo.tga", {}, 0),
        ("photo.jp2", {"irreversible": False}, 0),
        ("photo.jxl", {"lossless": True}, 0),
        ("photo.jpg", {"quality": 95}, 8),
        ("photo.avif", {"quality": 95, "subsampling": "4:4:4"}, 6),
        ("photo.heic", {"quality": 95, "chroma": 444}, 6),
        ("photo.mpo", {"quality": 95, "save_all": True, "append_images": [Image.new("RGB", (9, 6))]}, 8),
    ],
)
def test_a_photograph_is_read_from_every_format_that_it_comes_in(tmp_path, name, options, off):
    Image.fromarray(smooth()).save(tmp_path / name, **options)
    opened = open_image(tmp_path / name)
    assert opened.mode == "RGB" and opened.size == (36, 24)
    assert np.abs(np.asarray(opened).astype(int) - smooth()).max() <= off


def test_the_content_counts_and_not_the_ending(tmp_path):
    Image.fromarray(smooth()).save(tmp_path / "photo.heic")
    (tmp_path / "photo.heic").rename(tmp_path / "photo.jpg")
    assert open_image(tmp_path / "photo.jpg").size == (36, 24)


@pytest.mark.parametrize(("name", "package"), [("photo.heic", "pillow_heif"), ("photo.jxl", "pillow_jxl")])
def test_where_the_package_for_a_format_is_missing_file_and_extra_are_named(tmp_path, monkeypatch, name, package):
    Image.fromarray(smooth()).save(tmp_path / name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ValueError, match=rf"photo\.\w+: this needs {package} .*pip install 'misf-lite\[formats\]'"):
        open_image(tmp_path / name)


def test_of_a_photoshop_file_the_merged_picture_is_used_and_its_layers_need_no_word(tmp_path):
    document = PSDImage.new("RGB", (36, 24))
    for name in ("one", "two", "three"):
        document.create_pixel_layer(Image.fromarray(smooth()), name=name)
    document.save(tmp_path / "layers.psd")
    np.testing.assert_array_equal(np.asarray(open_image(tmp_path / "layers.psd")), smooth())


def test_a_photoshop_file_without_a_merged_picture_is_refused(tmp_path):
    PSDImage.frompil(Image.fromarray(smooth())).save(tmp_path / "layers.psd")
    data = (tmp_path / "layers.psd").read_bytes()
    at = data.index(b"8BIM\x04\x21") + 12  # resource 1057, the byte that says whether there is one
    assert data[at + 4] == 1
    (tmp_path / "layers.psd").write_bytes(data[: at + 4] + b"\0" + data[at + 5 :])
    with pytest.raises(ValueError, match=r"layers\.psd has layers and no merged picture; save it with maximised"):
        open_image(tmp_path / "layers.psd")


@pytest.mark.parametrize("name", ["mask.psd", "mask.png", "mask.tif", "mask.webp", "mask.gif", "mask.heic", "mask.jxl"])
def test_white_paint_on_a_layer_is_the_hole_whatever_file_it_comes_in(tmp_path, name):
    hole = np.zeros((24, 36), bool)
    hole[8:16, 8:24] = True
    layer = Image.fromarray(np.dstack([np.full((24, 36, 3), 255, np.uint8), hole.astype(np.uint8) * 255]))
    if name.endswith("psd"):
        document = PSDImage.new("RGB", (36, 24))
        document.create_pixel_layer(layer, name="hole")
        document.save(tmp_path / name)
    else:
        layer.save(tmp_path / name)
    np.testing.assert_array_equal(open_mask(tmp_path / name)[0, 0], hole)


# What is refused


def test_a_cameras_raw_file_is_refused_by_its_ending_and_told_what_to_do(tmp_path):
    for ending in (".dng", ".CR3", ".nef"):
        path = tmp_path / f"photo{ending}"
        Image.fromarray(smooth()).save(path, "TIFF")
        with pytest.raises(ValueError, match=rf"photo{ending} is a camera's raw file, .* thumbnail .*; develop it"):
            open_image(path)


@pytest.mark.parametrize(("tag", "value", "kind"), [(254, 1, 4), (50706, b"\x01\x04\0\0", 1)])
def test_a_cameras_raw_file_is_known_by_its_tags_too(tmp_path, tag, value, kind):
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags.tagtype[tag] = kind
    tags[tag] = value
    Image.fromarray(smooth()).save(tmp_path / "photo.tif", tiffinfo=tags)
    with pytest.raises(ValueError, match=r"photo\.tif is a camera's raw file"):
        open_image(tmp_path / "photo.tif")


@pytest.mark.parametrize("name", ["drawing.eps", "drawing.png"])
def test_what_would_start_a_program_is_not_opened(tmp_path, name):
    (tmp_path / name).write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n")
    with pytest.raises(ValueError, match=r"drawing\.\w+ is not an image that can be read here; export it as PNG"):
        open_image(tmp_path / name)


def test_a_file_that_hides_a_larger_picture_is_not_opened(tmp_path):
    stored = io.BytesIO()
    Image.new("1", (9000, 9000)).save(stored, "PNG")
    head = struct.pack("<HHHBBBBHHII", 0, 1, 1, 16, 16, 0, 0, 1, 32, len(stored.getvalue()), 22)
    (tmp_path / "small.ico").write_bytes(head + stored.getvalue())
    with pytest.raises(ValueError, match="is not an image that can be read here"):
        open_image(tmp_path / "small.ico")


def test_a_jpeg_xl_file_that_is_too_large_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    (tmp_path / "large.jxl").write_bytes(DEEP_JXL)
    monkeypatch.setattr(images, "MAX_PIXELS", 11)
    monkeypatch.setattr(pillow_jxl.JpegXLImagePlugin, "Decoder", None)
    with pytest.raises(ValueError, match=r"large\.jxl is too large \(4×3 are"):
        open_image(tmp_path / "large.jxl")


@pytest.mark.parametrize(
    ("width", "height"),
    [(1, 1), (8, 8), (264, 8), (83, 61), (120, 100), (80, 60), (90, 60), (160, 90), (200, 100), (5, 600)],
)
@pytest.mark.parametrize("boxes", [False, True])
def test_the_size_of_a_jpeg_xl_file_is_read_from_its_header(width, height, boxes):
    file = io.BytesIO()
    Image.new("RGB", (width, height), "teal").save(file, "JXL", effort=1, use_container=boxes)
    assert formats.jxl_header(file.getvalue()) == (width, height, 8)
    assert formats.jxl_header(DEEP_JXL) == (4, 3, 16)


@pytest.mark.parametrize("data", [DEEP_JXL[:30], DEEP_JXL[:12] + bytes(40), b"\0\0\0\x0cJXL "])
def test_a_jpeg_xl_file_without_a_header_is_damaged(tmp_path, data):
    (tmp_path / "cut.jxl").write_bytes(data)
    with pytest.raises(ValueError, match=r"cut\.jxl is truncated or damaged"):
        open_image(tmp_path / "cut.jxl")


# 16 bits a colour


@pytest.mark.parametrize("ending", ["png", "tif"])
@pytest.mark.parametrize("channels", [3, 4])
def test_16_bit_colour_written_by_opencv_is_read_bit_by_bit(tmp_path, ending, channels):
    order = [2, 1, 0, 3][:channels]  # OpenCV's
    cv2.imwrite(str(tmp_path / f"deep.{ending}"), deep(channels)[..., order])
    opened = open_image(tmp_path / f"deep.{ending}")
    assert opened.mode == ("RGB" if channels == 3 else "RGBA")
    np.testing.assert_array_equal(pixels(opened), deep(channels))
    np.testing.assert_array_equal(np.asarray(opened), deep(channels) >> 8)
    np.testing.assert_array_equal(to_tensor(opened)[0].permute(1, 2, 0), deep(channels)[..., :3] / np.float32(65535))


@pytest.mark.parametrize(
    "options", [{"byteorder": ">"}, {"compression": "zlib", "predictor": True}, {"planarconfig": "separate"}]
)
def test_16_bit_colour_is_read_from_every_kind_of_tiff(tmp_path, options):
    array = np.moveaxis(deep(), -1, 0) if "planarconfig" in options else deep()
    tifffile.imwrite(tmp_path / "deep.tif", array, photometric="rgb", **options)
    np.testing.assert_array_equal(pixels(open_image(tmp_path / "deep.tif")), deep())


def test_16_bit_grey_with_alpha_stays_grey(tmp_path):
    opened = open_image(write_vips(deep(2), tmp_path / "deep.png"))
    assert opened.mode == "LA"
    np.testing.assert_array_equal(pixels(opened), deep(2))


@pytest.mark.parametrize("ending", ["png", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_16_bit_colour_is_turned_upright_as_pillow_turns_8_bit(tmp_path, ending, orientation):
    opened = open_image(write_vips(deep(), tmp_path / f"deep.{ending}", orientation))
    write_vips((deep() >> 8).astype(np.uint8), tmp_path / f"flat.{ending}", orientation)
    np.testing.assert_array_equal(pixels(opened) >> 8, np.asarray(open_image(tmp_path / f"flat.{ending}")))


@pytest.mark.parametrize(("ending", "channels"), [("png", 2), ("png", 3), ("png", 4), ("tif", 3), ("tiff", 4)])
def test_16_bit_colour_survives_a_file_bit_by_bit(tmp_path, ending, channels):
    for array in (deep(channels), deep(channels)[::-1]):  # a file that has been replaced is read anew
        save_image(array, tmp_path / f"deep.{ending}", overwrite=True)
        np.testing.assert_array_equal(pixels(open_image(tmp_path / f"deep.{ending}")), array)
        if channels > 2:
            stored = cv2.imread(str(tmp_path / f"deep.{ending}"), cv2.IMREAD_UNCHANGED)
            np.testing.assert_array_equal(stored[..., [2, 1, 0, 3][:channels]], array)


@pytest.mark.parametrize("name", ["deep.jpg", "deep.webp", "deep.bmp"])
def test_16_bit_colour_is_refused_where_a_format_has_no_place_for_it(tmp_path, name):
    with pytest.raises(ValueError, match=r"deep\.\w+: a \w+ file cannot hold .*16 bit, and this image is RGB;16"):
        save_image(deep(), tmp_path / name)
    with pytest.raises(ValueError, match=r"this image is LA;16; use \.png"):
        save_image(deep(2), tmp_path / "deep.tif")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_inpaint_keeps_known_pixels_of_16_bit_colour_and_fills_in_16_bit(tmp_path, channels):
    mask = np.zeros((20, 20), bool)
    mask[5:9, 5:9] = True
    array = np.random.default_rng(1).integers(0, 65536, (20, 20, channels), dtype=np.uint16)
    save_image(array, tmp_path / "deep.png")
    filled = inpaint(tmp_path / "deep.png", mask, Grey())
    np.testing.assert_array_equal(pixels(filled)[~mask], array[~mask])
    expected = [32768] * channels if channels == 3 else [32768] * (channels - 1) + [65535]
    assert np.abs(pixels(filled)[mask].astype(int) - expected).max() <= 1
    save_image(filled, tmp_path / "filled.png")
    np.testing.assert_array_equal(pixels(open_image(tmp_path / "filled.png")), pixels(filled))


def test_an_image_that_was_changed_after_opening_has_8_bits_and_that_is_told():
    opened = open_image(deep())
    np.testing.assert_array_equal(pixels(open_image(opened)), deep())
    opened.putpixel((0, 0), (1, 2, 3))
    assert pixels(opened).dtype == np.uint8
    with pytest.warns(UserWarning, match="has changed since it was opened: of its 16 bits a colour 8 are left"):
        assert pixels(open_image(opened))[0, 0].tolist() == [1, 2, 3]


def test_pixels_and_metadata_make_the_image_again():
    image = open_image(deep())
    image.info["dpi"] = (300, 300)
    again = from_pixels(pixels(image), image.info)
    assert again.info["dpi"] == (300, 300)
    np.testing.assert_array_equal(pixels(again), deep())
    assert "deep" not in from_pixels(smooth(), image.info).info


def test_without_its_package_16_bit_colour_is_read_in_8_and_that_is_told_but_planes_are_refused(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyvips", None)
    cv2.imwrite(str(tmp_path / "deep.png"), deep()[..., ::-1])
    advice = r"deep\.png has 16 bits a colour, of which 8 are used.*this needs pyvips .*'misf-lite\[formats\]'"
    with pytest.warns(UserWarning, match=advice):
        np.testing.assert_array_equal(pixels(open_image(tmp_path / "deep.png")), deep() >> 8)
    planes = np.moveaxis(deep(), -1, 0)
    tifffile.imwrite(tmp_path / "planes.tif", planes, photometric="rgb", planarconfig="separate")
    with pytest.raises(ValueError, match=r"planes\.tif: this needs pyvips"):
        open_image(tmp_path / "planes.tif")
    with pytest.raises(ImportError, match="this needs pyvips"):
        save_image(deep(), tmp_path / "out.png")


def test_grey_with_alpha_stays_grey_without_the_package_too(tmp_path, monkeypatch):
    write_vips(deep(2), tmp_path / "deep.png")
    monkeypatch.setitem(sys.modules, "pyvips", None)
    with pytest.warns(UserWarning, match="16 bits a colour"):
        opened = open_image(tmp_path / "deep.png")
    assert opened.mode == "LA"
    np.testing.assert_array_equal(np.asarray(opened), deep(2) >> 8)


def make_deep(name: str, path: Path) -> None:
    if name == "HEIC":
        pillow_heif.from_bytes("RGB;16", (7, 5), deep().tobytes()).save(path, save_to_12bit=False)
    elif name == "AVIF":
        image = pyvips.Image.new_from_array(deep()).copy(interpretation="rgb16")
        path.write_bytes(image.heifsave_buffer(compression="av1", bitdepth=10))
    elif name == "JPEG XL":
        path.write_bytes(DEEP_JXL)
    elif name == "PPM":
        path.write_bytes(b"P6 7 5 1023\n" + (deep() >> 6).astype(">u2").tobytes())
    else:
        cv2.imwrite(str(path), np.tile(deep(), (20, 20, 1)))


@pytest.mark.parametrize(
    ("name", "ending", "bits"),
    [("HEIC", "heic", 10), ("AVIF", "avif", 10), ("JPEG XL", "jxl", 16), ("PPM", "ppm", 10), ("JPEG 2000", "jp2", 16)],
)
def test_where_bits_are_lost_file_and_depth_are_told(tmp_path, name, ending, bits):
    make_deep(name, tmp_path / f"deep.{ending}")
    with pytest.warns(
        UserWarning, match=rf"deep\.{ending} has {bits} bits a colour, of which 8 are used; to keep more"
    ):
        open_image(tmp_path / f"deep.{ending}")


def test_damaged_16_bit_colour_is_refused_like_any_other(tmp_path):
    for ending in ("png", "tif"):
        path = tmp_path / f"cut.{ending}"
        cv2.imwrite(str(path), np.tile(deep(), (20, 20, 1)))
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(ValueError, match=rf"cut\.{ending} is (truncated or damaged|not an image)"):
            open_image(path)


# Metadata


@pytest.mark.parametrize(
    ("source", "ending", "kept"),
    [
        ("jpg", "png", {"icc_profile", "exif", "dpi"}),
        ("jpg", "tif", {"icc_profile", "exif", "dpi"}),
        ("jpg", "webp", {"icc_profile", "exif"}),
        ("jpg", "jpg", {"icc_profile", "exif", "dpi"}),
        ("jpg", "bmp", {"dpi"}),
        ("png", "png", {"icc_profile", "exif", "dpi"}),
        ("webp", "png", {"icc_profile", "exif"}),
        ("avif", "png", {"icc_profile", "exif"}),
        ("heic", "png", {"icc_profile", "exif"}),
    ],
)
@pytest.mark.filterwarnings("ignore:.*JPEG changes")
def test_profile_exif_and_dpi_stay_where_both_formats_have_a_place_for_them(tmp_path, source, ending, kept):
    image = Image.fromarray(smooth())
    image.save(tmp_path / f"photo.{source}", exif=full_exif(), icc_profile=PROFILE, dpi=(300, 300))
    save_image(open_image(tmp_path / f"photo.{source}"), tmp_path / f"out.{ending}")
    with Image.open(tmp_path / f"out.{ending}") as stored:
        assert stored.size == (24, 36)  # upright
        assert (stored.info.get("icc_profile") == PROFILE) == ("icc_profile" in kept)
        assert (round(stored.info.get("dpi", (0, 0))[0]) == 300) == ("dpi" in kept)
        exif = stored.getexif()
        assert exif.get(0x0112, 1) == 1
        if "exif" in kept:
            assert (exif[271], exif[272]) == ("ACME", "Eye 1")
            assert exif.get_ifd(0x8769)[36867] == "2026:05:04 03:02:01"
            assert exif.get_ifd(0x8825)[2] == (1.0, 2.0, 3.0)


@pytest.mark.parametrize(("ending", "kept"), [("png", True), ("tif", False)])
def test_metadata_stay_with_16_bit_colour_too_and_what_does_not_is_told(tmp_path, ending, kept):
    image = open_image(deep())
    image.info |= {"icc_profile": PROFILE, "dpi": (300.0, 300.0), "exif": full_exif(orientation=1)}
    if kept:
        save_image(image, tmp_path / f"deep.{ending}")
    else:
        with pytest.warns(
            UserWarning, match=r"deep\.tif: TIFF of 16-bit colour is written without EXIF; .png keeps it"
        ):
            save_image(image, tmp_path / f"deep.{ending}")
    opened = open_image(tmp_path / f"deep.{ending}")
    np.testing.assert_array_equal(pixels(opened), deep())
    assert opened.info["icc_profile"] == PROFILE
    assert round(opened.info["dpi"][0]) == 300
    assert ("exif" in opened.info) == kept


def test_neither_the_thumbnail_nor_the_makers_notes_outlive_what_was_filled(tmp_path):
    thumbnail = io.BytesIO()
    Image.new("RGB", (16, 12), "red").save(thumbnail, "JPEG")
    small = thumbnail.getvalue()
    first = struct.pack("<HHHII", 1, 271, 2, 4, int.from_bytes(b"ACM\0", "little")) + struct.pack("<I", 26)
    second = struct.pack("<HHHIIHHIII", 2, 513, 4, 1, 56, 514, 4, 1, len(small), 0)
    exif = b"Exif\0\0II*\0" + struct.pack("<I", 8) + first + second + small
    Image.fromarray(smooth()).save(tmp_path / "photo.jpg", exif=exif)
    with Image.open(tmp_path / "photo.jpg") as stored:
        assert stored.getexif().get_ifd(IFD1)  # IFD1 has the thumbnail
    save_image(open_image(tmp_path / "photo.jpg"), tmp_path / "out.png")
    with Image.open(tmp_path / "out.png") as stored:
        exif = stored.getexif()
        assert exif[271] == "ACM" and not exif.get_ifd(IFD1)
    assert small[-40:] not in (tmp_path / "out.png").read_bytes()

    Image.fromarray(smooth()).save(tmp_path / "notes.jpg", exif=full_exif())
    assert b"maker's notes" in (tmp_path / "notes.jpg").read_bytes()
    assert b"maker's notes" not in open_image(tmp_path / "notes.jpg").info["exif"]


def test_a_damaged_exif_block_is_left_out_of_a_sound_picture_and_told(tmp_path):
    Image.fromarray(smooth()).save(tmp_path / "photo.png", exif=b"garbage-not-tiff")
    with pytest.warns(UserWarning, match=r"photo\.png has a damaged EXIF block, which is left out .*upright"):
        opened = open_image(tmp_path / "photo.png")
    np.testing.assert_array_equal(np.asarray(opened), smooth())
    assert "exif" not in opened.info


def test_dpi_that_make_no_sense_are_left_out(tmp_path):
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[282] = tags[283] = TiffImagePlugin.IFDRational(0, 0)
    tags[296] = 2
    Image.fromarray(smooth()).save(tmp_path / "photo.tif", tiffinfo=tags)
    assert "dpi" not in open_image(tmp_path / "photo.tif").info


def test_a_jpeg_xl_file_is_turned_once_by_its_decoder(tmp_path):
    Image.fromarray(smooth()).save(tmp_path / "photo.jxl", lossless=True, exif=full_exif())
    np.testing.assert_array_equal(np.asarray(open_image(tmp_path / "photo.jxl")), smooth())


@pytest.mark.parametrize("ending", ["heic", "avif"])
def test_a_picture_from_a_phone_is_turned_once(tmp_path, ending):
    Image.fromarray(smooth()).save(tmp_path / f"photo.{ending}", quality=95, exif=full_exif())
    off = np.asarray(open_image(tmp_path / f"photo.{ending}")).astype(int) - np.rot90(smooth(), -1)
    assert np.abs(off).mean() < 4


# The table


def test_the_table_names_every_ending_that_is_read_or_written():
    text = TABLE.read_text(encoding="utf-8")
    named = set(re.findall(r"`(\.\w+)`", text))
    assert formats.ENDINGS | set(formats.WRITTEN) <= named
    assert set(formats.WRITTEN) <= formats.ENDINGS
