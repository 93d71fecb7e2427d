"""What misf_lite.images promises: every kind of image and mask is read right, or refused with advice."""

import errno
import os
import struct
import warnings
import zlib

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageCms, ImageOps

from misf_lite import images
from misf_lite.images import check_output, check_pair, open_image, open_mask, save_image, to_tensor

quick = settings(max_examples=50, deadline=None)
sides = st.integers(1, 9)
colour_arrays = hnp.arrays(np.uint8, st.tuples(sides, sides, st.integers(1, 4)))
deep_arrays = hnp.arrays(np.uint16, st.tuples(sides, sides))

# What each EXIF orientation does to the stored pixels, said with numpy.
ORIENTATIONS = {
    1: lambda x: x,
    2: np.fliplr,
    3: lambda x: np.rot90(x, 2),
    4: np.flipud,
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: np.rot90(x, -1),
    7: lambda x: np.rot90(x.swapaxes(0, 1), 2),
    8: np.rot90,
}


def noise(*shape: int, dtype: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def picture(mode: str) -> Image.Image:
    """7×5 pixels of noise in any of Pillow's modes."""
    if mode == "I;16":
        return Image.fromarray(noise(5, 7, dtype=np.uint16))
    if mode == "I;16B":
        return Image.frombytes(mode, (7, 5), noise(5, 7, dtype=np.uint16).astype(">u2").tobytes())
    start = {"LA": "LA", "La": "LA", "RGBA": "RGBA", "RGBa": "RGBA"}.get(mode, "RGB")
    image = Image.fromarray(noise(5, 7, len(start)))
    return image if start == mode else image.convert(mode)


def huge_png(path, side: int = 10_000) -> None:
    """A file of a few bytes whose header promises side × side pixels."""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(9))))
    pack = (struct.pack(">I", len(x)) + name + x + struct.pack(">I", zlib.crc32(name + x)) for name, x in chunks)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(pack))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("images")


# Images: what can be read


@pytest.mark.parametrize(
    ("expected", "modes"),
    {"L": "1 L", "LA": "LA La", "RGB": "RGB RGBX P CMYK YCbCr HSV LAB", "RGBA": "RGBA RGBa PA"}.items(),
)
@pytest.mark.filterwarnings("ignore:.*converted to RGB")
def test_every_mode_is_converted_as_pillow_converts_it(expected, modes):
    for mode in modes.split():
        source = picture(mode)
        opened = open_image(source)
        assert (source.mode, opened.mode) == (mode, expected)
        np.testing.assert_array_equal(np.asarray(opened), np.asarray(source.convert(expected)))


@pytest.mark.parametrize(
    ("ending", "mode", "expected"),
    [
        *[("png", "1", "L"), ("png", "P", "RGB"), ("png", "LA", "LA"), ("gif", "P", "RGB"), ("webp", "RGBA", "RGBA")],
        *[("jpg", "CMYK", "RGB"), ("tif", "CMYK", "RGB"), ("tif", "LAB", "RGB")],
    ],
)
@pytest.mark.filterwarnings("ignore:.*converted to RGB")
def test_a_file_is_read_as_pillow_reads_and_converts_it(tmp_path, ending, mode, expected):
    path = tmp_path / f"picture.{ending}"
    picture(mode).save(path)
    with Image.open(path) as stored:
        oracle = np.asarray(stored.convert(expected))
    opened = open_image(path)
    assert opened.mode == expected
    np.testing.assert_array_equal(np.asarray(opened), oracle)


@pytest.mark.parametrize(("ending", "mode"), [("png", "I;16"), ("tif", "I;16"), ("tif", "I;16B")])
def test_a_16_bit_grey_file_stays_16_bit_in_either_byte_order(tmp_path, ending, mode):
    picture(mode).save(tmp_path / f"deep.{ending}")
    opened = open_image(tmp_path / f"deep.{ending}")
    assert opened.mode == "I;16"
    np.testing.assert_array_equal(np.asarray(opened), noise(5, 7, dtype=np.uint16))


def test_32_bit_integers_become_16_bit_grey_when_they_fit():
    values = noise(5, 7, dtype=np.uint16)
    opened = open_image(Image.fromarray(values.astype(np.int32)))
    assert opened.mode == "I;16"
    np.testing.assert_array_equal(np.asarray(opened), values)


