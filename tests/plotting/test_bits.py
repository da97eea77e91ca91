"""Errors against bits: every seed is there, in its place."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from nnopt_course.plotting import error_against_bits

AFTER = {8: [1.7, 1.8, 1.7], 4: [1.8, 1.9, 1.8], 2: [5.7, 3.2, 4.4]}
AWARE = {8: [1.6, 1.7, 1.7], 2: [1.9, 1.8, 1.9]}


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


def test_every_seed_is_a_dot_beside_its_bits_and_methods_do_not_cover_each_other():
    ax = error_against_bits({"PTQ": AFTER, "QAT": AWARE})
    shown = [(line.get_xdata(), line.get_ydata().tolist()) for line in ax.lines]
    expected = [*AFTER.values(), *AWARE.values()]
    assert [numbers for _, numbers in shown] == expected
    places = [set(x) for x, _ in shown]
    assert all(len(place) == 1 for place in places)
    centers = [round(float(*place)) for place in places]
    assert centers == [0, 1, 2, 0, 2]
    assert places[0] != places[3]
    assert places[2] != places[4]


def test_bits_fall_from_left_to_right_whatever_the_order_given():
    ax = error_against_bits({"one": {2: [3.0], 8: [1.0], 4: [2.0]}})
    assert [text.get_text() for text in ax.get_xticklabels()] == ["8", "4", "2"]
    assert ax.get_ylim()[0] == 0


def test_each_method_and_the_baseline_are_named_once():
    ax = error_against_bits({"PTQ": AFTER, "QAT": AWARE}, baseline=1.7)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["PTQ", "QAT", "float"]
    assert ax.lines[-1].get_ydata() == [1.7, 1.7]


def test_it_draws_on_the_axes_that_it_is_given():
    _, ax = plt.subplots()
    assert error_against_bits({"PTQ": AFTER}, ax=ax, label="error") is ax
    assert ax.get_ylabel() == "error"


@pytest.mark.parametrize(
    ("errors", "message"),
    [
        ({}, "at least one method"),
        ({"PTQ": {}}, "PTQ: expected at least one number of bits"),
        ({"PTQ": {8: []}}, "PTQ, 8 bits: expected finite numbers"),
        ({"PTQ": {8: [1.0, np.nan]}}, "PTQ, 8 bits: expected finite numbers"),
    ],
    ids=["no method", "no bits", "no seed", "nan"],
)
def test_it_refuses(errors, message):
    with pytest.raises(ValueError, match=message):
        error_against_bits(errors)
