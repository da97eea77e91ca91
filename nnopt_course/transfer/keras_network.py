"""A network in a ``.keras`` file, run by Keras on whatever backend this process has.

These functions are called in a second process (:mod:`~nnopt_course.transfer.backend_process`);
arrays go in, arrays come out.

Taught in: part 4, adapt before or after shipping.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from nnopt_course.data import Split
from nnopt_course.evaluation import latency
from nnopt_course.layer_report import LayerReport
from nnopt_course.quiet import import_quietly
from nnopt_course.transfer.fine_tuning import fine_tune
from nnopt_course.transfer.layer_outputs import layer_outputs
from nnopt_course.weights import get_weights

keras = import_quietly("keras")

__all__ = ["fine_tuned", "input_shape", "layers", "place", "predict", "run", "seconds_per_call"]

#: Images at a time: the compiled function is made once for this many, and once for what is left.
CHUNK = 256
#: No new round of timing starts after this.
SECONDS = 2.0


@functools.cache
def _network(path: str) -> tuple[Any, Callable[[Any], Any]]:
    """The model, and its answer as one compiled function. Read once a process."""
    model = keras.saving.load_model(path, compile=False)
    return model, _compiled(model)


def _compiled(model: Any) -> Callable[[Any], Any]:
    """``images → logits`` as each backend compiles it; the call waits for the result."""
    backend = keras.backend.backend()
    if backend == "jax":
        jax = import_quietly("jax")
        weights = (
            [v.value for v in model.trainable_variables],
            [v.value for v in model.non_trainable_variables],
        )
        answer = jax.jit(lambda w, x: model.stateless_call(*w, x, training=False)[0])
        return lambda x: answer(weights, x).block_until_ready()
    if backend == "tensorflow":
        return import_quietly("tensorflow").function(lambda x: model(x, training=False))
    torch = import_quietly("torch")

    def without_gradients(x: Any) -> Any:
        with torch.no_grad():
            return model(x, training=False)

    return without_gradients


def input_shape(path: str) -> tuple[int | None, ...]:
    """Shape of one image; the file is read."""
    return tuple(_network(path)[0].input_shape[1:])


def predict(path: str, x: np.ndarray) -> np.ndarray:
    """Logits of images ``(n, …)``, float32 ``(n, classes)``."""
    _, answer = _network(path)
    parts = (_tensor(x[i : i + CHUNK]) for i in range(0, len(x), CHUNK))
    return np.concatenate([keras.ops.convert_to_numpy(answer(p)) for p in parts])


def layers(path: str, x: np.ndarray) -> dict[str, np.ndarray]:
    """Layer name → what it answers, float32 ``(n, …)``, in order."""
    return layer_outputs(_network(path)[0], x)


def fine_tuned(
    path: str, x: np.ndarray, y: np.ndarray, *how: Any
) -> tuple[dict[str, np.ndarray], LayerReport, tuple[float, ...]]:
    """Train the network of a file: path → array of each weight that changed, report, losses.

    Args:
        path: of a ``.keras`` file.
        x: images.
        y: labels.
        *how: include, exclude and descent of :func:`~nnopt_course.transfer.fine_tuning.fine_tune`.
    """
    include, exclude, descent = how
    model = keras.saving.load_model(path, compile=False)
    tuned = fine_tune(model, Split(x, y), include=include, exclude=exclude, descent=descent)
    moved = {row["path"] for row in tuned.report.rows if row["change"]}
    weights = get_weights(tuned.model)
    arrays = {path: weight.value for path, weight in weights.items() if path in moved}
    return arrays, tuned.report, tuned.losses


_placed: dict[str, Any] = {}


def place(path: str, x: np.ndarray) -> None:
    """Put images where :func:`run` finds them, and compile for their number."""
    _placed[path] = _tensor(x)
    run(path)


def run(path: str) -> None:
    """The bare run on the placed images."""
    _network(path)[1](_placed[path])


def seconds_per_call(path: str, x: np.ndarray) -> float:
    """Seconds of one bare run on these images: a median, measured in here."""
    _, answer = _network(path)
    images = _tensor(x)
    return latency.measure({"run": lambda: answer(images)}, budget_s=SECONDS)["run"].median_s


def _tensor(x: np.ndarray) -> Any:
    return keras.ops.convert_to_tensor(np.ascontiguousarray(x, np.float32))
