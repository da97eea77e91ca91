import contextlib
from pathlib import Path

import pytest

from nnopt_course.whole_file import require_writable, whole_file


def test_what_can_be_written_is_tried_and_leaves_nothing(tmp_path):
    old = tmp_path / "old.txt"
    old.write_text("old")
    for path in (old, tmp_path / "new.txt", tmp_path / ("x" * 255)):
        require_writable(path)
    assert [each.name for each in tmp_path.iterdir()] == ["old.txt"]
    assert old.read_text() == "old"


@pytest.mark.parametrize("name", ["x" * 256, "ä" * 128], ids=["letters", "bytes"])
def test_a_name_that_is_too_long_is_refused(tmp_path, name):
    with pytest.raises(OSError, match=f"{name} cannot be written: File name too long"):
        require_writable(tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="there is no /proc")
def test_a_folder_that_takes_no_files_is_refused():
    with pytest.raises(OSError, match=r"^/proc/q.nnopt cannot be written: "):
        require_writable(Path("/proc/q.nnopt"))


def test_folders_are_no_files(tmp_path):
    with pytest.raises(ValueError, match="received the folder"):
        require_writable(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*nowhere to write q\.txt"):
        require_writable(tmp_path / "nowhere" / "q.txt")


def test_a_block_that_fails_leaves_the_old_file(tmp_path):
    old = tmp_path / "old.txt"
    old.write_text("old")
    with contextlib.suppress(ZeroDivisionError), whole_file(old) as beside:
        beside.write_text("new")
        _ = 1 / 0
    assert old.read_text() == "old"
    assert list(tmp_path.iterdir()) == [old]
