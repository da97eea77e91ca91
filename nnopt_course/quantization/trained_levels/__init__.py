"""Keras kernels on few values that lie anywhere, and are trained themselves.

The values are found by :mod:`nnopt_course.quantization.clustering` or
:mod:`nnopt_course.quantization.sparse_learning`.

- :mod:`~nnopt_course.quantization.trained_levels.clustered_training`: k-means, then its centers are
  trained
- :mod:`~nnopt_course.quantization.trained_levels.level_training`: levels such as −a, 0, a are
  trained together with the weights behind them
- :mod:`~nnopt_course.quantization.trained_levels.codebook_optimizer`: the optimizer that both need
"""
