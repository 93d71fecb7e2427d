"""One door to pictures: the bundled photographs, own folders, CelebA and Places365, toy faces. And own masks."""

import os
import pickle
import shlex
import shutil
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from misf_lite import datasets, images, load_photo, photos, toy_faces
from misf_lite.datasets import SPLITS, attributions, data_folder, open_dataset, open_masks


def test_every_photograph_opens_and_has_its_attribution():
    on_disk = {path.name for path in (data_folder() / "photos").glob("*.jpg")}
    rows = {row["file"]: row for row in attributions()}
    assert on_disk == set(rows) and len(rows) == 252
    for name, row in rows.items():
        assert row["licence"] and (row["author"] or row["source_url"] or row["origin_package"]), name
        with Image.open(data_folder() / "photos" / name) as image:
            assert image.size == (int(row["width"]), int(row["height"]))


def test_no_scene_is_in_two_splits():
    splits = {}
    for row in attributions():
        splits.setdefault(row["scene"], set()).add(row["split"])
    assert all(len(s) == 1 for s in splits.values())
    assert sum(len(photos(split)) for split in SPLITS) == len(photos()) == 252


def test_the_paintings_are_in_the_train_split_and_can_be_left_out_of_it():
    paintings = photos(paintings=True)
    assert len(paintings) == 15 and set(paintings) < set(photos("train"))
    assert set(photos("train", paintings=False)) == set(photos("train")) - set(paintings)
    assert len(open_dataset("no-paintings", "train", shrink=32)) == len(photos("train")) - 15
    pictures = open_dataset("paintings", "test", shrink=32)
    assert pictures.what == "paintings" and pictures.names == [path.name for path in paintings]
    assert "no-paintings" in pictures.notes[0]
    with pytest.raises(ValueError, match="the paintings alone are for measuring"):
        open_dataset("paintings", "train")


@pytest.mark.parametrize("door", [photos, lambda split: open_dataset("photos", split)])
def test_an_unknown_split_is_refused_with_the_known_ones(door):
    with pytest.raises(ValueError, match="train, val, test"):
        door("training")


def test_a_photo_is_loaded_by_name_or_path_at_its_own_or_a_wanted_size():
    assert load_photo("sheep.jpg").shape == (1, 3, 288, 397)
    assert torch.equal(load_photo(data_folder() / "photos" / "sheep.jpg"), load_photo("sheep.jpg"))
    assert load_photo("sheep.jpg", 64).shape == (1, 3, 64, 88)


def test_an_own_file_comes_before_a_bundled_one_of_the_same_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (30, 20), "red").save("sheep.jpg")
    assert load_photo("sheep.jpg").shape == (1, 3, 20, 30)


def test_16_bit_grey_keeps_its_brightness():
    assert load_photo(np.full((20, 20), 32768, np.uint16), 10).mean().item() == pytest.approx(0.5, abs=0.01)


# Own pictures


