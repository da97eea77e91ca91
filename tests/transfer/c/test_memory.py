"""Blocks that are needed at the same time do not touch."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnopt_course.transfer.targets.c.memory import Block, place

blocks = st.lists(
    st.builds(
        lambda size, first, length: Block(size, first, first + length),
        st.integers(1, 50),
        st.integers(0, 12),
        st.integers(0, 6),
    ),
    max_size=12,
)


@given(blocks)
def test_no_two_blocks_touch_while_both_are_needed(found):
    offsets, total = place(found)
    for i, a in enumerate(found):
        assert 0 <= offsets[i] <= total - a.size
        for j, b in enumerate(found[:i]):
            if a.overlaps(b):
                assert offsets[i] + a.size <= offsets[j] or offsets[j] + b.size <= offsets[i]


@given(blocks)
def test_the_plan_is_not_smaller_than_its_fullest_moment(found):
    _, total = place(found)
    fullest = max(
        (sum(b.size for b in found if b.first <= now <= b.last) for now in range(20)), default=0
    )
    assert fullest <= total <= sum(block.size for block in found)


@pytest.mark.parametrize(
    ("sizes", "total"), [((4, 4, 4), 8), ((9, 1, 9, 1), 10), ((5, 3, 2, 7), 10)]
)
def test_a_chain_takes_its_two_largest_neighbors_or_a_little_more(sizes, total):
    assert place([Block(size, i, i + 1) for i, size in enumerate(sizes)])[1] == total
