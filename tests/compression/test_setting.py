import numpy as np
import pytest

from nnopt_course.compression.setting import Setting, image_shape, split_off
from nnopt_course.data import Split
from nnopt_course.shifts import all_moves, shifted


def split(n=12, shape=(4, 4), seed=0):
    rng = np.random.default_rng(seed)
    return Split(rng.random((n, *shape), dtype=np.float32), np.arange(n) % 3)


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 2), (16,)], ids=str)
def test_an_epoch_moves_images_and_the_teachers_answers_together(shape):
    train = split(200, shape)
    targets = np.arange(9 * 200 * 4.0).reshape(9, 200, 4)
    targets[..., 0] = train.y
    setting = Setting(train, split(3, shape), targets, shifts=1)
    x, y = setting.epoch(np.random.default_rng(1))
    drawn = (y[:, 1] // (200 * 4)).astype(int)
    assert set(drawn) == set(range(9))
    np.testing.assert_array_equal(y, targets[drawn, np.arange(200)])
    grid = shape if len(shape) > 1 else (4, 4)
    np.testing.assert_array_equal(x, shifted(train.x, all_moves()[drawn], shape=grid))
    again, _ = setting.epoch(np.random.default_rng(1))
    other, _ = setting.epoch(np.random.default_rng(2))
    np.testing.assert_array_equal(again, x)
    assert (other != x).any()


def test_without_shifts_and_teacher_an_epoch_is_the_examples():
    train = split()
    x, y = Setting(train, train).epoch(np.random.default_rng(0))
    assert x is train.x
    np.testing.assert_array_equal(y, train.y)


def answers(moves=1):
    """A teacher's, whose labels are those of the examples."""
    return np.concatenate([np.tile(split().y[:, None], (moves, 1, 1)), np.ones((moves, 12, 3))], 2)


def test_targets_become_an_array():
    setting = Setting(split(), split(), answers().tolist())
    assert setting.targets.shape == (1, 12, 4)


def test_a_teacher_without_shifts_has_one_answer():
    targets = answers()
    _, y = Setting(split(), split(), targets).epoch(np.random.default_rng(0))
    np.testing.assert_array_equal(y, targets[0])


@pytest.mark.parametrize("dtype", ["uint8", "int64", "float64", "float16"])
def test_inputs_become_float32(dtype):
    x = np.arange(32).reshape(2, 16).astype(dtype)
    setting = Setting(Split(x, np.array([0, 1])), Split(x, np.array([0, 1])))
    assert setting.train.x.dtype == setting.validation.x.dtype == np.float32
    np.testing.assert_array_equal(setting.train.x, x)


def with_(x=None, y=None):
    good = split()
    return Split(good.x if x is None else x, good.y if y is None else y)


NAN = np.full((12, 4, 4), np.nan)


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        (with_(x=NAN), ValueError, "x must be finite"),
        (with_(x=NAN + np.inf), ValueError, "x must be finite"),
        (with_(x=np.full((12, 4, 4), 1e300)), ValueError, "x must be finite"),
        (Split(np.ones((0, 4, 4)), np.zeros(0, int)), ValueError, "at least one example"),
        (Split(np.ones((3, 0)), np.zeros(3, int)), ValueError, r"received x of shape \(3, 0\)"),
        (with_(x=np.full((12, 4, 4), "a")), TypeError, "real numbers; received dtype <U1"),
        (with_(x=np.ones((12, 4), complex)), TypeError, "received dtype complex128"),
        (with_(x=np.full((12, 4), None)), TypeError, "received dtype object"),
        (with_(y=np.zeros(12)), TypeError, r"received float64 \(12,\)"),
        (with_(y=np.eye(12, dtype=int)), TypeError, r"received int64 \(12, 12\)"),
        (with_(y=np.full(12, -1)), ValueError, "0 or greater; received -1"),
        ((np.ones((3, 4)), np.zeros(3, int)), TypeError, "must be a Split; received tuple"),
    ],
)
@pytest.mark.parametrize("name", ["train", "validation"])
def test_examples_that_teach_nothing_are_refused(name, bad, error, message):
    with pytest.raises(error, match=f"^{name}.*{message}"):
        Setting(**{"train": split(), "validation": split(), name: bad})


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"shifts": -1}, ValueError, "shifts must be at least 0 pixels; received -1"),
        ({"shifts": 0.5}, TypeError, "float"),
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1; received 0"),
        ({"seed": -1}, ValueError, r"seed must be in \[0, 2³²\); received -1"),
        ({"seed": 2**32}, ValueError, "seed"),
        ({"targets": np.ones((12, 4))}, ValueError, r"\(1, 12, 1 \+ classes\).*\(12, 4\)"),
        ({"targets": [1]}, ValueError, r"\(1, 12, 1 \+ classes\).*received \(1,\)"),
        ({"targets": np.full((1, 12, 4), np.nan)}, ValueError, "targets must be finite"),
        ({"targets": np.ones((1, 11, 4))}, ValueError, r"received \(1, 11, 4\)"),
        ({"targets": answers()[:, ::-1]}, ValueError, "labels of train .* in another order"),
        ({"targets": answers(9) + np.eye(4)[0], "shifts": 1}, ValueError, "labels of train"),
        ({"shifts": 4}, ValueError, r"smaller than an image of \(4, 4\); received 4"),
        ({"targets": np.ones((1, 12, 4)), "shifts": 1}, ValueError, r"\(9, 12, 1 \+ classes\)"),
    ],
)
def test_settings_out_of_range_are_refused(settings, error, message):
    with pytest.raises(error, match=message):
        Setting(split(), split(), **settings)


