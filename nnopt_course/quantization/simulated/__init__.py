"""A float network that computes as if its numbers were integers: fake quantization in Keras.

Quantization-aware training (:mod:`nnopt_course.quantization.aware`) and post-training quantization
(:mod:`nnopt_course.quantization.post_training`) make the same network from these parts.

- :mod:`~nnopt_course.quantization.simulated.fake_quant`: round, and let the gradient through
- :mod:`~nnopt_course.quantization.simulated.quantized_layer`: a layer with a rounded kernel
- :mod:`~nnopt_course.quantization.simulated.rewrite`: a model as a list of calls, and back
- :mod:`~nnopt_course.quantization.simulated.layer_kinds`: which layers integers can compute
- :mod:`~nnopt_course.quantization.simulated.placement`: where the rounding goes
- :mod:`~nnopt_course.quantization.simulated.insertion`: put it there
- :mod:`~nnopt_course.quantization.simulated.calibration`: ranges and errors from batches of inputs
- :mod:`~nnopt_course.quantization.simulated.litert_export`: the same rounding in a LiteRT file
"""