def noise(*shape, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def save(path, size=(12, 10), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise(size[1], size[0], 3)).save(path, **options)
    return path


def read(folder, shrink=64, split="test"):
    """All pictures of a folder, in the order of their files, and the notes."""
    pictures = open_dataset(str(folder), split, shrink=shrink)
    return [*pictures], "\n".join(pictures.notes)


@pytest.mark.parametrize(
    ("mode", "endings"),
    [
        *[("RGB", "jpg JPEG png webp tif bmp ppm jp2 tga"), ("RGBA", "png webp tif"), ("L", "jpg png"), ("LA", "png")],
        *[("CMYK", "jpg tif"), ("P", "png gif"), ("1", "png")],
    ],
)
def test_a_file_of_any_format_and_mode_gives_the_colours_that_pillow_gives(tmp_path, mode, endings):
    source = Image.fromarray(noise(10, 12, 4)) if mode in ("RGBA", "LA") else Image.fromarray(noise(10, 12, 3))
    for ending in endings.split():
        path = tmp_path / ending / f"picture.{ending}"
        path.parent.mkdir()
        source.convert(mode).save(path)
        with Image.open(path) as stored:
            expected = np.asarray(stored.convert("RGB"))
        (picture,), notes = read(path.parent)
        assert picture.mode == "RGB" and "left" not in notes
        np.testing.assert_array_equal(picture, expected)


def test_16_bit_grey_is_rounded_to_8_bit(tmp_path):
    deep = noise(10, 12, dtype=np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    (picture,), _ = read(tmp_path)
    np.testing.assert_array_equal(picture, np.rint(deep / 257)[..., None].repeat(3, 2))


def test_a_transparent_picture_shows_the_colours_that_are_stored(tmp_path):
    Image.new("RGBA", (12, 10), (10, 200, 30, 0)).save(tmp_path / "clear.png")
    (picture,), _ = read(tmp_path, shrink=5)
    assert picture.getcolors() == [(30, (10, 200, 30))]


@pytest.mark.parametrize("size", [(12, 10), (1200, 1000)])
def test_a_camera_picture_is_turned_upright(tmp_path, size):
    exif = Image.Exif()
    exif[0x0112] = 6  # taken with the camera on its side
    Image.new("RGB", size, "red").save(tmp_path / "turned.jpg", exif=exif)
    (picture,), _ = read(tmp_path, shrink=10)
    assert picture.size == (10, 12)


def test_a_large_picture_is_shrunk_to_the_short_side_and_a_small_one_left_as_it_is(tmp_path):
    large, small = save(tmp_path / "large.png", (50, 40)), save(tmp_path / "small.png", (50, 15))
    pictures, _ = read(tmp_path, shrink=16)
    with Image.open(large) as image:
        np.testing.assert_array_equal(pictures[0], image.resize((20, 16), Image.Resampling.LANCZOS))
    with Image.open(small) as image:
        np.testing.assert_array_equal(pictures[1], image)


def test_a_large_jpeg_looks_as_if_shrunk_from_its_full_size(tmp_path):
    with Image.open(photos("val")[0]) as photo:
        photo.resize((1600, 1200)).save(tmp_path / "large.jpg", quality=95)
    (picture,), _ = read(tmp_path, shrink=90, split="train")
    with Image.open(tmp_path / "large.jpg") as image:
        expected = np.asarray(image.resize((120, 90), Image.Resampling.LANCZOS), float)
    assert np.abs(np.asarray(picture) - expected).mean() < 0.5


def test_folders_inside_are_read_too_in_the_order_of_their_names(tmp_path):
    for grey, name in enumerate(["B.png", "a b/ü.png", "a b/c/d/deep.png", "z.PNG"]):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4), grey).save(tmp_path / name)
    pictures, notes = read(tmp_path)
    assert [picture.getpixel((0, 0))[0] for picture in pictures] == [0, 2, 1, 3]
    assert notes == ""


def test_hidden_files_and_folders_are_passed_over(tmp_path):
    for name in ("seen.png", ".hidden.png", ".cache/x.png", "__MACOSX/x.png", "__MACOSX/._seen.png"):
        save(tmp_path / name)
    (tmp_path / ".DS_Store").touch()
    pictures, notes = read(tmp_path)
    assert len(pictures) == 1 and "left" not in notes


def test_a_hidden_folder_can_be_named(tmp_path):
    save(tmp_path / ".own" / "x.png")
    assert len(read(tmp_path / ".own")[0]) == 1


def test_files_that_are_no_pictures_are_counted_by_their_endings(tmp_path):
    save(tmp_path / "a.png")
    for name in ("notes.txt", "b/more.TXT", "phone.heic", "scan.pdf", "README"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("not for Pillow")
    assert "files of other kinds, left alone: 2 .txt, 1 no ending, 1 .pdf" in read(tmp_path)[1]


def test_a_link_back_to_a_folder_does_not_go_round_forever(tmp_path):
    save(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "again").symlink_to(tmp_path)
    assert len(read(tmp_path)[0]) == 1


def test_a_link_to_a_folder_elsewhere_is_followed(tmp_path):
    save(tmp_path / "elsewhere" / "a.png")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "link").symlink_to(tmp_path / "elsewhere")
    assert len(read(tmp_path / "mine")[0]) == 1


