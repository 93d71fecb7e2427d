"""`python -m experiments pictures`, without its downloads: which pictures are written, and which never."""

import csv
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from experiments import pictures
from experiments.pictures import (
    ORIGINALS,
    PHOTOGRAPHS,
    Packed,
    check_folder,
    difference,
    fetch,
    file_name,
    find_original,
    resources,
    summary,
    thumbnail,
    write_pictures,
)
from misf_lite.datasets import attributions, open_dataset

PACKAGE, OTHER = "animals=1.0", "sky-wallpapers=2.0"


def picture(seed: int, width: int = 60, height: int = 48) -> Image.Image:
    """Soft blobs of colour, others for each seed."""
    blobs = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return Image.fromarray(blobs).resize((width, height), Image.Resampling.BICUBIC)


def small(image: Image.Image) -> Image.Image:
    return image.resize((image.width // 3, image.height // 3), Image.Resampling.LANCZOS)


def pack(**images: Image.Image) -> list[Packed]:
    return [Packed(f"share/{stem}.png", lambda image=image: image) for stem, image in images.items()]


def test_an_original_is_found_by_its_name_and_its_pixels():
    original = picture(1)
    found = find_original("red_panda_2", small(original), pack(Red_Panda_wide=picture(2), RedPanda=original))
    assert found[0] == "share/RedPanda.png" and found[1].size == original.size


def test_an_original_is_found_when_its_copy_shows_its_middle():
    original = picture(1)
    middle = original.crop((12, 0, 48, 48))
    assert find_original("panda", small(middle), pack(panda=original))[1].size == original.size


def test_a_picture_of_the_same_name_with_other_pixels_is_no_original():
    assert find_original("panda", small(picture(1)), pack(panda=picture(2))) is None


def test_a_picture_of_the_same_pixels_with_another_name_is_no_original():
    assert find_original("panda", small(picture(1)), pack(bison=picture(1))) is None


def test_a_picture_that_is_hardly_larger_is_no_original():
    copy = picture(1).resize((50, 40), Image.Resampling.LANCZOS)
    assert find_original("panda", copy, pack(panda=picture(1))) is None


def test_thumbnails_differ_little_for_one_scene_in_another_light_and_much_for_two():
    scene = picture(1)
    darker = scene.point(lambda value: value // 2 + 20)
    assert difference(thumbnail(scene), thumbnail(darker)) < 0.05
    assert difference(thumbnail(scene), thumbnail(picture(2))) > 0.35


def test_a_dataset_learns_and_validates_as_the_file_names_say(tmp_path):
    names = {}
    for split, count in (("train", 40), ("val", 7)):
        (tmp_path / split).mkdir()
        names[split] = sorted(file_name(split, f"p{i}") for i in range(count))
        for name in names[split]:
            Image.new("RGB", (8, 8)).save(tmp_path / name)
    for split in names:
        assert sorted(open_dataset(str(tmp_path), split).names) == names[split]


def test_a_resource_file_yields_its_files_with_their_paths():
    """A file by hand, as Qt's rcc writes it in version 1: a root folder, one folder in it, two files in that."""
    texts = ["", "animals", "a.webp", "b.txt"]
    names, name_at = b"", []
    for text in texts[1:]:
        name_at.append(len(names))
        names += struct.pack(">HI", len(text), 0) + text.encode("utf-16-be")
    packed = struct.pack(">I", 5) + zlib.compress(b"world")
    contents = struct.pack(">I", 5) + b"hello" + struct.pack(">I", len(packed)) + packed
    tree = struct.pack(">IHII", 0, 2, 1, 1)
    tree = tree.replace(tree[:4], struct.pack(">I", len(names)), 1) + struct.pack(">IHII", name_at[0], 2, 2, 2)
    tree += struct.pack(">IHHHI", name_at[1], 0, 0, 1, 0) + struct.pack(">IHHHI", name_at[2], 1, 0, 1, 9)
    names += struct.pack(">HI", 0, 0)  # the root has no name
    head = struct.pack(">4s4I", b"qres", 1, 20, 20 + len(tree), 20 + len(tree) + len(contents))
    found = list(resources(head + tree + contents + names))
    assert found == [("animals/a.webp", b"hello"), ("animals/b.txt", b"world")]
    with pytest.raises(ValueError, match="not a Qt resource file"):
        list(resources(b"PK\x03\x04" + bytes(40)))


def test_without_apt_get_the_error_says_what_to_use(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures.shutil, "which", lambda name: None)
    with pytest.raises(FileNotFoundError, match=r"no apt-get .* Debian 12"):
        fetch(PACKAGE, tmp_path)


def test_a_package_that_is_not_to_be_had_is_named_with_what_to_try(tmp_path, monkeypatch):
    folder = tmp_path / "bin"
    folder.mkdir()
    for program in ("apt-get", "dpkg-deb"):
        (folder / program).write_text("#!/bin/sh\necho \"E: Version '1.0' was not found\" >&2\nexit 100\n")
        (folder / program).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    with pytest.raises(OSError, match=r"animals=1\.0 is not to be had: E: Version '1\.0' was not found\nrun apt-get"):
        fetch(PACKAGE, tmp_path / "packages")


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """Five bundled pictures, and two packages: theirs, with all originals, and wallpapers, one of them the cow's."""
    bundled = tmp_path / "data" / "photos"
    bundled.mkdir(parents=True)
    animals, wallpapers = tmp_path / "unpacked" / "animals", tmp_path / "unpacked" / "sky-wallpapers"
    animals.mkdir(parents=True)
    wallpapers.mkdir()
    rows = []
    splits = {"panda": "train", "bison": "train", "hen": "train", "cow": "val", "goat": "test"}
    for seed, (stem, split) in enumerate(splits.items()):
        original = picture(seed, 300, 240)
        original.save(animals / f"{stem}.png")
        copy = original if stem == "hen" else small(original)  # of the hen there is nothing larger
        copy.save(bundled / f"{stem}.jpg", quality=95)
        row = {"file": f"{stem}.jpg", "split": split, "scene": stem, "origin_package": "animals 1.0", "note": "resized"}
        rows.append(row | {"width": str(copy.width), "height": str(copy.height)})
    picture(10, 900, 1200).save(wallpapers / "Sea.jpg")
    picture(3, 400, 300).save(wallpapers / "Pasture.jpg")  # the cow's scene
    picture(11).save(wallpapers / "Render.jpg")  # not listed

    def unpack(package, folder):
        root = folder / package.partition("=")[0]
        pictures.shutil.copytree(tmp_path / "unpacked" / root.name, root)
        return root

    listed = [("Sea.jpg", "landscape", "Ada"), ("Pasture.jpg", "landscape", "Ada")]
    monkeypatch.setattr(pictures, "ORIGINALS", {PACKAGE: "animals"})
    monkeypatch.setattr(pictures, "PHOTOGRAPHS", {OTHER: listed})
    monkeypatch.setattr(pictures, "FOLDERS", {OTHER: "."})
    monkeypatch.setattr(pictures, "LICENCES", {OTHER: "CC0-1.0"})
    monkeypatch.setattr(pictures, "SHORT_SIDE", 200)
    monkeypatch.setattr(pictures, "attributions", lambda: rows)
    monkeypatch.setattr(pictures, "data_folder", lambda: tmp_path / "data")
    monkeypatch.setattr(pictures, "fetch", unpack)
    return tmp_path / "out"


def table(folder) -> dict[str, dict[str, str]]:
    with (folder / "attribution.csv").open(newline="", encoding="utf-8") as file:
        return {row["scene"]: row for row in csv.DictReader(file)}


def test_larger_originals_of_the_train_split_and_listed_photographs_are_written_and_nothing_else(toy):
    written = write_pictures(toy)
    rows = table(toy)
    assert set(rows) == {"panda", "bison", "hen", "cow", "sky_sea"}  # no goat, no pasture, no render
    files = {path.relative_to(toy).as_posix() for path in toy.rglob("*.*") if path.parent != toy}
    assert files == {row["file"] for row in rows.values()}
    for scene, size in {"panda": (250, 200), "hen": (300, 240), "cow": (100, 80), "sky_sea": (200, 267)}.items():
        with Image.open(toy / rows[scene]["file"]) as image:
            assert image.size == size == (int(rows[scene]["width"]), int(rows[scene]["height"]))
            assert image.format == "JPEG"
    assert rows["panda"]["original"] == "panda.png" and rows["hen"]["original"] == ""
    assert rows["sky_sea"]["author"] == "Ada" and rows["sky_sea"]["licence"] == "CC0-1.0"
    text = summary(written)
    assert "too like cow.jpg" in text and "Pasture.jpg" in text
    assert "hen.jpg" in text and "Render.jpg" in text


def test_validation_is_on_the_bundled_val_pictures_as_they_are(toy):
    write_pictures(toy)
    cow = table(toy)["cow"]["file"]
    assert open_dataset(str(toy), "val").names == [cow]
    assert (toy / cow).read_bytes() == (toy.parent / "data" / "photos" / "cow.jpg").read_bytes()


def test_a_second_run_makes_its_own_folder_anew(toy):
    write_pictures(toy)
    panda = toy / table(toy)["panda"]["file"]
    before = panda.read_bytes()
    panda.write_bytes(b"damaged")
    write_pictures(toy)
    assert panda.read_bytes() == before
    assert sorted(path.name for path in toy.parent.iterdir()) == ["data", "out", "unpacked"]


def test_a_run_that_fails_leaves_what_was_there(toy, monkeypatch):
    write_pictures(toy)
    before = {path: path.read_bytes() for path in toy.rglob("*.*")}

    def fail(package, folder):
        raise OSError("no network")

    monkeypatch.setattr(pictures, "fetch", fail)
    with pytest.raises(OSError, match="no network"):
        write_pictures(toy)
    assert {path: path.read_bytes() for path in toy.rglob("*.*")} == before
    assert sorted(path.name for path in toy.parent.iterdir()) == ["data", "out", "unpacked"]


def test_a_folder_that_holds_anything_else_is_refused(toy):
    write_pictures(toy)
    (toy / "train" / "mine.jpg").write_bytes(b"")
    with pytest.raises(FileExistsError, match=r"mine\.jpg; name a new folder"):
        write_pictures(toy)


def test_a_folder_with_another_attribution_table_is_refused(tmp_path):
    (tmp_path / "attribution.csv").write_text("file,split\n")
    with pytest.raises(FileExistsError, match=r"attribution\.csv"):
        check_folder(tmp_path)


def test_a_file_or_a_missing_folder_around_it_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="name a folder"):
        check_folder(tmp_path / "file")
    with pytest.raises(FileNotFoundError, match="make it first"):
        check_folder(tmp_path / "a" / "b")


def test_every_listed_package_has_its_version_and_bundled_pictures_to_learn_from():
    origins = {row["origin_package"].split()[0] for row in attributions() if row["split"] == "train"}
    assert set(ORIGINALS.values()) == origins
    assert all(version for package in [*ORIGINALS, *PHOTOGRAPHS] for version in [package.partition("=")[2]])
