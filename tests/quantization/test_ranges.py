"""Rules by hand, their common promises, and ONNX Runtime's calibrators where definitions agree."""

import tracemalloc

import numpy as np
import onnxruntime.quantization.calibrate as onnx_calibrate
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from onnx import TensorProto, helper

from nnopt_course.quantization.affine import choose_params, fake_quantize, params_for
from nnopt_course.quantization.histogram import Histogram
from nnopt_course.quantization.ranges import (
    entropy,
    from_histogram,
    minmax,
    moving_average,
    mse,
    observe,
    percentile,
)

RULES = {
    "minmax": minmax(),
    "moving-average": moving_average(0.9),
    "percentile": percentile(99),
    "mse": mse(4),
    "mse-symmetric": mse(4, symmetric=True),
    "entropy": entropy(4),
    "entropy-symmetric": entropy(4, symmetric=True),
}
every_rule = pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
BATCHES = st.lists(
    arrays(np.float32, array_shapes(max_dims=3, max_side=5), elements=st.floats(-99, 99, width=32)),
    min_size=1,
    max_size=4,
)


def activations(rng, kind, size=(8, 2000)):
    x = rng.normal(size=size).astype(np.float32)
    return {"normal": x, "relu": np.maximum(x, 0), "laplace": x * np.abs(rng.normal(size=size))}[
        kind
    ].astype(np.float32)


# By hand


@pytest.mark.parametrize(
    ("rule", "batches", "lo", "hi"),
    [
        pytest.param(minmax(), [[-1.0, 2.0], [0.5]], -1.0, 2.0, id="minmax"),
        pytest.param(minmax(), [[5.0], [7.0]], 5.0, 7.0, id="minmax-is-not-widened-to-zero"),
        pytest.param(moving_average(0.75), [[0.0, 4.0]], 0.0, 4.0, id="average-of-one"),
        pytest.param(moving_average(0.75), [[0.0, 4.0], [-4.0, 8.0]], -1.0, 5.0, id="average"),
        pytest.param(moving_average(0.5), [[0.0], [4.0], [8.0]], 5.0, 5.0, id="average-of-three"),
        pytest.param(moving_average(0.0), [[0.0, 9.0], [1.0, 2.0]], 1.0, 2.0, id="last-batch"),
        pytest.param(percentile(100), [[-1.0, 2.0], [0.5]], -1.0, 2.0, id="all-percent"),
        pytest.param(percentile(1), [np.zeros(99), [1.0]], 0.0, 0.0, id="mostly-zeros"),
        pytest.param(mse(8), [[0.0, 3.0], [3.0]], 0.0, 3.0, id="mse-two-values"),
        pytest.param(entropy(8), [[-1.0, 3.0]], -1.0, 3.0, id="entropy-two-values"),
    ],
)
def test_ranges_by_hand(rule, batches, lo, hi):
    assert observe([np.array(b) for b in batches], rule) == pytest.approx((lo, hi))


@pytest.mark.parametrize("keep", [50, 90, 99.9])
def test_percentile_is_numpys(keep):
    x = np.random.default_rng(0).normal(size=(10, 5001))
    tail = (100 - keep) / 2
    expected = np.percentile(x, [tail, 100 - tail], method="inverted_cdf")
    np.testing.assert_allclose(observe(x, percentile(keep)), expected, atol=np.ptp(x) / 2048)


def test_four_bits_gain_from_clipping_an_outlier():
    x = np.append(np.random.default_rng(0).normal(size=100_000), 100.0).astype(np.float32)

    def error(rule):
        params = choose_params(*observe([x], rule), bits=4)
        return np.mean((fake_quantize(x, params).astype(np.float64) - x) ** 2)

    for rule in (percentile(99.9), mse(4), entropy(4)):
        assert error(rule) < error(minmax()) / 5
    assert error(mse(4)) == min(map(error, RULES.values()))


# What every rule promises


@every_rule
@given(batches=BATCHES)
@settings(max_examples=10)
def test_a_range_lies_in_what_was_observed_and_zero(rule, batches):
    values = np.concatenate([b.ravel() for b in batches])
    lo, hi = observe(batches, rule)
    assert min(values.min(), 0) <= lo <= hi <= max(values.max(), 0)
    assert (type(lo), type(hi)) == (float, float)
    choose_params(lo, hi)