def test_what_is_no_image_is_not_moved():
    with pytest.raises(ValueError, match=r"square ones as vectors; received \(12, 17\)"):
        Setting(split(shape=(17,)), split(shape=(17,)), shifts=1)
    assert image_shape(np.ones((2, 5, 7, 3))) == (5, 7, 3)


@pytest.mark.parametrize(("n", "held_out"), [(2, 1), (6, 1), (7, 2), (60_000, 10_000)])
def test_the_last_sixth_is_held_out(n, held_out):
    x, y = np.arange(n)[:, None], np.arange(n) % 3 if n > 2 else np.zeros(2, int)
    train, validation = split_off(x, y)
    assert (len(train), len(validation)) == (n - held_out, held_out)
    np.testing.assert_array_equal(np.concatenate([train.x, validation.x]), x)
    np.testing.assert_array_equal(np.concatenate([train.y, validation.y]), y)


@pytest.mark.parametrize(
    "y",
    [np.arange(60) // 6, np.arange(60)[::-1] // 6, (np.arange(60) // 6 * 7) % 10],
    ids=["ascending", "descending", "in blocks"],
)
@pytest.mark.parametrize("dtype", ["int64", "uint8"])
def test_examples_in_the_order_of_their_labels_are_not_divided(y, dtype):
    with pytest.raises(ValueError, match=r"sorted by label \(each of 10 .* block\); shuffle them"):
        split_off(np.ones((60, 3)), y.astype(dtype))


def test_one_example_in_another_place_is_an_order_of_its_own():
    y = np.arange(60) // 6
    y[[0, -1]] = y[[-1, 0]]
    assert len(split_off(np.ones((60, 3)), y)[1]) == 10
    with pytest.raises(ValueError, match="each of 2 classes"):
        split_off(np.ones((2, 3)), np.array([1, 0]))
    assert len(split_off(np.ones((60, 3)), np.zeros(60, int))[1]) == 10  # One class has no order.


def test_too_few_examples_to_hold_some_out_are_refused():
    with pytest.raises(ValueError, match="at least 2 examples to hold some out; received 1"):
        split_off(np.ones((1, 3)), np.zeros(1, int))
    with pytest.raises(ValueError, match="same length; received 3 and 2"):
        split_off(np.ones((3, 3)), np.zeros(2, int))
