"""Changes of a trained network that make it easier to round, or that repair what rounding did.

- :mod:`~nnopt_course.quantization.adjustments.folding`: a normalization into the layer before it
- :mod:`~nnopt_course.quantization.adjustments.equalization`: factors that even out two layers'
  channels
- :mod:`~nnopt_course.quantization.adjustments.model_equalization`: the same on a Keras model
- :mod:`~nnopt_course.quantization.adjustments.bias_correction`: what rounding shifts on average
"""