def test_a_folder_that_cannot_be_opened_is_named(tmp_path, monkeypatch):
    save(tmp_path / "a.png")
    save(tmp_path / "closed" / "b.png")
    scandir = os.scandir

    def guarded(path):
        if os.path.basename(path) == "closed":
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    pictures, notes = read(tmp_path)
    assert len(pictures) == 1
    assert "could not be opened" in notes and str(tmp_path / "closed") in notes


def test_what_cannot_be_read_is_left_out_and_named_with_the_reason(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "MAX_PIXELS", 10_000)
    save(tmp_path / "good.png")
    cut = save(tmp_path / "cut.jpg", (90, 90))
    cut.write_bytes(cut.read_bytes()[:3000])
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("not a picture")
    save(tmp_path / "huge.png", (101, 100))
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    pictures, notes = read(tmp_path)
    assert len(pictures) == 1
    assert "left out, as they cannot be used: 5 of 6 files:" in notes
    for name, reason in {
        "cut.jpg": "truncated or damaged",
        "empty.png": "empty (0 bytes)",
        "text.png": "not an image",
        "huge.png": "101×100",
        "gone.png": "does not exist",
    }.items():
        assert any(name in line and reason in line for line in notes.splitlines()), name


def test_a_large_jpeg_cut_short_is_left_out_though_it_would_be_shrunk(tmp_path):
    save(tmp_path / "good.png")
    cut = save(tmp_path / "cut.jpg", (800, 800))
    cut.write_bytes(cut.read_bytes()[:-20_000])
    pictures, notes = read(tmp_path, shrink=20, split="train")
    assert len(pictures) == 1 and "cut.jpg is truncated" in notes


def test_of_many_unreadable_files_ten_are_named(tmp_path):
    save(tmp_path / "good.png")
    for i in range(13):
        (tmp_path / f"empty{i:02}.png").touch()
    notes = read(tmp_path)[1]
    assert "13 of 14 files" in notes and notes.count("(0 bytes)") == 10 and notes.endswith("and 3 more")


def test_a_name_that_is_not_unicode_can_be_printed(tmp_path):
    save(tmp_path / "good.png")
    try:
        open(os.fsencode(tmp_path) + b"/caf\xe9.png", "w").close()
    except OSError:
        pytest.skip("this file system takes Unicode only")
    assert b"caf\\udce9.png is empty" in read(tmp_path)[1].encode()


def test_what_is_odd_about_a_picture_that_is_used_is_noted_once(tmp_path, monkeypatch):
    first, second = (Image.new("L", (12, 10), grey) for grey in (40, 80))
    first.save(tmp_path / "moving.gif", save_all=True, append_images=[second])
    monkeypatch.setattr(datasets, "MEMORY", 0)  # so that it is read again when it is used
    pictures, notes = read(tmp_path)
    assert pictures[0].getpixel((0, 0)) == (40, 40, 40)
    assert "warnings while reading (1):" in notes and "moving.gif has 2 frames; only frame 1 is used" in notes


def test_an_unreadable_folder_of_pictures_is_refused_with_the_reasons(tmp_path):
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.jpg").write_text("not a picture")
    with pytest.raises(ValueError, match="no picture can be used") as caught:
        read(tmp_path)
    assert "empty.png is empty (0 bytes)" in str(caught.value) and "text.jpg is not an image" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("", ValueError, "holds no picture: put .jpg or .png files there\nfiles of other kinds.*1 .txt"),
        ("missing", FileNotFoundError, r"missing': choose photos, no-paintings, paintings, toy, celeba"),
        ("notes.txt", NotADirectoryError, "notes.txt is a file; name its folder"),
    ],
)
def test_a_folder_without_pictures_or_none_at_all_is_refused(tmp_path, name, error, words):
    (tmp_path / "notes.txt").write_text("nothing here")
    with pytest.raises(error, match=words):
        read(tmp_path / name)


