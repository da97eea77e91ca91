"""TensorFlow's Model Optimization Toolkit (tfmot), with Keras 3 models and our schedules' terms.

While it loads, tfmot sets the environment variable ``TF_USE_LEGACY_KERAS``, which would turn
``tf.keras`` into tf_keras for everybody else in the process. Here, ``tf.keras`` is bound before
that, and the variable is put back.

Taught in: part 5, quantization-aware training, and sharing and sparse levels; part 6, the same
pruning with tfmot.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from nnopt_course.pruning.allocation import check_sparsity
from nnopt_course.pruning.schedules import polynomial
from nnopt_course.quiet import import_quietly
from nnopt_course.tfmot_bridge.training import only_errors
from nnopt_course.tfmot_bridge.translate import tf_keras, to_keras, to_tf_keras
from nnopt_course.weights import kernels

__all__ = [
    "Wrapped",
    "cluster_weights",
    "masks",
    "one_shot_masks",
    "prune_low_magnitude",
    "quantize_aware",
    "quantized_kernels",
    "strip_clustering",
    "strip_pruning",
]


def _import_tfmot() -> ModuleType:
    legacy = os.environ.get("TF_USE_LEGACY_KERAS")
    try:
        tf = import_quietly("tensorflow")
        _ = tf.keras.layers  # From here on, tf.keras stays what it is.
        return import_quietly("tensorflow_model_optimization")
    finally:
        os.environ.pop("TF_USE_LEGACY_KERAS", None)
        if legacy is not None:
            os.environ["TF_USE_LEGACY_KERAS"] = legacy


tfmot = _import_tfmot()


@dataclass(frozen=True)
class Wrapped:
    """A model that tfmot prunes while it trains.

    Args:
        model: the tf_keras model in tfmot's wrappers, not compiled.
        callbacks: what its ``fit`` needs.
    """

    model: Any
    callbacks: list[Any]


def prune_low_magnitude(
    model: Any, final: float, *, start: int, end: int, every: int = 100, power: float = 3
) -> Wrapped:
    """Wrap a copy of a Keras 3 model for tfmot's pruning, with our schedule's parameters.

    The arguments mean what they mean in :func:`nnopt_course.pruning.schedules.polynomial` and
    :class:`nnopt_course.pruning.iterative.IterativePruning`. tfmot counts the step that is about to
    be made, we count those that have been made, so its ``begin_step`` is ``start + 1``.

    Args:
        model: a built Keras 3 model.
        final: sparsity from ``end`` on, in [0, 1).
        start: step at which pruning starts, from 0 %; a multiple of ``every``.
        end: step at which the final sparsity is reached; ``every`` divides ``end − start``,
            because tfmot would otherwise never reach it.
        every: steps between two updates of the masks.
        power: of the polynomial.

    Returns:
        The wrapped model and its callbacks.

    Raises:
        TypeError, ValueError: as :func:`to_tf_keras`, and for a schedule out of range.
    """
    polynomial(final, start=start, end=end, power=power)  # For its checks.
    if every < 1 or start % every or (end - start) % every:
        raise ValueError(
            f"every must be at least 1 and divide start and end; "
            f"received every={every}, start={start}, end={end}"
        )
    schedule = tfmot.sparsity.keras.PolynomialDecay(
        0.0, final, begin_step=start + 1, end_step=end + 1, power=power, frequency=every
    )
    wrapped = tfmot.sparsity.keras.prune_low_magnitude(to_tf_keras(model), schedule)
    return Wrapped(wrapped, [tfmot.sparsity.keras.UpdatePruningStep()])


def strip_pruning(model: Any) -> Any:
    """Take tfmot's wrappers off, and bring the model back to Keras 3.

    Args:
        model: what :func:`prune_low_magnitude` wrapped, trained.

    Returns:
        A Keras 3 model with zeros in place, not compiled.
    """
    return to_keras(tfmot.sparsity.keras.strip_pruning(model))


def masks(model: Any) -> dict[str, np.ndarray]:
    """The masks of a model in tfmot's wrappers.

    Args:
        model: what :func:`prune_low_magnitude` wrapped.

    Returns:
        path → boolean array, True where a weight stays; paths as in :mod:`nnopt_course.weights`.
    """
    return {
        f"{wrapper.layer.name}/kernel": mask.numpy().astype(bool)
        for wrapper in model.layers
        for _, mask, _ in getattr(wrapper, "pruning_vars", [])
    }


def one_shot_masks(model: Any, sparsity: float, **options: Any) -> dict[str, np.ndarray]:
    """The masks that tfmot finds for the weights that a model has now.

    tfmot finds masks only while it trains, so a copy makes one step with a learning rate of zero.

    Args:
        model: a built Keras 3 model with one input and one output.
        sparsity: fraction to remove, in [0, 1).
        **options: of tfmot's ``prune_low_magnitude``: ``sparsity_m_by_n=(2, 4)``,
            ``block_size=(rows, columns)``, ``block_pooling_type="AVG"`` or ``"MAX"``.

    Returns:
        path → boolean array, True where a weight stays.

    Raises:
        TypeError, ValueError: as :func:`to_tf_keras`, and for a sparsity out of range.
    """
    schedule = tfmot.sparsity.keras.ConstantSparsity(check_sparsity(sparsity), 0, frequency=1)
    wrapped = tfmot.sparsity.keras.prune_low_magnitude(to_tf_keras(model), schedule, **options)
    wrapped.compile(tf_keras.optimizers.SGD(0.0), "mse")
    x, y = (np.zeros((1, *shape[1:])) for shape in (model.input_shape, model.output_shape))
    with only_errors():  # TensorFlow would warn of many small models that are traced in a row.
        wrapped.fit(x, y, verbose=0, callbacks=[tfmot.sparsity.keras.UpdatePruningStep()])
    return masks(wrapped)


def quantize_aware(model: Any, *, keep_zeros: bool = False, keep_clusters: bool = False) -> Any:
    """Prepare a copy of a Keras 3 model for tfmot's quantization-aware training.

    tfmot calls it PQAT if zeros are kept, CQAT if clusters are, and PCQAT if both are.

    Args:
        model: a built Keras 3 model.
        keep_zeros: weights that are zero stay zero while it trains.
        keep_clusters: weights of a kernel that are equal stay equal while it trains.

    Returns:
        A tf_keras model with fake quantization, not compiled.

    Raises:
        TypeError, ValueError: as :func:`to_tf_keras`.
        RuntimeError: tfmot cannot quantize one of the layers; it is named.
    """
    theirs = to_tf_keras(model)
    combine, quantization = tfmot.experimental.combine, tfmot.quantization.keras
    if keep_clusters:
        scheme = combine.Default8BitClusterPreserveQuantizeScheme(preserve_sparsity=keep_zeros)
    elif keep_zeros:
        scheme = combine.Default8BitPrunePreserveQuantizeScheme()
    else:
        return quantization.quantize_model(theirs)
    return quantization.quantize_apply(quantization.quantize_annotate_model(theirs), scheme)


def quantized_kernels(model: Any) -> dict[str, np.ndarray]:
    """The kernels that a model of tfmot's quantization-aware training computes with.

    Args:
        model: what :func:`quantize_aware` made, after at least one step of training.

    Returns:
        path → array, rounded to what 8 bits stand for; paths as in :mod:`nnopt_course.weights`.
    """
    return {
        f"{wrapper.layer.name}/kernel": quantizer(weight, False, weights=ranges).numpy()
        for wrapper in model.layers
        for weight, quantizer, ranges in getattr(wrapper, "_weight_vars", [])
    }


def cluster_weights(
    model: Any, clusters: int, *, start: str = "linear", keep_zeros: bool = True
) -> Any:
    """Wrap a copy of a Keras 3 model for tfmot's weight sharing.

    tfmot does not run k-means to its end first: each weight takes the nearest of the starting
    values, and training does the rest. In every step it moves the values *and* the weights behind
    them, and assigns anew.

    Args:
        model: a built Keras 3 model.
        clusters: most values a kernel, zero included.
        start: "linear", "density", "random" or "k-means++".
        keep_zeros: weights that are zero stay exactly zero, if the model has any. tfmot then gives
            one value of every kernel to zero, also of a kernel that has none.

    Returns:
        A tf_keras model in tfmot's wrappers, not compiled. It needs no callback.

    Raises:
        TypeError: as :func:`to_tf_keras`.
        ValueError: as :func:`to_tf_keras`; the start is unknown, or tfmot refuses the clusters.
    """
    ways = tfmot.clustering.keras.CentroidInitialization
    starts = {
        "linear": ways.LINEAR,
        "density": ways.DENSITY_BASED,
        "random": ways.RANDOM,
        "k-means++": ways.KMEANS_PLUS_PLUS,
    }
    if start not in starts:
        raise ValueError(f"start must be one of {', '.join(starts)}; received {start!r}")
    theirs = to_tf_keras(model)
    if keep_zeros and any((kernel == 0).any() for kernel in kernels(model).values()):
        # Where tfmot's own guide imports it from; its public names lead to an empty package.
        path = f"{tfmot.__name__}.python.core.clustering.keras.experimental.cluster"
        experimental = import_quietly(path)
        return experimental.cluster_weights(theirs, clusters, starts[start], preserve_sparsity=True)
    return tfmot.clustering.keras.cluster_weights(theirs, clusters, starts[start])


def strip_clustering(model: Any) -> Any:
    """Take tfmot's wrappers off, and bring the model back to Keras 3.

    Args:
        model: what :func:`cluster_weights` wrapped, trained.

    Returns:
        A Keras 3 model whose kernels hold the shared values, not compiled.
    """
    return to_keras(tfmot.clustering.keras.strip_clustering(model))
