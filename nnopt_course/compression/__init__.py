"""Integers to few bytes, exactly.

A coder of a sparse matrix has one signature: ``encode(matrix) -> bytes`` and
``decode(bytes, shape) -> matrix``. There are two:

- :mod:`~nnopt_course.compression.deep_compression`: :mod:`~nnopt_course.compression.gaps` and
  values, each by :mod:`~nnopt_course.compression.huffman`
- :mod:`~nnopt_course.compression.context_mixing`: bits that
  :mod:`~nnopt_course.compression.mixing` predicts, through
  :mod:`~nnopt_course.compression.arithmetic`

:mod:`~nnopt_course.compression.entropy` says how close they come, and
:mod:`~nnopt_course.compression.numbers` writes lengths.
"""
