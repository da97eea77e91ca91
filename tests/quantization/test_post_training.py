"""Post-training quantization in Keras: ranges, errors by layer, partial quantization, LiteRT."""

import numpy as np
import pytest
from helpers import small

from nnopt_course.quantization.aware import prepare, quantized_layers, quantizers
from nnopt_course.quantization.bit_allocation import allocate
from nnopt_course.quantization.post_training import kernel_sizes, quantize, sensitivity
from nnopt_course.quantization.ranges import percentile
from nnopt_course.quantization.scheme import Scheme
from nnopt_course.quantization.simulated.calibration import calibrate
from nnopt_course.quiet import import_quietly

keras = import_quietly("keras")
pytestmark = pytest.mark.keras


def batches(model, *, count=3, seed=0):
    """Calibration batches for a model with one input."""
    rng = np.random.default_rng(seed)
    shape = (16, *model.inputs[0].shape[1:])
    return [rng.normal(size=shape).astype(np.float32) for _ in range(count)]


@pytest.fixture
def trained_norms(residual_model):
    """The residual model with statistics that are not the initial ones."""
    rng = np.random.default_rng(1)
    for layer in residual_model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            for variable in layer.weights:
                variable.assign(rng.uniform(0.5, 1.5, variable.shape))
    return residual_model


def test_ranges_are_those_of_the_float_network(trained_norms):
    inputs = batches(trained_norms)
    model = quantize(trained_norms, inputs, Scheme(2, 8)).model
    probe = keras.Model(trained_norms.inputs, trained_norms.get_layer("relu_a").output)
    values = np.concatenate([np.asarray(probe(batch)) for batch in inputs])
    [relu] = [q for q in quantizers(model) if q.name == "relu_a_quantizer"]
    np.testing.assert_allclose([relu.lo, relu.hi], [0, values.max()], rtol=1e-5)
    assert not any(q.trainable for q in quantizers(model))


def test_the_range_rule_is_used():
    model, inputs = small(), [np.linspace(-1, 1, 12_000).reshape(1000, 12)]
    wide = quantize(model, inputs).model
    narrow = quantize(model, inputs, rule=percentile(90)).model
    ends = [float(next(quantizers(m)).hi) for m in (wide, narrow)]
    assert ends[0] == pytest.approx(1.0)
    assert 0.5 < ends[1] < 0.95


def test_an_observer_of_ones_own_fits_in():
    class Always:
        def update(self, batch):
            assert batch.dtype == np.float32

        def range(self):
            return -2.0, 3.0

    model = prepare(small()).model
    calibrate(model, batches(model), Always)
    assert {(float(q.lo), float(q.hi)) for q in quantizers(model)} == {(-2.0, 3.0)}


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="LiteRT's converter")
def test_the_file_is_that_of_litert_s_own_post_training_quantization(tmp_path):
    from nnopt_course.quantization.litert_recipes import full_int8
    from nnopt_course.quantization.simulated.litert_export import export
    from nnopt_course.transfer.targets import litert

    model = small()
    inputs = batches(model)
    ours = export(quantize(model, inputs).model, tmp_path / "ours.tflite")
    theirs = litert.export(model, tmp_path / "theirs.tflite", quantize=full_int8(inputs))
    scales = []
    for artifact in (ours, theirs):
        interpreter = import_quietly("ai_edge_litert.interpreter").Interpreter(str(artifact.path))
        interpreter.allocate_tensors()
        details = interpreter.get_tensor_details()
        scales.append(
            sorted(np.ravel(d["quantization_parameters"]["scales"]).tolist() for d in details)
        )
    for mine, other in zip(*scales, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-5)
    x = batches(model, count=1, seed=7)[0]
    np.testing.assert_array_equal(ours.load().predict(x), theirs.load().predict(x))