def test_a_short_side_of_less_than_a_pixel_is_refused(tmp_path):
    with pytest.raises(ValueError, match="from 1 to 4096 pixels, got 0"):
        read(tmp_path, shrink=0)


def test_names_and_short_sides_are_those_of_the_pictures_as_they_come(tmp_path):
    save(tmp_path / "b.png", (40, 32))
    save(tmp_path / "a b" / "c.png", (10, 20))
    pictures = open_dataset(str(tmp_path), "test", shrink=16)
    assert (pictures.names, pictures.short_sides) == (["a b/c.png", "b.png"], [10, 16])
    assert pictures.what == f"pictures of {tmp_path.name}"


def test_pictures_to_learn_from_are_kept_as_jpeg_beyond_the_memory_and_look_the_same(tmp_path, monkeypatch):
    for i in range(4):
        save(tmp_path / f"{i}.jpg", (100, 80), quality=50 + i)
    kept, _ = read(tmp_path, shrink=20, split="train")
    monkeypatch.setattr(datasets, "MEMORY", 2 * 20 * 25 * 3)
    pictures, notes = read(tmp_path, shrink=20, split="train")
    assert "kept as JPEG" in notes and notes.endswith("2 of 4")
    for packed, picture in zip(pictures, kept, strict=True):
        assert np.abs(np.asarray(packed, int) - np.asarray(picture)).mean() < 4  # noise is the worst for JPEG
    assert [picture.tobytes() for picture in pictures][:2] == [picture.tobytes() for picture in kept][:2]


def test_pictures_to_measure_on_are_exact_also_beyond_the_memory(tmp_path, monkeypatch):
    for i in range(4):
        save(tmp_path / f"{i}.jpg", (100, 80), quality=50 + i)
    kept, _ = read(tmp_path, shrink=20)
    monkeypatch.setattr(datasets, "MEMORY", 2 * 20 * 25 * 3)
    pictures, notes = read(tmp_path, shrink=20)
    assert [picture.tobytes() for picture in pictures] == [picture.tobytes() for picture in kept] and not notes


def test_what_is_measured_has_the_pixels_of_the_file_resized_once(tmp_path):
    file = photos("test")[0]
    pictures = open_dataset("photos", "test", shrink=100)
    assert pictures.names[0] == file.name and pictures.what == "photographs of the test split" and not pictures.notes
    assert torch.equal(load_photo(pictures[0], 100), load_photo(file, 100))


def test_pictures_can_be_handed_to_another_process(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "MEMORY", 12 * 10 * 3)
    for i in range(2):
        save(tmp_path / f"{i}.png")
    learn = open_dataset(str(tmp_path), "train")
    copy = pickle.loads(pickle.dumps(learn))
    assert len(copy) == 2 and copy.notes == learn.notes
    assert [picture.tobytes() for picture in copy] == [picture.tobytes() for picture in learn]


# Own pictures: learnt from, or held out


