"""Floats to integers.

:mod:`nnopt_course.quantization.affine` is the one convention that everything else uses;
:mod:`nnopt_course.quantization.litert_recipes` asks LiteRT's converter for quantized files.
"""
