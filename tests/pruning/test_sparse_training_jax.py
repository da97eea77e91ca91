"""Sparse learning on the JAX backend. Keras takes one backend a process: another runs."""

import pytest
from helpers import on_jax

pytestmark = pytest.mark.keras
pytest.importorskip("jax")

# What differs between the backends: how state is held, compiled, saved, averaged, accumulated.
TESTS = {
    "test_proximal.py": (
        7,
        "step_by_step or neurons_die and (average or accumulation) or resumed and group_lasso"
        " or residual or mixed_precision",
    ),
    "test_gates.py": (
        8,
        "same_function or keeps_what_matters and connections or resumed or regularizers or nested"
        " or pays_once or mixed_precision",
    ),
    "test_rewinding.py": (
        6,
        "begins_at_the_initial or so_many_steps and (3 or 8) or residual or mixed_precision",
    ),
}


@pytest.mark.parametrize("file", TESTS)
def test_the_tests_of_the_tensorflow_backend_pass_on_jax(file):
    count, expression = TESTS[file]
    result = on_jax("-m", "pytest", "-q", f"tests/pruning/{file}", "-k", expression)
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"{count} passed" in result.stdout, result.stdout
