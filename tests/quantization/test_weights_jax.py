"""The JAX backend: what changes a model's weights for quantization, in a process of its own."""

import pytest
from helpers import on_jax

pytestmark = pytest.mark.keras
pytest.importorskip("jax")

# What differs between the backends: how state is held, compiled, saved and averaged.
TESTS = [
    "adjustments/test_folding.py::test_the_function_stays_and_the_normalizations_go[residual]",
    "adjustments/test_folding.py::test_the_function_stays_and_the_normalizations_go[nested]",
    "trained_levels/test_clustered_training.py::test_the_values_move_by_the_sum_of_their_members_gradients[Adam]",
    "trained_levels/test_clustered_training.py::test_with_averages_the_values_end_at_theirs",
    "trained_levels/test_clustered_training.py::test_zeros_stay_and_what_is_shared_stays_shared[accumulation]",
    "trained_levels/test_clustered_training.py::test_other_networks[float32]",
    "test_sparse_learning.py::test_straight_through_step_by_step[ternary]",
    "test_sparse_learning.py::test_straight_through_step_by_step[free, 8 levels]",
    "test_sparse_learning.py::test_kernels_hold_levels_and_zeros_stay[ternary-EMA]",
    "test_sparse_learning.py::test_saved_loaded_and_resumed_it_goes_on_as_if_it_had_not_stopped",
    "adjustments/test_equalization.py::test_the_function_stays_and_ranges_are_balanced[lenet]",
    "adjustments/test_equalization.py::test_the_first_layer_is_right_on_average_afterwards",
]


def test_the_tests_of_the_tensorflow_backend_pass_on_jax():
    result = on_jax("-m", "pytest", "-q", *(f"tests/quantization/{test}" for test in TESTS))
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"{len(TESTS)} passed" in result.stdout, result.stdout
