"""Activations, gradients and second moments on the JAX backend: the same tests, another process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.keras
pytest.importorskip("jax")


def test_the_tests_of_the_tensorflow_backend_pass_on_jax():
    files = ["tests/pruning/test_statistics.py", "tests/pruning/test_gradients.py"]
    chosen = (
        "asked_for or (loop and 4) or slope or nested or mixed or behind_the or anew"
        " or (learning_rate and (accumulated or masked))"
    )
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *files, "-k", chosen],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "KERAS_BACKEND": "jax"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert " passed" in result.stdout
