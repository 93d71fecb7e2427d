"""One way to write a file: whole or not at all, and never over what is not ours to replace."""

import os
import stat
import threading

import pytest

from misf_lite.files import atomic_write, check_target


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


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "there").mkdir()
    write(tmp_path / "there" / "a.txt", b"old")
    (tmp_path / "link.txt").symlink_to("there/a.txt")
    write(tmp_path / "link.txt", overwrite=True)
    assert (tmp_path / "link.txt").is_symlink() and (tmp_path / "there" / "a.txt").read_bytes() == b"new"


def test_a_replaced_file_hands_on_its_permissions(tmp_path):
    write(tmp_path / "a.txt", b"old")
    (tmp_path / "a.txt").chmod(0o600)
    write(tmp_path / "a.txt", overwrite=True)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o600


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
