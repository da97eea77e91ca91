"""The JAX backend: models into files and back, in a process of its own."""

import pytest
from helpers import on_jax

pytestmark = pytest.mark.keras
pytest.importorskip("jax")

# What differs between the backends: how models compute, and types of numbers.
TESTS = [
    "test_networks_that_are_not_ours[nested]",
    "test_a_layer_that_is_called_twice_is_one_layer_again",
    "test_other_types_of_numbers_become_float32[bfloat16]",
]


def test_the_tests_of_the_tensorflow_backend_pass_on_jax():
    file = "tests/compression/test_container.py"
    result = on_jax("-m", "pytest", "-q", *(f"{file}::{test}" for test in TESTS))
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"{len(TESTS)} passed" in result.stdout, result.stdout