def test_the_report_measures_noise_by_layer():
    model = small()
    inputs = batches(model)
    found = {}
    for bits in (8, 4, 2):
        for row in quantize(model, inputs, Scheme(bits, 8)).report.rows:
            found[bits, row["layer"]] = row
    for layer in ("hidden", "logits"):
        noises = [found[bits, layer]["weight_sqnr_db"] for bits in (8, 4, 2)]
        assert noises[0] > noises[1] + 15 > noises[2] + 15
        assert found[8, layer]["output_sqnr_db"] > found[4, layer]["output_sqnr_db"]
    kernel = np.asarray(model.get_layer("hidden").kernel)
    step = np.abs(kernel).max(axis=0) / 7
    noise = kernel - np.clip(np.rint(kernel / step), -7, 7) * step
    expected = 10 * np.log10(np.square(kernel).sum() / np.square(noise).sum())
    assert found[4, "hidden"]["weight_sqnr_db"] == pytest.approx(expected, abs=1e-3)


def test_steps_of_least_squared_error_lose_less_at_few_bits():
    model = small()
    losses = {
        step: quantize(model, batches(model), Scheme(3, 8, step=step)).report.rows[0][
            "weight_sqnr_db"
        ]
        for step in ("max", "mse")
    }
    assert losses["mse"] > losses["max"] + 0.5


def test_one_output_is_computed_as_by_hand():
    model = small()
    inputs = batches(model)
    quantized = quantize(model, inputs, Scheme(4, None)).model
    hidden, logits = quantized_layers(quantized)
    x = inputs[0]
    h = np.maximum(x @ np.asarray(hidden.quantized_kernel()), 0)  # Biases are 0.
    np.testing.assert_allclose(
        quantized(x), h @ np.asarray(logits.quantized_kernel()), rtol=1e-4, atol=1e-5
    )


def test_nothing_listens_afterwards():
    model = quantize(small(), batches(small())).model
    assert all(layer.tap is None for layer in [*quantizers(model), *quantized_layers(model)])


def test_first_and_last_in_float_lose_less(trained_norms):
    inputs = batches(trained_norms)
    expected = np.asarray(trained_norms(inputs[0]))
    errors = []
    for exclude in ((), ("conv_a", "logits")):
        model = quantize(trained_norms, inputs, Scheme(3, 8), exclude=exclude).model
        errors.append(np.square(np.asarray(model(inputs[0])) - expected).mean())
    assert errors[1] < errors[0]


def test_bits_by_layer_under_a_budget(trained_norms):
    inputs = batches(trained_norms, count=1)
    sizes = kernel_sizes(trained_norms)
    errors = sensitivity(trained_norms, inputs, bits=(2, 4, 8))
    assert set(sizes) == {"conv_a", "conv_b", "depthwise", "logits"}
    for by_bits in errors.values():
        assert by_bits[2] > by_bits[4] > by_bits[8]
    budget = sum(sizes.values()) // 2
    bits = allocate(sizes, errors, budget_bytes=budget)
    layers = {layer: Scheme(width, 8, step="mse") for layer, width in bits.items()}
    report = quantize(trained_norms, inputs, layers).report
    assert {r["layer"]: r["weight_bits"] for r in report.rows if r["layer"] in bits} == bits


def test_one_sample_is_enough():
    model = small()
    quantized = quantize(model, [np.ones((1, 12))]).model
    assert np.isfinite(np.asarray(quantized(np.ones((2, 12))))).all()


def test_a_constant_zero_input_gets_a_range():
    quantized = quantize(small(), [np.zeros((4, 12))]).model
    assert np.asarray(quantized(np.ones((2, 12)))).tolist() == np.zeros((2, 5)).tolist()


@pytest.mark.parametrize(
    ("calibration", "match"),
    [
        ([], "at least one batch; received none"),
        ([np.zeros((0, 12))], "n ≥ 1"),
        ([np.full((2, 12), np.nan)], "must be finite"),
        ([np.ones((2, 12)), np.full((2, 12), np.inf)], "must be finite"),
    ],
)
def test_calibration_without_numbers_is_refused(calibration, match):
    with pytest.raises(ValueError, match=match):
        quantize(small(), calibration)


def test_all_zero_channels():
    model = small()
    kernel = np.array(model.get_layer("hidden").kernel)
    kernel[:, 3] = 0
    model.get_layer("hidden").kernel.assign(kernel)
    for step in ("max", "mse"):
        [hidden, _] = quantized_layers(quantize(model, batches(model), Scheme(4, step=step)).model)
        assert not np.asarray(hidden.quantized_kernel())[:, 3].any()
