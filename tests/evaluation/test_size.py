import gzip
import time

import numpy as np
import pytest

from nnopt_course.evaluation.size import measure


def test_counts_the_bytes_of_the_file_and_of_its_gzip(tmp_path):
    content = np.random.default_rng(0).integers(0, 4, 5000, dtype=np.uint8).tobytes()
    path = tmp_path / "model.bin"
    path.write_bytes(content)
    size = measure(path)
    assert size.bytes == 5000
    assert 5000 / 4 < size.gzip_bytes < 5000 / 2  # Two of eight bits carry information.
    assert size.gzip_bytes == len(gzip.compress(content, 9, mtime=0))


def test_does_not_depend_on_name_or_time(tmp_path):
    (tmp_path / "a").write_bytes(b"same" * 99)
    first = measure(tmp_path / "a")
    time.sleep(1.1)
    (tmp_path / "a much longer name").write_bytes(b"same" * 99)
    assert measure(str(tmp_path / "a much longer name")) == first


def test_an_empty_file_has_no_bytes(tmp_path):
    (tmp_path / "empty").touch()
    assert measure(tmp_path / "empty").bytes == 0


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        measure(tmp_path / "nowhere")


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match="expected a file; received the folder"):
        measure(tmp_path)
