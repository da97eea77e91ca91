"""Layers by name: globs over layers and paths."""

import pytest

from nnopt_course.patterns import select

PATHS = ["conv_1/kernel", "conv_2/kernel", "block/dense/kernel", "logits/kernel"]


@pytest.mark.parametrize(
    ("include", "exclude", "expected"),
    [
        (("*",), (), PATHS),
        ("*", "logits", PATHS[:3]),
        (("conv_*",), (), PATHS[:2]),
        (("conv_*", "logits"), ("conv_1",), ["conv_2/kernel", "logits/kernel"]),
        (("*/kernel",), ("block/dense",), ["conv_1/kernel", "conv_2/kernel", "logits/kernel"]),
        (("conv_1/kernel",), (), PATHS[:1]),
        (("conv_?",), ("conv_[2-9]",), PATHS[:1]),
    ],
)
def test_select_by_hand(include, exclude, expected):
    assert select(PATHS, include, exclude) == expected


@pytest.mark.parametrize("where", ["include", "exclude"])
def test_a_pattern_that_matches_nothing_names_the_layers_there_are(where):
    with pytest.raises(
        ValueError, match=r"no layer matches 'dense_7'; .*conv_1, conv_2, block/dense, logits"
    ):
        select(PATHS, **{where: ("dense_7",)})


def test_patterns_that_leave_nothing_are_refused():
    with pytest.raises(ValueError, match="leave nothing"):
        select(PATHS, "conv_*", "*")


def test_case_matters():
    with pytest.raises(ValueError, match="no layer matches 'CONV_1'"):
        select(PATHS, "CONV_1")


def test_what_is_exempt_is_left_out_whatever_the_patterns_say():
    reasons = {"logits/kernel": "output of the model"}
    assert select(PATHS, exempt=reasons) == PATHS[:3]
    with pytest.raises(ValueError, match="can be pruned; received logits/kernel: output of the"):
        select(PATHS, "logits", exempt=reasons)
