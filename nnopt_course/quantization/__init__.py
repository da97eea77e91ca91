"""Floats to integers.

:mod:`nnopt_course.quantization.affine` is the one convention that everything else uses;
:mod:`nnopt_course.quantization.post_training` asks LiteRT's converter for quantized files.
"""
