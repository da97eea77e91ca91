"""Statistics, gradients and RigL on the JAX backend: the same tests, in another process."""

import pytest
from helpers import on_jax

pytestmark = pytest.mark.keras
pytest.importorskip("jax")


def test_the_tests_of_the_tensorflow_backend_pass_on_jax():
    names = ("test_statistics", "test_gradients", "test_rigl")
    files = [f"tests/pruning/{name}.py" for name in names]
    chosen = (
        "asked_for or (loop and 4) or nested or behind_the or anew or connections_move"
        " or steepest_grow or (learning_rate and scaled and masked)"
    )
    result = on_jax("-m", "pytest", "-q", *files, "-k", chosen)
    assert result.returncode == 0, result.stdout + result.stderr
    assert " passed" in result.stdout
