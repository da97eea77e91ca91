import dataclasses
import subprocess
import sys

import numpy as np
import pytest

from nnopt_course import data


def test_splits_are_the_full_mnist_in_the_order_of_the_file(mnist):
    assert (len(mnist.train), len(mnist.validation), len(mnist.test)) == (50_000, 10_000, 10_000)
    # The class counts that are published for MNIST's 60,000 and 10,000 images.
    labels = np.concatenate([mnist.train.y, mnist.validation.y])
    assert np.bincount(labels).tolist() == [
        5923,
        6742,
        5958,
        6131,
        5842,
        5421,
        5918,
        6265,
        5851,
        5949,
    ]
    assert np.bincount(mnist.test.y).tolist() == [
        980,
        1135,
        1032,
        1010,
        982,
        892,
        958,
        1028,
        974,
        1009,
    ]


def test_scaled_pixels_are_the_raw_ones_over_255(mnist):
    raw = data.load_mnist(dtype="uint8", shape="image")
    assert raw.test.x.dtype == np.uint8
    assert raw.test.x.shape == (10_000, 28, 28, 1)
    assert mnist.test.x.dtype == np.float32
    assert (mnist.test.x.min(), mnist.test.x.max()) == (0.0, 1.0)
    np.testing.assert_array_equal(np.rint(mnist.test.x * 255), raw.test.x.reshape(-1, 784))
    # The mean and the standard deviation that are published for MNIST's training pixels.
    train = np.concatenate([mnist.train.x, mnist.validation.x])
    assert train.mean(dtype=np.float64) == pytest.approx(0.1307, abs=5e-5)
    assert train.std(dtype=np.float64) == pytest.approx(0.3081, abs=5e-5)


def test_result_is_immutable(mnist):
    with pytest.raises(dataclasses.FrozenInstanceError):
        mnist.train = mnist.test
    with pytest.raises(ValueError, match="read-only"):
        mnist.train.x[0, 0] = 1
    with pytest.raises(ValueError, match="read-only"):
        mnist.train.y[0] = 1


def test_a_path_or_the_environment_points_elsewhere(tmp_path, monkeypatch):
    copy = tmp_path / "mnist.npz"
    copy.write_bytes(data._locate(None).read_bytes())
    assert len(data.load_mnist(copy).train) == 50_000
    monkeypatch.setenv("NNOPT_DATA", str(tmp_path))
    assert data._locate(None) == copy
    monkeypatch.setenv("NNOPT_DATA", str(tmp_path / "other.npz"))
    with pytest.raises(FileNotFoundError, match=r"other\.npz; there is no such file.*git checkout"):
        data.load_mnist()


@pytest.mark.parametrize("damage", ["truncated", "one bit flipped", "empty", "another file"])
def test_a_damaged_file_says_how_to_restore_it(tmp_path, damage):
    good = data._locate(None).read_bytes()
    flipped = bytearray(good)
    flipped[5_000_000] ^= 1
    contents = {
        "truncated": good[:-1],
        "one bit flipped": bytes(flipped),
        "empty": b"",
        "another file": b"not an npz",
    }
    file = tmp_path / "mnist.npz"
    file.write_bytes(contents[damage])
    with pytest.raises(
        ValueError, match=r"is damaged.*git checkout -- nnopt_course/resources/mnist\.npz"
    ):
        data.load_mnist(file)


@pytest.mark.parametrize("arguments", [{"dtype": "float64"}, {"shape": "square"}, {"dtype": None}])
def test_unknown_formats_are_refused(arguments):
    with pytest.raises(ValueError, match="must be"):
        data.load_mnist(**arguments)


def test_calibration_batches_are_drawn_without_replacement():
    x = np.arange(100, dtype=np.uint8).reshape(100, 1)
    batches = data.calibration_batches(x, batches=4, batch_size=25, seed=1)
    assert [(b.shape, b.dtype) for b in batches] == [((25, 1), np.float32)] * 4
    assert sorted(np.concatenate(batches).ravel()) == list(range(100))
    again = data.calibration_batches(x, batches=4, batch_size=25, seed=1)
    np.testing.assert_array_equal(batches, again)
    other = data.calibration_batches(x, batches=4, batch_size=25, seed=2)
    assert not np.array_equal(batches, other)


@pytest.mark.parametrize(
    "arguments", [{"batches": 5, "batch_size": 3}, {"batches": 0}, {"batch_size": -1}], ids=str
)
def test_impossible_calibration_batches_are_refused(arguments):
    with pytest.raises(ValueError, match="received"):
        data.calibration_batches(np.zeros((10, 2)), **arguments)


@pytest.mark.parametrize("n", [0, -1, 4])
def test_head_out_of_range_is_refused(n):
    with pytest.raises(ValueError, match=rf"n must be in \[1, 3\]; received {n}"):
        data.Split(np.zeros((3, 1)), np.zeros(3)).head(n)


def test_split_of_unequal_lengths_is_refused():
    with pytest.raises(ValueError, match="same length; received 3 and 2"):
        data.Split(np.zeros((3, 1)), np.zeros(2))


def test_an_installed_wheel_brings_the_data(tmp_path):
    root = data._locate(None).parents[2]
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    options = ["--no-deps", "--no-build-isolation", "--no-index"]
    source = tmp_path / "source"
    # A build leaves files beside the sources; a copy takes them.
    subprocess.run(["git", "clone", "--quiet", "--depth=1", root.as_uri(), source], check=True)
    subprocess.run([*pip, "wheel", *options, "-w", tmp_path, source], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    site = tmp_path / "site"
    subprocess.run([*pip, "install", *options, "--target", site, wheel], check=True)
    code = (
        f"import sys; sys.path.insert(0, {str(site)!r}); from nnopt_course import data;"
        "print(data.__file__, len(data.load_mnist().train))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert run.stdout.split() == [str(site / "nnopt_course" / "data.py"), "50000"]