def numbered(folder, numbers):
    for i in numbers:
        Image.fromarray(np.full((1, 1, 3), (i // 256, i % 256, 0), np.uint8)).save(folder / f"IMG_{i:04}.bmp")


def split(folder):
    """The numbers of the pictures that are learnt from, and of those held out."""
    parts = (open_dataset(str(folder), part) for part in ("train", "val"))
    colours = ([picture.getpixel((0, 0)) for picture in part] for part in parts)
    return tuple({256 * red + green for red, green, _ in part} for part in colours)


def test_about_a_tenth_is_held_out_and_not_learnt_from(tmp_path):
    numbered(tmp_path, range(200))
    learn, held = split(tmp_path)
    assert 10 <= len(held) <= 30
    assert learn | held == set(range(200)) and not learn & held
    assert len(read(tmp_path)[0]) == 200  # to measure on, all of them


def test_files_that_are_added_leave_the_others_where_they_are(tmp_path):
    numbered(tmp_path, range(0, 200, 2))
    learn, held = split(tmp_path)
    numbered(tmp_path, range(1, 200, 2))
    more_learn, more_held = split(tmp_path)
    assert learn < more_learn and held < more_held


def test_the_folder_may_move(tmp_path):
    numbered(tmp_path, range(30))
    shutil.copytree(tmp_path, tmp_path / "moved" / "here")
    before = split(tmp_path / "moved")
    (tmp_path / "moved").rename(tmp_path / "renamed")
    assert split(tmp_path / "renamed") == before


def test_never_more_than_32_are_held_out(tmp_path):
    numbered(tmp_path, range(600))
    learn, held = split(tmp_path)
    assert len(held) == 32 and len(learn) == 568
    assert min(held) < 100 and max(held) > 500  # from everywhere


@pytest.mark.parametrize("start", range(12))
def test_of_five_pictures_one_or_two_are_held_out(tmp_path, start):
    numbered(tmp_path, range(5 * start, 5 * start + 5))
    learn, held = split(tmp_path)
    assert len(held) in (1, 2) and len(learn) + len(held) == 5


@pytest.mark.parametrize("count", [1, 4])
def test_fewer_than_five_serve_for_both(tmp_path, count):
    numbered(tmp_path, range(count))
    assert split(tmp_path) == (set(range(count)), set(range(count)))
    assert all("too few to hold some out" in read(tmp_path, split=part)[1] for part in ("train", "val"))
    assert not read(tmp_path)[1]


def test_the_bundled_photographs_keep_their_own_splits():
    learn, held = (open_dataset("photos", part, shrink=64) for part in ("train", "val"))
    assert [len(learn), len(held)] == [len(photos("train")), len(photos("val"))]
    with Image.open(photos("val")[0]) as first:
        assert held[0].width == round(first.width * 64 / first.height) and held[0].height == 64


# Toy faces


def test_toy_faces_to_learn_from_are_drawn_when_they_are_used_one_for_each_seed():
    faces = open_dataset("toy", "train", shrink=32)
    assert len(faces) == 2**31
    assert torch.equal(load_photo(faces[2**31 - 1]), load_photo(toy_faces(1, 32, seed=2**31 - 1)))
    assert pickle.loads(pickle.dumps(faces))[5].tobytes() == faces[5].tobytes()


@pytest.mark.parametrize(("part", "count", "seed"), [("val", 32, 2**31), ("test", 64, 3 * 2**30)])
def test_toy_faces_to_measure_on_have_seeds_that_training_never_draws(part, count, seed):
    faces = open_dataset("toy", part, shrink=40)
    assert faces.names == [f"face {i:02}" for i in range(count)] and faces.what == "toy faces"
    for face, drawn in zip(faces, toy_faces(count, 40, seed), strict=True):
        assert torch.equal(load_photo(face, 40), load_photo(drawn))


# CelebA and Places365: small folders of the same layout, read by torchvision itself


@pytest.fixture
def celeba(tmp_path, monkeypatch):
    module = pytest.importorskip("torchvision.datasets.celeba")
    monkeypatch.setattr(module, "check_integrity", lambda path, md5: os.path.isfile(path))  # these are not the files
    folder = tmp_path / "celeba"
    names = [f"{i:06}.jpg" for i in range(80)]
    for name in (names[0], names[10]):
        save(folder / "img_align_celeba" / name, (178, 218))
    tables = {"list_eval_partition": [f"{name} {int(i >= 10)}" for i, name in enumerate(names)]}
    tables["identity_CelebA"] = [f"{name} 7" for name in names]
    for table in ("list_bbox_celeba", "list_landmarks_align_celeba", "list_attr_celeba"):
        tables[table] = ["80", "one two", *(f"{name}  1 -1" for name in names)]
    for table, lines in tables.items():
        (folder / f"{table}.txt").write_text("\n".join(lines))
    return tmp_path


@pytest.fixture
def places365(tmp_path, monkeypatch):
    module = pytest.importorskip("torchvision.datasets.places365")
    monkeypatch.setattr(module, "check_integrity", lambda path, md5: os.path.isfile(path))
    (tmp_path / "categories_places365.txt").write_text("/a/airfield 0\n/b/beach 1\n")
    (tmp_path / "places365_train_standard.txt").write_text("/a/airfield/00000001.jpg 0\n/b/beach/00000001.jpg 1\n")
    (tmp_path / "places365_val.txt").write_text("".join(f"Places365_val_{i:08}.jpg 1\n" for i in range(1, 71)))
    save(tmp_path / "data_256_standard" / "a" / "airfield" / "00000001.jpg", (256, 256))
    save(tmp_path / "val_256" / "Places365_val_00000001.jpg", (256, 256))
    return tmp_path


@pytest.mark.parametrize(("name", "count", "size"), [("celeba", 10, (178, 218)), ("places365", 2, (256, 256))])
def test_celeba_and_places365_are_read_where_torchvision_puts_them(request, name, count, size):
    root = request.getfixturevalue(name)
    learn, held = (open_dataset(name, part, root=root, shrink=300) for part in ("train", "val"))
    assert (len(learn), len(held)) == (count, 64)
    assert learn[0].size == held[0].size == size
    assert learn.what == f"pictures of {name}" and learn.names[0].endswith(".jpg")
    assert learn.short_sides == [min(size)] * count


def test_places365_is_measured_on_its_validation_split(places365):
    assert len(open_dataset("places365", "test", root=places365)) == 70


@pytest.mark.parametrize(("name", "calls"), [("CelebA", 1), ("Places365", 2)])
def test_where_they_are_missing_the_command_that_downloads_them_is_named(tmp_path, monkeypatch, name, calls):
    torchvision = pytest.importorskip("torchvision")
    with pytest.raises(FileNotFoundError, match=f"{name.lower()} is not, or not completely, in .*sets") as caught:
        open_dataset(name.lower(), "train", root=tmp_path / "sets")
    python, option, code = shlex.split(str(caught.value).splitlines()[-1])
    assert [python, option] == ["python", "-c"]
    made = []
    monkeypatch.setattr(torchvision.datasets, name, lambda *args, **options: made.append((args, options)))
    exec(code, {})
    assert len(made) == calls
    assert all(args[0] == str(tmp_path / "sets") and options["download"] is True for args, options in made)


def test_places365_without_its_pictures_is_missing_too(places365):
    shutil.rmtree(places365 / "data_256_standard")
    with pytest.raises(FileNotFoundError, match="To download it"):
        open_dataset("places365", "train", root=places365)


def test_without_torchvision_the_extra_that_brings_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision.datasets", None)
    with pytest.raises(ImportError, match=r"celeba needs torchvision.*pip install 'misf-lite\[training\]'"):
        open_dataset("celeba", "train")


# Own masks


def test_masks_are_read_with_white_as_the_hole_at_their_own_sizes(tmp_path):
    holes = [noise(9, 13) > 127, noise(20, 7) > 127]
    Image.fromarray(holes[0]).save(tmp_path / "a.png")
    Image.fromarray((holes[1] * 255).astype(np.uint8)).convert("RGB").save(tmp_path / "b.bmp")
    masks = open_masks(tmp_path)
    assert len(masks) == 2
    for mask, hole in zip(masks, holes, strict=True):
        np.testing.assert_array_equal(np.asarray(mask), hole)
    share = (holes[0].mean() + holes[1].mean()) / 2
    assert masks.notes == [f"masks in {tmp_path}: 2, on average {share:.0%} white, which is the hole"]


def test_a_mask_takes_one_bit_a_pixel_also_on_the_way_to_another_process(tmp_path):
    Image.fromarray(noise(300, 301) > 127).save(tmp_path / "a.png")
    masks = open_masks(tmp_path)
    data = pickle.dumps(masks)
    assert len(data) < 300 * 301 / 8 + 1000
    np.testing.assert_array_equal(pickle.loads(data)[0], masks[0])


def test_masks_that_cannot_be_used_are_left_out_and_named_and_odd_ones_noted(tmp_path):
    half = np.zeros((8, 8), np.uint8)
    half[:, 4:] = 255
    for name, mask in {"half": half, "white": half | 255, "black": half & 0, "grey": noise(8, 8)}.items():
        Image.fromarray(mask).save(tmp_path / f"{name}.png")
    (tmp_path / "empty.png").touch()
    masks = open_masks(tmp_path)
    notes = "\n".join(masks.notes)
    assert len(masks) == 2 and "3 of 5 files" in notes
    assert "white.png is nothing but hole" in notes and "black.png is without a hole" in notes
    assert "empty.png is empty" in notes and "grey.png does not look like a mask" in notes


def test_a_folder_without_a_usable_mask_is_refused(tmp_path):
    Image.new("L", (8, 8)).save(tmp_path / "black.png")
    with pytest.raises(ValueError, match=r"no picture can be used:\n.*black.png is without a hole; paint holes white"):
        open_masks(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*nowhere"):
        open_masks(tmp_path / "nowhere")


# What else lies in a folder, or has its name


def test_an_own_folder_with_the_name_of_a_data_set_is_mentioned(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "toy" / "a.png")
    assert open_dataset("toy", "val").notes == [
        "toy comes with the project or torchvision; for the folder here say ./toy"
    ]
    assert open_dataset("./toy", "test").names == ["a.png"] and not open_dataset("photos", "val", shrink=16).notes


@pytest.mark.parametrize("name", [".hidden", "__MACOSX", "@eaDir", "#recycle", "$RECYCLE.BIN", "@Recycle"])
def test_what_systems_put_into_a_folder_is_passed_over(tmp_path, name):
    save(tmp_path / "@me #1.png")
    save(tmp_path / name / "thumbnail.png")
    assert open_dataset(str(tmp_path), "test").names == ["@me #1.png"]


def test_masks_and_pictures_that_lie_in_each_other_are_kept_apart(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "set" / "a.png")
    Image.fromarray(np.eye(10, dtype=np.uint8) * 255).save(save(tmp_path / "set" / "masks" / "m.png"))
    pictures = open_dataset("set", "test", without=f"{tmp_path}/set/masks/")
    assert pictures.names == ["a.png"] and "set/masks is left out of set" in pictures.notes[0]
    assert open_masks("set/masks", without="set").names == ["m.png"]
    with pytest.raises(ValueError, match="set is given for both pictures and masks"):
        open_masks("set", without="./set")


@pytest.mark.parametrize("size", [(600, 1), (1, 600), (420, 20)])
def test_a_very_thin_picture_is_left_out_with_a_note(tmp_path, size):
    save(tmp_path / "thin.png", size)
    save(tmp_path / "long.png", (400, 20))
    pictures = open_dataset(str(tmp_path), "test", shrink=64)
    assert pictures.names == ["long.png"] and f"thin.png is {size[0]}×{size[1]} pixels" in pictures.notes[0]
    with pytest.raises(ValueError, match="20-fold at most"):
        load_photo(tmp_path / "thin.png", 64)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_names_that_cannot_be_printed_are_written_as_escapes(tmp_path):
    for name in (b"a\xff.png", b"b\r\n.png"):
        save(tmp_path / os.fsdecode(name))
    assert open_dataset(str(tmp_path), "test").names == ["a\\udcff.png", "b\\r\\n.png"]
