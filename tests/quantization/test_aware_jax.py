"""Quantization-aware training on the JAX backend: Keras takes one backend a process."""

import numpy as np
import pytest
from helpers import on_jax, small

from nnopt_course.quantization.aware import prepare, quantizers
from nnopt_course.quiet import import_quietly

keras = import_quietly("keras")
pytestmark = pytest.mark.keras
pytest.importorskip("jax")

# State that changes in a compiled step, gradients, files; the converter is TensorFlow's alone.
TESTS = (
    "trains_on and conv_norm_relu",
    "normalizes_by_the_batch",
    "only_learned_steps and [learned]",
    "mixed_precision",
)
SCRIPT = """
import sys
import numpy as np
from nnopt_course.quantization import aware
from nnopt_course.quantization.aware import keras
assert keras.backend.backend() == "jax"
model = keras.models.load_model(sys.argv[1])
model.compile(keras.optimizers.SGD(1e-2), "mse")
with np.load(sys.argv[2]) as batch:
    model.fit(batch["x"], batch["y"], epochs=2, shuffle=False, verbose=0)
model.save(sys.argv[3])
from nnopt_course.quantization.simulated import litert_export
try:
    litert_export.export(model, "nowhere.tflite")
except ValueError as error:
    assert "this is jax" in str(error), error
else:
    raise AssertionError("exported")
"""


def test_the_tests_of_the_tensorflow_backend_pass_on_jax():
    expression = " or ".join(f"({test})" for test in TESTS)
    result = on_jax("-m", "pytest", "-q", "tests/quantization/test_aware.py", "-k", expression)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "4 passed" in result.stdout


def test_both_backends_learn_the_same_and_the_file_can_be_written_after_it(tmp_path):
    from nnopt_course.quantization.simulated.litert_export import export

    start, batch, trained = (tmp_path / name for name in ("a.keras", "batch.npz", "b.keras"))
    model = prepare(small()).model
    model.save(start)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(64, 12)).astype("float32"), rng.normal(size=(64, 5)).astype("float32")
    np.savez(batch, x=x, y=y)
    result = on_jax("-c", SCRIPT, str(start), str(batch), str(trained))
    assert result.returncode == 0, result.stderr
    theirs = keras.models.load_model(trained)

    model.compile(keras.optimizers.SGD(1e-2), "mse")
    model.fit(x, y, epochs=2, shuffle=False, verbose=0)
    for ours, other in zip(quantizers(model), quantizers(theirs), strict=True):
        np.testing.assert_allclose(float(ours.hi), float(other.hi), rtol=1e-2)
    step = float(ours.hi - ours.lo) / 255
    assert np.abs(np.asarray(theirs(x)) - np.asarray(model(x))).max() < 3 * step
    written = export(theirs, tmp_path / "x.tflite").load().predict(x)
    assert np.abs(written - np.asarray(theirs(x))).max() < 2 * step