@pytest.mark.parametrize("mode", ["CMYK", "LAB", "YCbCr", "HSV"])
def test_a_conversion_that_changes_colours_is_told_with_the_file_and_the_mode(tmp_path, mode):
    source = picture(mode)
    with pytest.warns(UserWarning, match=f"the PIL image is {mode} and converted to RGB, known pixels too"):
        open_image(source)
    if mode in ("CMYK", "LAB"):
        source.save(tmp_path / "print.tif")
        with pytest.warns(UserWarning, match=rf"print\.tif is {mode}"):
            open_image(tmp_path / "print.tif")


def test_a_float_image_in_0_to_1_is_rounded_to_8_bit_and_that_is_told():
    with pytest.warns(UserWarning, match="the PIL image holds floats, which are rounded to 8 bits"):
        opened = open_image(Image.fromarray(np.array([[0.0, 0.25, 1.0]], np.float32)))
    assert opened.mode == "L"
    np.testing.assert_array_equal(np.asarray(opened), [[0, 64, 255]])


@pytest.mark.filterwarnings("ignore:.*converted to RGB")
def test_an_adobe_cmyk_jpeg_without_ink_is_white(tmp_path):
    Image.new("CMYK", (8, 8), (0, 0, 0, 0)).save(tmp_path / "white.jpg")
    assert b"Adobe" in (tmp_path / "white.jpg").read_bytes()
    assert open_image(tmp_path / "white.jpg").getpixel((3, 3)) == (255, 255, 255)


def test_the_transparent_entry_of_a_palette_becomes_alpha(tmp_path):
    source = Image.frombytes("P", (3, 1), bytes([0, 1, 2]))
    source.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    source.save(tmp_path / "palette.png", transparency=1)
    expected = [[[10, 20, 30, 255], [40, 50, 60, 0], [70, 80, 90, 255]]]
    np.testing.assert_array_equal(np.asarray(open_image(tmp_path / "palette.png")), expected)