@pytest.mark.parametrize("name", [name for name in RULES if name != "moving-average"])
@given(batches=BATCHES, data=st.data())
@settings(max_examples=5)
def test_batches_and_their_order_do_not_matter_but_to_the_average(name, batches, data):
    shuffled = data.draw(st.permutations(batches))
    at_once = [np.concatenate([b.ravel() for b in batches])]
    assert observe(batches, RULES[name]) == observe(shuffled, RULES[name])
    assert observe(batches, RULES[name]) == observe(at_once, RULES[name])


@every_rule
@pytest.mark.parametrize("kind", ["normal", "relu", "laplace"])
def test_a_mirrored_tensor_has_the_mirrored_range(rule, kind):
    x = activations(np.random.default_rng(1), kind, (4, 20_000))
    lo, hi = observe(x, rule)
    np.testing.assert_allclose(observe(-x, rule), (-hi, -lo), rtol=0.05, atol=0.02)


@every_rule
@pytest.mark.parametrize("power", [-40, 30])
def test_the_unit_does_not_matter(rule, power):
    x = activations(np.random.default_rng(2), "laplace")
    lo, hi = observe(x, rule)
    unit = 2.0**power
    np.testing.assert_allclose(observe(x * np.float32(unit), rule), (lo * unit, hi * unit), 1e-6)


@every_rule
@pytest.mark.parametrize("value", [0.0, 3.25, -1e-20, 1e30])
def test_a_constant_tensor_comes_back(rule, value):
    x = np.full((2, 3), value, np.float32)
    params = choose_params(*observe([x], rule))
    np.testing.assert_allclose(fake_quantize(x, params), x, rtol=1e-6)


@every_rule
@pytest.mark.parametrize("value", [0.0, 3.25, -7.0])
def test_one_value_is_enough(rule, value):
    params = choose_params(*observe([np.array(value)], rule))
    assert fake_quantize(np.array([value]), params) == pytest.approx(value)


@every_rule
def test_each_tensor_has_an_observer_of_its_own(rule):
    first, second = rule(), rule()
    first.update(np.array([-1.0, 1.0]))
    second.update(np.array([0.0, 5.0]))
    assert first.range() == pytest.approx((-1.0, 1.0), abs=0.15)
    assert second.range() == pytest.approx((0.0, 5.0), abs=0.4)


@every_rule
def test_looking_does_not_end_the_observation(rule):
    observer, x = rule(), activations(np.random.default_rng(3), "normal")
    for batch in x:
        observer.update(batch)
        observer.range()
    assert observer.range() == observe(x, rule)


@every_rule
def test_memory_is_bounded(rule):
    batches = [activations(np.random.default_rng(i), "laplace", 100_000) for i in range(3)]
    tracemalloc.start()
    observer = rule()
    for _ in range(5):
        for batch in batches:
            observer.update(batch)
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 100_000
    assert peak < 3_000_000


@every_rule
@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(np.array([1.0, np.nan]), id="nan"),
        pytest.param(np.array([np.inf]), id="infinite"),
        pytest.param(np.empty((0, 3)), id="empty"),
    ],
)
def test_a_bad_batch_is_refused_and_changes_nothing(rule, bad):
    observer = rule()
    observer.update(np.array([0.0, 1.0]))
    before = observer.range()
    with pytest.raises(ValueError, match=r"must be finite|must not be empty; received shape"):
        observer.update(bad)
    assert observer.range() == before


