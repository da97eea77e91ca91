"""A small network, the JAX backend and LiteRT's kernels, for several test files."""

import os
import subprocess
import sys
from pathlib import Path

from nnopt_course.quiet import import_quietly, silence

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


def litert_integers(path, q, kernels="BUILTIN_REF"):
    """What one of LiteRT's sets of kernels makes of integers."""
    module = import_quietly("ai_edge_litert.interpreter")
    with silence():
        interpreter = module.Interpreter(
            str(path), experimental_op_resolver_type=module.OpResolverType[kernels]
        )
        source = interpreter.get_input_details()[0]["index"]
        interpreter.resize_tensor_input(source, q.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(source, q)
        interpreter.invoke()
        return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
