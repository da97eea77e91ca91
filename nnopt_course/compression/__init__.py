"""Integers to few bytes, exactly.

There are two coders of sparse integers, ``encode`` and ``decode``:

- :mod:`~nnopt_course.compression.deep_compression`: :mod:`~nnopt_course.compression.gaps` and
  values, each by :mod:`~nnopt_course.compression.huffman`
- :mod:`~nnopt_course.compression.context_mixing`: bits that
  :mod:`~nnopt_course.compression.mixing` predicts, through
  :mod:`~nnopt_course.compression.arithmetic`; about
  :mod:`~nnopt_course.compression.places` and :mod:`~nnopt_course.compression.magnitudes`, from what
  was :mod:`~nnopt_course.compression.told` before

:mod:`~nnopt_course.compression.entropy` says how close they come, and
:mod:`~nnopt_course.compression.numbers` writes lengths.
"""
