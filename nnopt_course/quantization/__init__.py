"""Floats to integers.

:mod:`nnopt_course.quantization.affine` is the one convention that everything else uses;
:mod:`nnopt_course.quantization.ranges` finds out how far the integers have to reach, and
:mod:`nnopt_course.quantization.weight_ranges` does so for weights of few bits;
:mod:`nnopt_course.quantization.post_training` rounds a trained Keras model,
:mod:`nnopt_course.quantization.aware` trains it with the rounding;
:mod:`nnopt_course.quantization.folding` and
:mod:`nnopt_course.quantization.model_equalization` change what is rounded before it is;
:mod:`nnopt_course.quantization.clustering` and :mod:`nnopt_course.quantization.sparse_learning`
find few values that may lie anywhere, :mod:`nnopt_course.quantization.clustered_training` and
:mod:`nnopt_course.quantization.level_training` train them;
:mod:`nnopt_course.quantization.litert_recipes` asks LiteRT's converter for quantized files;
:mod:`nnopt_course.quantization.integer_litert` reads such a file, and
:mod:`nnopt_course.quantization.integer_network` runs it in integers only.
"""
