"""A quantized network in integers only, as a processor without floating point computes it.

- :mod:`~nnopt_course.quantization.integer.fixed_point`: a real factor as an integer and a shift
- :mod:`~nnopt_course.quantization.integer.operations`: dense layers, convolutions, pooling, sums
- :mod:`~nnopt_course.quantization.integer.network`: a list of operations, and how it is run
- :mod:`~nnopt_course.quantization.integer.litert_file`: what stands in a LiteRT file
- :mod:`~nnopt_course.quantization.integer.litert_reader`: such a file as a network of integers
"""
