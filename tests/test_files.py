"""One way to write a file: whole or not at all, and never over what is not ours to replace."""

import errno
import os
import stat
import threading
import time

import pytest

from misf_lite.files import atomic_write, check_target, locked, printable


def write(path, data=b"new", **options):
    with atomic_write(path, **options) as file:
        file.write(data)


def test_a_file_appears_whole_and_alone(tmp_path):
    with atomic_write(tmp_path / "a.txt") as file:
        file.write(b"new")
        assert not (tmp_path / "a.txt").exists()
    assert (tmp_path / "a.txt").read_bytes() == b"new" and os.listdir(tmp_path) == ["a.txt"]


def test_an_error_on_the_way_leaves_the_old_file_and_no_other(tmp_path):
    write(tmp_path / "a.txt", b"old")
    with pytest.raises(RuntimeError), atomic_write(tmp_path / "a.txt", overwrite=True) as file:
        file.write(b"half")
        raise RuntimeError
    assert (tmp_path / "a.txt").read_bytes() == b"old" and os.listdir(tmp_path) == ["a.txt"]


def test_an_existing_file_is_replaced_only_when_that_was_said(tmp_path):
    write(tmp_path / "a.txt", b"old")
    with pytest.raises(FileExistsError, match=r"a\.txt exists; pass --force"):
        write(tmp_path / "a.txt")
    assert (tmp_path / "a.txt").read_bytes() == b"old"
    write(tmp_path / "a.txt", overwrite=True)
    assert (tmp_path / "a.txt").read_bytes() == b"new"


def test_of_two_writers_of_one_new_file_one_is_told(tmp_path):
    both = threading.Barrier(2)
    outcomes = []

    def writer(data):
        try:
            with atomic_write(tmp_path / "a.txt") as file:
                file.write(data)
                both.wait()
            outcomes.append(data)
        except FileExistsError:
            outcomes.append(None)

    threads = [threading.Thread(target=writer, args=[data]) for data in (b"first", b"second")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = [data for data in outcomes if data]
    assert (tmp_path / "a.txt").read_bytes() == winner and os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("links", [True, False])
def test_a_new_file_is_never_seen_empty_nor_replaced_with_or_without_links(tmp_path, monkeypatch, links):
    def unknown(*names):
        raise OSError("this file system knows no links")

    if links:
        monkeypatch.setattr("pathlib.Path.touch", unknown)
    else:
        monkeypatch.setattr("os.link", unknown)
    write(tmp_path / "a.txt")
    assert (tmp_path / "a.txt").read_bytes() == b"new" and os.listdir(tmp_path) == ["a.txt"]
    with pytest.raises(FileExistsError), atomic_write(tmp_path / "b.txt") as file:
        file.write(b"mine")
        (tmp_path / "b.txt").write_text("another's")
    assert (tmp_path / "b.txt").read_text() == "another's"


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "there").mkdir()
    write(tmp_path / "there" / "a.txt", b"old")
    (tmp_path / "link.txt").symlink_to("there/a.txt")
    write(tmp_path / "link.txt", overwrite=True)
    assert (tmp_path / "link.txt").is_symlink() and (tmp_path / "there" / "a.txt").read_bytes() == b"new"


def test_a_replaced_file_hands_on_its_permissions(tmp_path):
    write(tmp_path / "a.txt", b"old")
    (tmp_path / "a.txt").chmod(0o600)
    with atomic_write(tmp_path / "a.txt", overwrite=True):
        (part,) = tmp_path.glob(".*.part")
        assert stat.S_IMODE(part.stat().st_mode) == 0o600  # from the first byte on
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o600


def test_what_a_killed_process_left_goes_with_a_later_write_and_nothing_else_does(tmp_path):
    old, new, foreign = (tmp_path / f".{name}.part" for name in ("0" * 32, "1" * 32, "film"))
    for path in (old, new, foreign):
        path.write_text("half")
    for path in (old, foreign):
        os.utime(path, (time.time() - 7200,) * 2)
    write(tmp_path / "a.txt")
    assert {path.name for path in tmp_path.iterdir()} == {"a.txt", new.name, foreign.name}


def test_of_two_that_change_a_file_the_second_waits_and_no_lock_stays(tmp_path):
    path = tmp_path / "n.txt"
    path.write_text("0")

    def count():
        for _ in range(20):
            with locked(path):
                path.write_text(str(int(path.read_text()) + 1))

    threads = [threading.Thread(target=count) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_text() == "40" and os.listdir(tmp_path) == ["n.txt"]


def test_any_name_can_be_printed_and_plain_ones_stay_as_they_are():
    assert printable("Zoë #1, „x“.png") == "Zoë #1, „x“.png"
    assert printable(os.fsdecode(b"a\xff\r\n.png")) == "a\\udcff\\r\\n.png"


def test_what_is_no_regular_file_is_never_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="pipe is no regular file"):
        write(tmp_path / "pipe", overwrite=True)
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_a_folder_or_a_missing_one_is_named(tmp_path):
    with pytest.raises(IsADirectoryError, match="is a folder; name a file inside it"):
        check_target(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*nowhere; make it first"):
        check_target(tmp_path / "nowhere" / "a.txt")


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_read_only_is_named(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(PermissionError, match="is read-only for you"):
            check_target(tmp_path / "a.txt")
    finally:
        tmp_path.chmod(0o700)


def test_an_error_of_the_disk_comes_with_the_name_of_the_file(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*a\.txt'"):
        write(tmp_path / "a.txt")