@pytest.mark.parametrize(("mode", "key"), [("L", 9), ("RGB", (9, 9, 9))])
def test_a_transparent_colour_becomes_alpha(tmp_path, mode, key):
    Image.fromarray(np.array([[9, 10]], np.uint8)).convert(mode).save(tmp_path / "key.png", transparency=key)
    opened = open_image(tmp_path / "key.png")
    assert opened.mode == mode + "A"
    np.testing.assert_array_equal(np.asarray(opened.getchannel("A")), [[0, 255]])


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("mode", ["RGB", "LA", "I;16", "P"])
def test_an_image_is_turned_upright_and_only_once(tmp_path, mode, orientation):
    source = picture(mode)
    exif = Image.Exif()
    exif[0x0112] = orientation
    source.save(tmp_path / "turned.png", exif=exif)
    stored = source.convert("RGB") if mode == "P" else source
    opened = open_image(tmp_path / "turned.png")
    np.testing.assert_array_equal(np.asarray(opened), ORIENTATIONS[orientation](np.asarray(stored)))
    np.testing.assert_array_equal(np.asarray(open_image(opened)), np.asarray(opened))


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_mask_is_turned_upright_too(tmp_path, orientation):
    holes = np.eye(4, 7, dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(holes * 255).save(tmp_path / "mask.png", exif=exif)
    np.testing.assert_array_equal(open_mask(tmp_path / "mask.png")[0, 0], ORIENTATIONS[orientation](holes))


def test_of_an_animated_file_the_first_frame_is_used_and_the_number_of_frames_told(tmp_path):
    first, *others = (Image.new("L", (4, 3), grey) for grey in (40, 80, 120))
    first.save(tmp_path / "moving.gif", save_all=True, append_images=others)
    with pytest.warns(UserWarning, match=r"moving\.gif has 3 frames; only frame 1"):
        opened = open_image(tmp_path / "moving.gif")
    assert opened.convert("L").getpixel((0, 0)) == 40


def test_of_an_animation_opened_elsewhere_the_frame_it_stands_at_is_used(tmp_path):
    first, second = (Image.new("L", (4, 3), grey) for grey in (40, 80))
    first.save(tmp_path / "moving.gif", save_all=True, append_images=[second])
    with Image.open(tmp_path / "moving.gif") as moving:
        moving.seek(1)
        with pytest.warns(UserWarning, match="the PIL image has 2 frames; only frame 2"):
            opened = open_image(moving)
    assert opened.convert("L").getpixel((0, 0)) == 80


def test_the_preview_in_a_camera_file_is_no_reason_to_warn(tmp_path):
    picture("RGB").save(tmp_path / "camera.mpo", save_all=True, append_images=[picture("RGB")])
    assert open_image(tmp_path / "camera.mpo").size == (7, 5)


def test_opening_leaves_the_given_image_as_it_was():
    source = picture("RGBA")
    opened = open_image(source)
    opened.putpixel((0, 0), (1, 2, 3, 4))
    np.testing.assert_array_equal(np.asarray(source), noise(5, 7, 4))


@pytest.mark.filterwarnings("ignore:.*converted to RGB")
def test_a_colour_profile_is_kept_where_it_still_fits_and_dropped_where_not(tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for mode, kept in (("RGB", profile), ("P", profile), ("CMYK", None), ("LAB", None)):
        picture(mode).save(tmp_path / f"{mode}.tif", icc_profile=profile)
        assert open_image(tmp_path / f"{mode}.tif").info.get("icc_profile") == kept


@pytest.mark.parametrize(
    ("at_least", "size"), [(None, (804, 640)), (640, (804, 640)), (180, (402, 320)), (160, (201, 160)), (1, (101, 80))]
)
def test_a_jpeg_is_decoded_no_smaller_than_asked(tmp_path, at_least, size):
    Image.new("RGB", (804, 640), "white").save(tmp_path / "large.jpg")
    opened = open_image(tmp_path / "large.jpg", at_least=at_least)
    assert opened.size == size and opened.getpixel((50, 50)) == (255, 255, 255)


def test_a_file_of_another_format_comes_at_its_size_whatever_is_asked(tmp_path):
    picture("RGB").save(tmp_path / "small.png")
    assert open_image(tmp_path / "small.png", at_least=1).size == (7, 5)


@given(array=colour_arrays)
@quick
def test_arrays_and_tensors_hold_the_pixels_of_the_image(array):
    channels = array.shape[2]
    opened = open_image(array)
    assert opened.mode == ("L", "LA", "RGB", "RGBA")[channels - 1]
    np.testing.assert_array_equal(np.asarray(opened).reshape(array.shape), array)
    chw = torch.from_numpy(array).permute(2, 0, 1)
    for same in (chw, chw[None], *([array[..., 0], chw[0]] if channels == 1 else [])):
        np.testing.assert_array_equal(np.asarray(open_image(same)), np.asarray(opened))


@given(array=colour_arrays, dtype=st.sampled_from(["float16", "float32", "float64"]))
@quick
def test_floats_are_rounded_to_the_nearest_8_bit_value(array, dtype):
    np.testing.assert_array_equal(np.asarray(open_image((array / 255).astype(dtype))), np.asarray(open_image(array)))


def test_tensors_need_neither_be_detached_nor_have_a_dtype_that_numpy_knows():
    x = torch.tensor([[0.0, 0.5, 1.0]], dtype=torch.bfloat16, requires_grad=True)
    np.testing.assert_array_equal(np.asarray(open_image(x)), [[0, 128, 255]])


def test_floats_forgive_rounding_noise():
    np.testing.assert_array_equal(np.asarray(open_image(np.array([[-5e-7, 1 + 5e-7]]))), [[0, 255]])


# Images: to and from tensors


@given(array=colour_arrays)
@quick
def test_to_tensor_divides_by_255_repeats_grey_and_sets_alpha_aside(array):
    x = to_tensor(open_image(array))
    colours = array[..., :3] if array.shape[2] >= 3 else array[..., [0, 0, 0]]
    assert x.shape == (1, 3, *array.shape[:2])
    assert x.dtype == torch.float32
    np.testing.assert_array_equal(x[0].permute(1, 2, 0), colours / np.float32(255))


@given(array=deep_arrays)
@quick
def test_to_tensor_divides_16_bit_by_65535(array):
    x = to_tensor(open_image(array))
    np.testing.assert_array_equal(x[0, 1], array / np.float32(65535))


@given(array=hnp.arrays(np.uint8, st.tuples(sides, sides, st.just(3))))
@quick
def test_open_image_undoes_to_tensor(array):
    x = to_tensor(open_image(array))
    for same in (x, x[0]):
        image = open_image(same)
        assert image.mode == "RGB"
        np.testing.assert_array_equal(np.asarray(image), array)


# Masks


@given(array=hnp.arrays(np.uint8, st.tuples(sides, sides), elements=st.sampled_from([0, 1, 2, 127, 128, 254, 255])))
@quick
@pytest.mark.filterwarnings("ignore:this ")
def test_8_bit_masks_are_holes_from_128_on_or_where_the_largest_value_1_is(array):
    threshold = 1 if array.max() == 1 else 128
    expected = [[float(value >= threshold) for value in row] for row in array.tolist()]
    for same in (array, Image.fromarray(array), torch.from_numpy(array), array.astype(np.int64), array.astype(">i2")):
        mask = open_mask(same)
        assert mask.dtype == torch.float32
        assert mask.tolist() == [[expected]]


@given(array=hnp.arrays(np.uint16, st.tuples(sides, sides), elements=st.sampled_from([0, 1, 255, 32767, 32768, 65535])))
@quick
@pytest.mark.filterwarnings("ignore:this ")
def test_16_bit_masks_are_holes_from_32768_on_or_where_the_largest_value_1_is(array):
    threshold = 1 if array.max() == 1 else 32768
    for same in (array, Image.fromarray(array), array.astype(">u2")):
        np.testing.assert_array_equal(open_mask(same)[0, 0], array >= threshold)


@given(array=hnp.arrays(np.float32, st.tuples(sides, sides), elements=st.floats(0, 1, width=32)))
@quick
@pytest.mark.filterwarnings("ignore:this ")
def test_float_masks_are_holes_from_one_half_on(array):
    np.testing.assert_array_equal(open_mask(array)[0, 0], array >= 0.5)


@given(array=hnp.arrays(bool, st.tuples(sides, sides)))
@quick
def test_in_a_bool_mask_true_is_a_hole(array):
    np.testing.assert_array_equal(open_mask(array)[0, 0], array)
    np.testing.assert_array_equal(open_mask(torch.from_numpy(array))[0, 0], array)


@given(array=colour_arrays)
@quick
@pytest.mark.filterwarnings("ignore:this ")
def test_the_brightest_channel_decides_and_alpha_scales_it(array):
    expected = []
    for *colours, last in array.reshape(-1, array.shape[2]).tolist():
        alpha = last if array.shape[2] in (2, 4) else 255
        level = max(colours if array.shape[2] in (2, 4) else [*colours, last])
        expected.append(level * alpha / 255)
    threshold = 1 if max(expected) == 1 and array.dtype == np.uint8 else 128
    assert open_mask(open_image(array)).flatten().tolist() == [float(level >= threshold) for level in expected]


def test_black_paint_on_a_transparent_layer_is_no_hole_and_raises_suspicion(tmp_path):
    layer = np.zeros((4, 4, 4), np.uint8)
    layer[:2, :, 3] = 255
    Image.fromarray(layer).save(tmp_path / "layer.png")
    with pytest.warns(UserWarning, match=r"layer\.png has no hole.*Paint holes white and opaque"):
        assert not open_mask(tmp_path / "layer.png").any()


def test_red_paint_is_a_hole_and_transparent_red_is_not():
    mask = open_mask(np.array([[[255, 0, 0, 255], [255, 0, 0, 0], [0, 0, 0, 255]]], np.uint8))
    assert mask.tolist() == [[[[1, 0, 0]]]]


def test_the_0_and_1_rule_looks_at_the_reduced_level():
    mask = open_mask(np.array([[[1, 0, 0, 255], [255, 0, 0, 0]]], np.uint8))
    assert mask.tolist() == [[[[1, 0]]]]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_black_and_white_mean_the_same_in_every_mode(tmp_path, mode):
    holes = np.eye(5, 7, dtype=np.uint16)
    grey = Image.fromarray((holes * 255).astype(np.uint8))
    (Image.fromarray(holes * 65535) if mode == "I;16" else grey.convert(mode)).save(tmp_path / "mask.png")
    np.testing.assert_array_equal(open_mask(tmp_path / "mask.png")[0, 0], holes)


@pytest.mark.parametrize("value", [0, 1])
def test_a_mask_without_a_hole_and_one_without_a_known_pixel_are_masks(value):
    assert open_mask(np.full((3, 4), value, np.uint8)).unique().tolist() == [value]


def test_a_photograph_given_as_a_mask_raises_suspicion():
    with pytest.warns(UserWarning, match="does not look like a mask.*swapped"):
        open_mask(noise(16, 16, 3) // 2)


def test_a_soft_edge_raises_no_suspicion():
    mask = np.zeros((10, 10), np.uint8)
    mask[:, 5:], mask[:5, 4] = 255, 120  # 5 % of the pixels
    assert open_mask(mask).sum() == 50
    mask[5, 4] = 120
    with pytest.warns(UserWarning, match="6% of its pixels"):
        open_mask(mask)


def test_a_mask_too_dark_to_have_a_hole_raises_suspicion():
    with pytest.warns(UserWarning, match="no hole: a hole starts at 32768, its largest level is 255 of 65535"):
        open_mask(np.array([[0, 255]], np.uint16))


def test_a_pair_of_one_size_passes():
    check_pair(Image.new("RGB", (7, 5)), torch.zeros(1, 1, 5, 7))


@pytest.mark.parametrize(("height", "width", "words"), [(5, 8, "nothing is resized"), (7, 5, "rotated by 90°")])
def test_a_pair_of_two_sizes_is_refused_with_both_named(height, width, words):
    with pytest.raises(ValueError, match=words) as caught:
        check_pair(Image.new("RGB", (7, 5)), torch.zeros(1, 1, height, width))
    assert f"image is 7×5 and mask is {width}×{height}" in str(caught.value)


# What is refused


@pytest.mark.parametrize("read", [open_image, open_mask])
@pytest.mark.parametrize(
    ("source", "error", "words"),
    [
        (None, TypeError, "got NoneType"),
        ([[0, 1]], TypeError, "expected a path, a PIL image, a numpy array or a tensor, got list"),
        (b"photo.png", TypeError, "got bytes"),
        (np.zeros((0, 4), np.uint8), ValueError, "(0, 4) of uint8 has no pixels"),
        (torch.zeros(3, 4, 0), ValueError, "no pixels"),
        (Image.new("RGB", (0, 4)), ValueError, "no pixels: it is 0×4"),
        (np.zeros(4, np.uint8), ValueError, "(H, W) or (H, W, C), channels last"),
        (np.zeros((4, 4, 5), np.uint8), ValueError, "C in 1..4"),
        (np.zeros((3, 8, 8), np.uint8), ValueError, "x.transpose(1, 2, 0)"),
        (np.zeros((1, 4, 4, 3), np.uint8), ValueError, "one image"),
        (torch.zeros(8, 8, 3), ValueError, "x.permute(2, 0, 1)"),
        (torch.zeros(2, 3, 8, 8), ValueError, "one image"),
        (torch.zeros(4), ValueError, "(1, C, H, W)"),
        (np.full((4, 4), np.nan), ValueError, "NaN"),
        (np.array([[0, np.inf]]), ValueError, "infinite"),
        (np.array([[0, 255.0]]), ValueError, "0 to 255; divide by 255 or pass uint8"),
        (np.array([[-1, 1.0]]), ValueError, "-1 to 1; rescale it, (x + 1) / 2"),
        (Image.fromarray(np.array([[0, 2]], np.float32)), ValueError, "divide by 255"),
        (Image.fromarray(np.array([[0, 65536]], np.int32)), ValueError, "0..65536, expected 0..65535"),
        (Image.fromarray(np.array([[-1, 0]], np.int32)), ValueError, "-1..0"),
        (np.array([[0, 256]]), TypeError, "int64"),
        (np.array([[-1, 0]], np.int8), TypeError, "int8"),
        (np.zeros((4, 4), complex), TypeError, "complex128"),
        (np.zeros((4, 4), object), TypeError, "object"),
        (np.full((4, 4), "a"), TypeError, "U1"),
    ],
)
def test_a_source_that_makes_no_sense_is_refused(read, source, error, words):
    with pytest.raises(error) as caught:
        read(source)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (np.zeros((4, 4), bool), "is a mask, not an image: swap"),
        (np.zeros((4, 4), np.int64), "astype('uint8')"),
        (np.zeros((4, 4, 3), np.int32), "an image is uint8, uint16 or float in [0, 1], got int32"),
    ],
)
def test_a_dtype_that_only_masks_may_have_is_refused_in_an_image(source, words):
    with pytest.raises(TypeError) as caught:
        open_image(source)
    assert words in str(caught.value)


def cut(path, image: Image.Image) -> None:
    image.save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


NOISE = Image.fromarray(noise(64, 64, 3))


@pytest.mark.parametrize("read", [open_image, open_mask])
@pytest.mark.parametrize(
    ("name", "make", "error", "words"),
    [
        ("missing.png", lambda path: None, FileNotFoundError, "does not exist"),
        ("folder.png", lambda path: path.mkdir(), IsADirectoryError, "is a folder"),
        ("empty.png", lambda path: path.touch(), ValueError, "is empty (0 bytes)"),
        ("text.png", lambda path: path.write_text("not a picture"), ValueError, "is not an image"),
        ("cut.jpg", lambda path: cut(path, NOISE), ValueError, "is truncated or damaged"),
        ("cut.png", lambda path: cut(path, NOISE), ValueError, "is truncated or damaged"),
        ("bomb.png", lambda path: huge_png(path, 8944), ValueError, "(8944×8944 are 80.0 megapixels); shrink it"),
        ("bomb.png", huge_png, ValueError, "(100000000 pixels) exceeds"),
        ("bomb.png", lambda path: huge_png(path, 2**20), ValueError, "raise the limit of 64.0 megapixels (misf_lite"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_by_name(tmp_path, read, name, make, error, words):
    make(tmp_path / name)
    for path in (tmp_path / name, str(tmp_path / name)):
        with pytest.raises(error) as caught:
            read(path)
        assert words in str(caught.value)
        assert name in str(caught.value)


@given(data=st.data(), ending=st.sampled_from(["png", "jpg", "gif", "bmp", "tif", "webp"]))
@quick
@pytest.mark.filterwarnings("ignore:Truncated File Read", "ignore:Corrupt EXIF", "ignore:Tag data")
def test_a_file_cut_anywhere_is_refused_whatever_the_decoder_raises(folder, data, ending):
    path = folder / f"cut.{ending}"
    NOISE.save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: data.draw(st.integers(1, len(whole) * 3 // 4))])
    with pytest.raises(ValueError, match=r"is truncated or damaged|is not an image"):
        open_image(path)


def test_the_limit_can_be_raised_and_lowered(tmp_path, monkeypatch):
    picture("RGB").save(tmp_path / "small.png")
    monkeypatch.setattr(images, "MAX_PIXELS", 34)
    with pytest.raises(ValueError, match="7×5"):
        open_image(tmp_path / "small.png")
    monkeypatch.setattr(images, "MAX_PIXELS", 35)
    assert open_image(tmp_path / "small.png").size == (7, 5)


@pytest.mark.parametrize(
    ("reaction", "words"),
    [("default", r"10000×10000 are 100\.0 megapixels"), ("error", r"100000000 pixels\) exceeds limit")],
)
def test_where_pillow_only_warns_of_the_size_a_file_is_refused_all_the_same(tmp_path, reaction, words):
    huge_png(tmp_path / "bomb.png")
    with warnings.catch_warnings(record=reaction == "default"):
        warnings.simplefilter(reaction, Image.DecompressionBombWarning)
        with pytest.raises(ValueError, match=rf"bomb\.png is too large .*{words}.*limit of 64\.0 megapixels"):
            open_image(tmp_path / "bomb.png")


def test_where_pillows_limit_is_lower_the_way_to_raise_it_is_told(tmp_path, monkeypatch):
    picture("RGB").save(tmp_path / "small.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 3)
    with pytest.raises(ValueError, match=r"small\.png is too large .*Pillow's PIL\.Image\.MAX_IMAGE_PIXELS"):
        open_image(tmp_path / "small.png")


def test_running_out_of_memory_is_not_called_damage_and_names_the_file(tmp_path, monkeypatch):
    def exhausted(image):
        raise MemoryError

    picture("RGB").save(tmp_path / "small.png")
    monkeypatch.setattr(ImageOps, "exif_transpose", exhausted)
    with pytest.raises(MemoryError, match=r"small\.png does not fit into the free memory; shrink it"):
        open_image(tmp_path / "small.png")


@pytest.mark.parametrize("read", [open_image, open_mask])
@pytest.mark.parametrize("kind", [np.array, torch.from_numpy, Image.fromarray])
def test_the_limit_holds_for_arrays_tensors_and_pil_images_too(monkeypatch, read, kind):
    monkeypatch.setattr(images, "MAX_PIXELS", 34)
    with pytest.raises(ValueError, match=r"too large \(7×5 are 0\.0 megapixels\); shrink it"):
        read(kind(np.zeros((5, 7), np.uint8)))


@pytest.mark.parametrize("read", [open_image, open_mask])
@pytest.mark.parametrize(
    ("value", "words"), [(np.nan, "holds NaN or infinite values"), (255, "in [0, 1], got 0 to 255; divide by 255")]
)
def test_values_that_no_picture_has_are_refused_with_the_name_of_their_file(tmp_path, read, value, words):
    Image.fromarray(np.array([[0, value]], np.float32)).save(tmp_path / "float.tif")
    with pytest.raises(ValueError, match=r"float\.tif") as caught:
        read(tmp_path / "float.tif")
    assert words in str(caught.value)


# Saving


@given(array=colour_arrays, ending=st.sampled_from(["png", "tif", "webp", "PNG"]))
@example(array=np.array([[[1, 2, 3, 0]]], np.uint8), ending="webp")  # colours survive under transparency
@quick
def test_every_array_survives_a_lossless_file_bit_by_bit(folder, array, ending):
    image = open_image(array)
    save_image(image, folder / f"array.{ending}", overwrite=True)
    reopened = open_image(folder / f"array.{ending}")
    assert reopened.mode == image.mode or ending == "webp"  # which knows no grey
    np.testing.assert_array_equal(np.asarray(reopened.convert("RGBA")), np.asarray(image.convert("RGBA")))


@given(array=deep_arrays, ending=st.sampled_from(["png", "tiff"]))
@quick
def test_16_bit_grey_survives_a_file_bit_by_bit(folder, array, ending):
    save_image(open_image(array), folder / f"deep.{ending}", overwrite=True)
    np.testing.assert_array_equal(np.asarray(open_image(folder / f"deep.{ending}")), array)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_bmp_survives_too_where_it_can_hold_the_image(tmp_path, mode):
    save_image(picture(mode), tmp_path / "picture.bmp")
    np.testing.assert_array_equal(np.asarray(open_image(tmp_path / "picture.bmp")), np.asarray(picture(mode)))


@pytest.mark.parametrize(
    ("mode", "ending"),
    [("RGBA", "jpg"), ("LA", "jpeg"), ("I;16", "JPG"), ("RGBA", "bmp"), ("LA", "bmp"), ("I;16", "webp")],
)
def test_a_format_that_would_drop_alpha_or_depth_is_refused(tmp_path, mode, ending):
    with pytest.raises(ValueError, match=r"picture\.\w+: a \w+ file cannot hold alpha or 16 bit.*use \.png"):
        save_image(picture(mode), tmp_path / f"picture.{ending}")
    assert not any(tmp_path.iterdir())


def test_what_a_format_cannot_hold_is_refused_before_the_work_too(tmp_path):
    check_output(tmp_path / "picture.jpg", picture("RGB"))
    check_output(tmp_path / "picture.jpg")
    with pytest.raises(ValueError, match=r"picture\.jpg: a JPEG file cannot hold alpha.* this image is RGBA"):
        check_output(tmp_path / "picture.jpg", picture("RGBA"))


def test_a_jpeg_file_comes_with_a_word_on_how_far_it_is_off(tmp_path):
    image = Image.fromarray(noise(40, 30, 3))
    with pytest.warns(UserWarning, match=r"picture\.jpg: JPEG changes known pixels too") as caught:
        save_image(image, tmp_path / "picture.jpg")
    with Image.open(tmp_path / "picture.jpg") as stored:
        off = abs(np.asarray(stored).astype(float) - np.asarray(image))
    assert f"by {off.mean():.2g} of 255 levels on average and {off.max():.0f} at most" in str(caught[0].message)


@pytest.mark.filterwarnings("ignore:.*JPEG changes")
def test_a_colour_profile_is_saved_with_the_image(tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = picture("RGB")
    image.info["icc_profile"] = profile
    for ending in ("png", "tif", "webp", "jpg"):
        save_image(image, tmp_path / f"picture.{ending}")
        with Image.open(tmp_path / f"picture.{ending}") as stored:
            assert stored.info["icc_profile"] == profile


def test_an_existing_file_is_kept_unless_overwriting_is_asked_for(tmp_path):
    path = tmp_path / "picture.png"
    path.write_text("precious")
    with pytest.raises(FileExistsError, match=r"picture\.png exists; pass --force \(overwrite=True"):
        save_image(picture("RGB"), path)
    assert path.read_text() == "precious"
    save_image(picture("RGB"), str(path), overwrite=True)
    np.testing.assert_array_equal(np.asarray(open_image(path)), noise(5, 7, 3))


@pytest.mark.skipif(os.name == "nt", reason="an open file cannot be replaced")
def test_who_reads_the_old_file_while_it_is_overwritten_reads_it_whole(tmp_path):
    path = tmp_path / "picture.png"
    path.write_text("precious")
    with path.open() as reader:
        save_image(picture("RGB"), path, overwrite=True)
        assert reader.read() == "precious"


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("picture", ValueError, ".png, .tif, .tiff, .webp, .bmp, .jpg, .jpeg"),
        ("picture.xyz", ValueError, "'.xyz', which is not one of"),
        ("picture.gif", ValueError, "use .png"),
        ("nowhere/picture.png", FileNotFoundError, "no folder"),
        ("file/picture.png", FileNotFoundError, "no folder"),
        ("folder.png", IsADirectoryError, "is a folder"),
    ],
)
def test_an_output_that_cannot_be_is_refused_by_name(tmp_path, name, error, words):
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(error) as caught:
        save_image(picture("RGB"), tmp_path / name, overwrite=True)
    assert words in str(caught.value)
    assert name in str(caught.value)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="permissions do not bind here")
def test_a_folder_that_may_not_be_written_is_named(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(PermissionError, match=r"picture\.png cannot be written: the folder"):
            save_image(picture("RGB"), tmp_path / "picture.png")
    finally:
        tmp_path.chmod(0o700)


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    def fill(self, file, *args, **options):
        file.write(b"half a picture")
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "picture.png"
    path.write_text("precious")
    monkeypatch.setattr(Image.Image, "save", fill)
    with pytest.raises(OSError, match=r"picture\.png could not be written .*No space left.*check free space"):
        save_image(picture("RGB"), path, overwrite=True)
    assert [entry.name for entry in tmp_path.iterdir()] == ["picture.png"]
    assert path.read_text() == "precious"


def test_an_encoder_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(OSError, match=r"wide\.webp could not be written .*encoding error.*try \.png"):
        save_image(Image.new("RGB", (16384, 1)), tmp_path / "wide.webp")
    assert not any(tmp_path.iterdir())


@pytest.mark.skipif(os.name == "nt", reason="no umask")
def test_a_saved_file_has_the_permissions_of_any_new_file(tmp_path):
    (tmp_path / "any").touch()
    save_image(picture("RGB"), tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_mode == (tmp_path / "any").stat().st_mode


@pytest.mark.parametrize("read", [open_image, open_mask])
def test_one_wrong_byte_in_the_pixels_of_a_png_is_noticed(tmp_path, read):
    path = tmp_path / "a.png"
    Image.new("L", (9, 9)).save(path, compress_level=0)
    data = bytearray(path.read_bytes())
    data[data.index(b"IDAT") + 30] ^= 255  # stored as it is, so it can still be decoded
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"a\.png is truncated or damaged"):
        read(path)
