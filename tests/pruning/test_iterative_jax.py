"""The same code on the JAX backend. Keras takes one backend a process, so these run in others."""

import numpy as np
import pytest
from helpers import on_jax

from nnopt_course.pruning.iterative import IterativePruning, strip
from nnopt_course.pruning.schedules import constant
from nnopt_course.quiet import import_quietly
from nnopt_course.weights import kernels

keras = import_quietly("keras")
pytestmark = pytest.mark.keras
pytest.importorskip("jax")

# What differs between the backends: how state is held, compiled, saved, and how averages and
# accumulated gradients are kept.
TESTS = (
    "zeros_stay_zero_in_every_step_under and (momentum or AdamW or moving or accumulation)",
    "masks_follow_the_schedule_step_by_step",
    "the_validation_at_the_end_of_an_epoch",
    "resumed_from_a_file and 2",
    "residual_model",
    "mixed_precision",
    "swapped_averages",
)
SCRIPT = """
import sys
import numpy as np
from nnopt_course.pruning.iterative import IterativePruning, keras
from nnopt_course.pruning.schedules import constant
assert keras.backend.backend() == "jax", keras.backend.backend()
model = keras.models.load_model(sys.argv[1])
pruner = IterativePruning(constant(0.8))
model.compile(pruner.wrap(keras.optimizers.AdamW(1e-2)), "mse")
model.fit(np.ones((64, 30)), np.ones((64, 7)), epochs=2, verbose=0, callbacks=[pruner])
np.savez(sys.argv[2], **pruner.masks)
model.save(sys.argv[3])
"""


def test_the_tests_of_the_tensorflow_backend_pass_on_jax():
    expression = " or ".join(f"({test})" for test in TESTS)
    result = on_jax("-m", "pytest", "-q", "tests/pruning/test_iterative.py", "-k", expression)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "11 passed" in result.stdout


def test_the_same_weights_get_the_same_masks_as_on_tensorflow(tmp_path):
    start, masks, trained = (tmp_path / name for name in ("start.keras", "masks.npz", "jax.keras"))
    layers = [keras.Input((30,)), keras.layers.Dense(40, name="a"), keras.layers.Dense(7, name="b")]
    model = keras.Sequential(layers)
    model.save(start)
    result = on_jax("-c", SCRIPT, str(start), str(masks), str(trained))
    assert result.returncode == 0, result.stderr

    pruner = IterativePruning(constant(0.8))
    model.compile(pruner.wrap(keras.optimizers.AdamW(1e-2)), "mse")
    model.fit(np.ones((8, 30)), np.ones((8, 7)), verbose=0, callbacks=[pruner])
    with np.load(masks) as theirs:
        assert set(theirs) == set(pruner.masks) == {"a/kernel", "b/kernel"}
        for path, mask in pruner.masks.items():
            np.testing.assert_array_equal(theirs[path], mask)

    from_jax = keras.models.load_model(trained)  # Masks and all.
    for path, array in kernels(strip(from_jax)).items():
        np.testing.assert_array_equal(array != 0, pruner.masks[path])
