"""Files are written whole or not at all, and targets are tried first."""

import errno
import os
import stat
import subprocess
import sys
import threading

import pytest

from localgrad.files import (
    FIGURE_SUFFIXES,
    build_folder,
    check_different,
    check_new_folder,
    check_target,
    only_writer,
    write_atomically,
)

needs_user = pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may write everywhere")


def test_a_block_that_fails_keeps_the_earlier_file_and_leaves_no_part(tmp_path):
    place = tmp_path / "out.npz"
    place.write_bytes(b"good")

    def interrupted():
        with write_atomically(place) as stream:
            stream.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert place.read_bytes() == b"good"
    assert os.listdir(tmp_path) == ["out.npz"]


def test_a_full_disk_names_the_file_and_keeps_the_earlier_one(tmp_path):
    place = tmp_path / "out.npz"
    place.write_bytes(b"good")
    with pytest.raises(OSError, match=r"No space left.*out\.npz") as caught, write_atomically(place):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(place))
    assert place.read_bytes() == b"good"
    assert os.listdir(tmp_path) == ["out.npz"]


def test_a_disk_that_is_found_full_when_it_is_flushed(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"out\.npz"), write_atomically(tmp_path / "out.npz") as stream:
        stream.write(b"x")
    assert not os.listdir(tmp_path)


def test_errors_about_other_files_pass_unchanged(tmp_path):
    with pytest.raises(FileNotFoundError) as caught, write_atomically(tmp_path / "out.npz"):
        (tmp_path / "input.npz").read_bytes()
    assert caught.value.filename == str(tmp_path / "input.npz")


def test_two_writers_at_a_time_never_share_a_part(tmp_path):
    place = tmp_path / "c.bin"
    barrier = threading.Barrier(4)

    def work(number):
        for _ in range(20):
            barrier.wait()
            with write_atomically(place) as stream:
                stream.write(bytes([number]) * 1000 * (number + 1))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    content = place.read_bytes()
    assert content == content[:1] * 1000 * (content[0] + 1)
    assert os.listdir(tmp_path) == ["c.bin"]


@pytest.mark.skipif(os.name != "posix", reason="permission bits and links")
def test_permissions_and_links_are_kept(tmp_path):
    place, link = tmp_path / "a.txt", tmp_path / "b.txt"
    place.touch(mode=0o640)
    link.symlink_to(place)
    with write_atomically(link) as stream:
        stream.write(b"x")
    assert link.is_symlink()
    assert place.read_bytes() == b"x"
    assert stat.S_IMODE(place.stat().st_mode) == 0o640


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("folder.png", "is a folder"),
        ("missing/x.png", "folder that does not exist"),
        ("file.png/x.png", "folder that does not exist"),
        ("x.pdf", r"must end in \.png or \.svg"),
        ("x" * 300 + ".png", "name too long"),
    ],
)
def test_targets_that_cannot_be_written_are_refused(tmp_path, name, sentence):
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file.png").touch()
    with pytest.raises((ValueError, OSError), match=f"(?i){sentence}"):
        check_target(tmp_path / name, "--figure", FIGURE_SUFFIXES)


@needs_user
def test_targets_without_permission_are_refused(tmp_path):
    (tmp_path / "kept.npz").touch(mode=0o444)
    with pytest.raises(PermissionError, match="protected"):
        check_target(tmp_path / "kept.npz", "--out")
    (tmp_path / "closed").mkdir(mode=0o555)
    with pytest.raises(PermissionError, match="--out cannot be written here"):
        check_target(tmp_path / "closed" / "x.npz", "--out")


def test_a_trial_leaves_everything_as_it_was(tmp_path):
    (tmp_path / "x.npz").write_bytes(b"good")
    check_target(tmp_path / "x.npz", "--out", (".npz",))
    check_target(tmp_path / "new.npz", "--out", (".npz",))
    check_new_folder(tmp_path / "new.zarr", "--store")
    assert os.listdir(tmp_path) == ["x.npz"]
    assert (tmp_path / "x.npz").read_bytes() == b"good"


def test_one_file_for_two_purposes_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "real.npz").touch()
    (tmp_path / "link.npz").symlink_to("real.npz")
    with pytest.raises(ValueError, match="would overwrite the file of --checkpoint"):
        check_different({"--checkpoint": "x.npz", "--out": tmp_path / "x.npz"})
    with pytest.raises(ValueError, match="would overwrite the file of --teacher"):
        check_different({"--checkpoint": None, "--out": "link.npz"}, {"--teacher": "real.npz"})
    check_different({"--checkpoint": "a.npz", "--out": "b.npz", "--figure": None}, {"--teacher": "real.npz"})


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    def interrupted():
        with build_folder(tmp_path / "map.zarr") as part:
            (part / "chunk").touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not os.listdir(tmp_path)
    with build_folder(tmp_path / "map.zarr") as part:
        (part / "chunk").touch()
    assert os.listdir(tmp_path) == ["map.zarr"]
    with pytest.raises(ValueError, match="exists already"), build_folder(tmp_path / "map.zarr"):
        pass


def test_a_second_writer_is_refused_and_a_lock_ends_with_its_block(tmp_path):
    place = tmp_path / "run.npz"
    for _ in range(2):
        with (
            only_writer(place, "checkpoint"),
            pytest.raises(ValueError, match=r"checkpoint .*run\.npz' is being written by another process"),
            only_writer(place, "checkpoint"),
        ):
            pytest.fail("a second writer must not begin")
    assert not os.listdir(tmp_path)


def test_a_lock_ends_with_its_process(tmp_path):
    program = f"""
import os
from localgrad.files import only_writer
with only_writer({str(tmp_path / "run.npz")!r}, "checkpoint"):
    os._exit(0)
"""
    subprocess.run([sys.executable, "-c", program], timeout=60, check=True)
    assert os.listdir(tmp_path) == [".run.npz.lock"]
    with only_writer(tmp_path / "run.npz", "checkpoint"):
        pass
    assert not os.listdir(tmp_path)
