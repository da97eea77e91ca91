"""Floats to integers.

What every part builds on:

- :mod:`~nnopt_course.quantization.affine`: the one convention, and
  :mod:`~nnopt_course.quantization.params`, what belongs to it
- :mod:`~nnopt_course.quantization.ranges`: how far the integers have to reach, from
  :mod:`histograms <nnopt_course.quantization.histogram>` and their
  :mod:`~nnopt_course.quantization.clipping`
- :mod:`~nnopt_course.quantization.weight_ranges`: the same for weights of few bits
- :mod:`~nnopt_course.quantization.scheme`: how many bits a layer gets

What is done to a Keras model:

- :mod:`~nnopt_course.quantization.post_training` rounds it, with the bits of
  :mod:`~nnopt_course.quantization.bit_allocation` if they are to differ by layer
- :mod:`~nnopt_course.quantization.aware` trains it with the rounding
- :mod:`~nnopt_course.quantization.adjustments` change it before, or repair it afterwards
- :mod:`~nnopt_course.quantization.clustering` and
  :mod:`~nnopt_course.quantization.sparse_learning` find few values that may lie anywhere;
  :mod:`~nnopt_course.quantization.trained_levels` trains them

What comes out:

- :mod:`~nnopt_course.quantization.litert_recipes` asks LiteRT's converter for quantized files
- :mod:`~nnopt_course.quantization.integer` reads such a file and runs it in integers only
- :mod:`~nnopt_course.quantization.simulated` is the network that both ways of rounding share
"""
