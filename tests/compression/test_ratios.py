"""One network, counted in five ways, against counts made by hand."""

import numpy as np
import pytest

from nnopt_course.compression.container import pack
from nnopt_course.compression.ratios import five_ratios
from nnopt_course.quiet import import_quietly

pytestmark = pytest.mark.keras
keras = import_quietly("keras")


def network(kernel, bias):
    kernel = np.array(kernel, "f4")
    model = keras.Sequential(
        [keras.Input(kernel.shape[:1]), keras.layers.Dense(kernel.shape[1], name="only")]
    )
    model.set_weights([kernel, np.array(bias, "f4")])
    return model


#: Four weights of 20 and a bias of two are left; the integers are 2, −3, 1, 1 and 1.
SMALL = network(
    [[1, 0], [0, 0], [0, 0], [0, 0], [0, 0], [0, -1.5], [0, 0], [0.5, 0.5], [0, 0], [0, 0]],
    [0, 0.25],
)


def test_the_counts_of_a_small_network_are_those_made_by_hand():
    data = pack(SMALL)
    ratios = five_ratios(data, parameters=220)
    # The largest integer is 3, so values have 3 bits. Gaps: 0, 11, 3, 1 in the kernel, 1 in the
    # bias. With 2 bits a gap is 3 at most, and three bridges cross the 11: 8 pairs of 5 bits. With
    # 3 bits, one bridge: 6 pairs of 6. With 4 bits, none: 5 pairs of 7.
    assert ratios == pytest.approx(
        {
            "weights left": 220 / 5,
            "their bits alone": 32 * 220 / (3 * 5),
            "smaller layers": 32 * 220 / (3 * 22),
            "gaps and values": 32 * 220 / (5 * 7),
            "the file": 4 * 220 / len(data),
        }
    )


def test_an_array_of_zeros_counts_as_entries_only():
    model = network([[1, 0], [0, 2]], [0, 0])
    ratios = five_ratios(pack(model), parameters=6)
    assert ratios["weights left"] == 3
    assert ratios["smaller layers"] == pytest.approx(32 / 3)


def test_the_coder_changes_the_file_only():
    mixed, huffman = (
        five_ratios(pack(SMALL, coder=coder), parameters=220)
        for coder in ("context_mixing", "deep_compression")
    )
    del mixed["the file"], huffman["the file"]
    assert mixed == huffman


def test_floats_are_refused():
    weights = np.random.default_rng(0).standard_normal((10, 2))
    with pytest.raises(ValueError, match="network on levels; received one with an array of floats"):
        five_ratios(pack(network(weights, [0, 0])), parameters=220)


@pytest.mark.parametrize(
    ("model", "parameters"), [(SMALL, 21), (network(np.zeros((3, 2)), [0, 0]), 220)]
)
def test_impossible_counts_are_refused(model, parameters):
    with pytest.raises(ValueError, match="expected weights that are not zero"):
        five_ratios(pack(model), parameters)
