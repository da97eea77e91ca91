from math import isclose, sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnopt_course.compression.narrowing import CLOSE, STEEPEST, Narrowing


def searched(total, boundary, *, guess=None):
    """Every number that is tried; more can be removed from all that are above the boundary."""
    known, tried = Narrowing(total), []
    while not known.done:
        wish = None if guess is None else guess(tried[-1]) if tried else None
        kept = known.next(wish)
        tried.append(kept)
        known = known.after(kept, more=kept > boundary)
        assert len(tried) < 100
    return known, tried


def test_by_hand():
    known, tried = searched(266_000, 5_000)
    assert tried[:5] == [66_500, 16_625, 4_156, 8_312, 5_877]
    assert known.low <= 5_000 < known.high <= 1.06 * known.low


@given(st.integers(1, 10**7), st.floats(0, 0.999), st.floats(0.7, 1.4))
def test_the_boundary_is_found_between_two_close_numbers(total, part, off):
    boundary = part * total
    for guess in (None, lambda _: off * boundary, lambda _: 0.0):
        known, tried = searched(total, boundary, guess=guess)
        assert len(set(tried)) == len(tried)
        assert known.high > boundary >= (known.low or 0)
        for before, after in zip([total, *tried], tried, strict=False):
            assert after < total
            assert after >= before / STEEPEST - 1


def test_where_nothing_is_left_to_try_nothing_is_tried():
    with pytest.raises(ValueError, match="others between them"):
        Narrowing(9, 8).next()


def test_a_good_guess_is_quicker_than_none():
    without = len(searched(10**6, 4_000)[1])
    assert len(searched(10**6, 4_000, guess=lambda _: 4_050)[1]) < without


@pytest.mark.parametrize(
    ("known", "wish", "expected"),
    [
        (Narrowing(1_000), None, 250),
        (Narrowing(1_000), 10, 250),
        (Narrowing(1_000), 600, 600),
        (Narrowing(1_000), 2_000, round(1_000 / CLOSE)),
        (Narrowing(1_000, 250), None, 500),
        (Narrowing(1_000, 250), 700, 700),
        (Narrowing(1_000, 250), 10, round(250 * sqrt(CLOSE))),
        (Narrowing(1_000, 250), 5_000, round(1_000 / sqrt(CLOSE))),
        (Narrowing(2), None, 1),
    ],
)
def test_the_next_number_stays_within_what_is_known(known, wish, expected):
    assert isclose(known.next(wish), expected, abs_tol=1)


@pytest.mark.parametrize(
    ("known", "done"),
    [
        (Narrowing(1_000), False),
        (Narrowing(1_000, 500), False),
        (Narrowing(1_000, 950), True),
        (Narrowing(1), True),
    ],
)
def test_when_it_is_over(known, done):
    assert known.done == done