@every_rule
def test_an_empty_calibration_is_refused(rule):
    with pytest.raises(ValueError, match=r"no values were observed; call update\(\)"):
        observe([], rule)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: moving_average(1.0), r"momentum must be in \[0, 1\); received 1.0"),
        (lambda: moving_average(-0.1), "received -0.1"),
        (lambda: percentile(0), r"keep must be in \(0, 100\]; received 0"),
        (lambda: percentile(101), "received 101"),
        (lambda: mse(1), r"bits must be in \[2, 16\]; received 1"),
        (lambda: entropy(1), r"bits must be in \[2, 16\]; received 1"),
        (lambda: entropy(9), r"bits must be in \[2, 8\] for entropy; received 9. Use mse"),
        (lambda: from_histogram(lambda seen: (0, 1), bins=1), "bins must be at least 2"),
    ],
)
def test_what_no_rule_can_do_is_refused_before_anything_is_observed(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# A rule of one's own


def test_a_function_of_a_histogram_is_a_rule():
    def three_sigma(histogram: Histogram):
        centers = (histogram.edges[:-1] + histogram.edges[1:]) / 2
        mean = histogram.counts @ centers / histogram.total
        sigma = np.sqrt(histogram.counts @ centers**2 / histogram.total - mean**2)
        return mean - 3 * sigma, mean + 3 * sigma

    x = np.random.default_rng(0).normal(1.0, 2.0, (5, 4000))
    expected = x.mean() - 3 * x.std(), x.mean() + 3 * x.std()
    assert observe(x, from_histogram(three_sigma)) == pytest.approx(expected, rel=1e-3)


def test_a_class_of_two_methods_is_a_rule():
    class Largest:
        hi = 0.0

        def update(self, batch):
            self.hi = max(self.hi, float(np.abs(batch).mean()))

        def range(self):
            return -self.hi, self.hi

    assert observe([np.ones(3), -4 * np.ones(2)], Largest) == (-4.0, 4.0)


# ONNX Runtime


class Reader(onnx_calibrate.CalibrationDataReader):
    def __init__(self, batch):
        self.left = [{"x": batch}]

    def get_next(self):
        return self.left.pop() if self.left else None


@pytest.mark.parametrize(
    ("rule", "settings_there"),
    [
        pytest.param(minmax(), {}, id="minmax"),
        pytest.param(
            moving_average(0.9),
            {"moving_average": True, "averaging_constant": 0.1},
            id="moving-average",
        ),
    ],
)
@pytest.mark.parametrize("kind", ["normal", "relu"])
def test_ends_are_those_of_onnx_runtime(rule, settings_there, kind, tmp_path):
    node = helper.make_node("Relu", ["x"], ["y"])
    infos = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n"]) for n in "xy"]
    graph = helper.make_graph([node], "g", infos[:1], infos[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    file = tmp_path / "m.onnx"
    file.write_bytes(model.SerializeToString())
    theirs = onnx_calibrate.MinMaxCalibrater(
        file, augmented_model_path=str(tmp_path / "augmented.onnx"), **settings_there
    )
    theirs.augment_graph()
    theirs.create_inference_session()
    batches = [activations(np.random.default_rng(i), kind, 500) for i in range(4)]
    for batch in batches:
        theirs.collect_data(Reader(batch))
    lowest, highest = theirs.compute_data()["x"].range_value
    expected = float(np.squeeze(lowest)), float(np.squeeze(highest))
    assert observe(batches, rule) == pytest.approx(expected)


def collected(method, batches, **settings_there):
    """What ONNX Runtime's collector of histograms finds."""
    how = {"num_bins": 2048, "num_quantized_bins": 128, "percentile": None, "scenario": None}
    collector = onnx_calibrate.HistogramCollector(method, False, **how | settings_there)
    for batch in batches:
        collector.collect({"x": batch})
    return [float(end) for end in collector.compute_collection_result()["x"][:2]]


@pytest.mark.parametrize("kind", ["normal", "relu", "laplace"])
@pytest.mark.parametrize("keep", [99.0, 99.9])
def test_percentiles_are_those_of_onnx_runtime_to_within_a_bin(keep, kind):
    x = activations(np.random.default_rng(4), kind, (8, 2001))
    theirs = collected("percentile", x, percentile=keep)
    bin_there, bin_here = 2 * np.abs(x).max() / 2048, np.ptp(x) / 2048
    np.testing.assert_allclose(
        observe(x, percentile(keep)), theirs, atol=1.01 * (bin_there + bin_here)
    )


@pytest.mark.parametrize("kind", ["normal", "laplace"])
def test_entropy_clips_about_where_onnx_runtime_does(kind):
    """Not exactly: there, the bins that are left over after a division join the last level's sum
    but not its spread, and averages are cut to integers."""
    x = activations(np.random.default_rng(5), kind, (10, 100_000))
    (_, theirs), (_, ours) = collected("entropy", x), observe(x, entropy(7, symmetric=True))
    assert ours == pytest.approx(theirs, rel=0.25)
    assert np.quantile(np.abs(x), 0.999) < ours <= np.abs(x).max()


def test_minmax_is_what_params_for_does():
    x = np.random.default_rng(0).normal(size=(3, 50)).astype(np.float32)
    params = choose_params(*observe(x, minmax()))
    assert (params.scale, params.zero_point) == (params_for(x).scale, params_for(x).zero_point)
