"""A float network without a framework: arrays, and a list of what is done with them.

- :mod:`~nnopt_course.transfer.float_network.operations`: dense layers, convolutions, pooling, sums
- :mod:`~nnopt_course.transfer.float_network.network`: a list of operations, and how it is run
- :mod:`~nnopt_course.transfer.float_network.keras_reader`: a Keras model as such a list
"""
