"""Make a neural network small and fast: pruning, weight transfer, quantization, compression.

The package is read in the direction in which data flows::

    data → models → training → (pruning | transfer | quantization) → compression
                             → evaluation → plotting

- :mod:`nnopt_course.data`: MNIST, bundled and checked
- :mod:`nnopt_course.models`: the three networks of the course, trained once and cached
- :mod:`nnopt_course.training`: seeds and one training loop for the whole course
- :mod:`nnopt_course.weights`: the gateway between a Keras model and NumPy arrays
- :mod:`nnopt_course.graph`: which layer is called on which tensors, as plain data
- :mod:`nnopt_course.pruning`: scores, allocation, masks, schedules; one-shot and iterative
- :mod:`nnopt_course.transfer`: a trained network on another runtime, and the proof that it is the
    same
- :mod:`nnopt_course.quantization`: floats to integers
- :mod:`nnopt_course.distillation` and :mod:`nnopt_course.shifts`: learn from a teacher, and from
  images that move
- :mod:`nnopt_course.compression`: all of it in one file of a few kilobytes
- :mod:`nnopt_course.evaluation`: error, flips, bytes, sparsity, operations, latency: one report
- :mod:`nnopt_course.plotting`: arrays to figures
- :mod:`nnopt_course.tfmot_bridge`: to and from TensorFlow's own toolkit

Importing this package does not import TensorFlow; the modules that need it do.
"""

__version__ = "0.1.0"
