"""Keras 3 to tf_keras and back, and from there to TensorFlow's Model Optimization Toolkit (tfmot).

tfmot takes models of tf_keras (Keras 2) only, and is not going to be ported to Keras 3.

- :mod:`~nnopt_course.tfmot_bridge.translate`: build a model again in the other Keras
- :mod:`~nnopt_course.tfmot_bridge.toolkit`: prune, quantize and cluster it with tfmot
- :mod:`~nnopt_course.tfmot_bridge.training`: train models of both Kerases on the same batches

This is the only folder that imports tfmot or tf_keras.
"""

from nnopt_course.tfmot_bridge.toolkit import (
    Wrapped,
    cluster_weights,
    masks,
    one_shot_masks,
    prune_low_magnitude,
    quantize_aware,
    quantized_kernels,
    strip_clustering,
    strip_pruning,
    tfmot,
)
from nnopt_course.tfmot_bridge.training import fit
from nnopt_course.tfmot_bridge.translate import tf_keras, to_keras, to_tf_keras

__all__ = [
    "Wrapped",
    "cluster_weights",
    "fit",
    "masks",
    "one_shot_masks",
    "prune_low_magnitude",
    "quantize_aware",
    "quantized_kernels",
    "strip_clustering",
    "strip_pruning",
    "tf_keras",
    "tfmot",
    "to_keras",
    "to_tf_keras",
]
