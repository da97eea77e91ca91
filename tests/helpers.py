"""A small network, and the JAX backend, for several test files."""

import os
import subprocess
import sys
from pathlib import Path

from nnopt_course.quiet import import_quietly

keras = import_quietly("keras")
ROOT = Path(__file__).parents[1]


def small(*, seed=0):
    """12-20-5, with the same weights for the same seed."""
    keras.utils.set_random_seed(seed)
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((12,)),
            layers.Dense(20, activation="relu", name="hidden"),
            layers.Dense(5, name="logits"),
        ],
        name="small",
    )


def on_jax(*arguments, cwd=ROOT):
    """Run Python with the JAX backend: Keras takes one backend a process, so this is another."""
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
    )
