"""A network in few bytes: coders, a file format, and the way from a model to such a file.

There are two coders of sparse integers, ``encode`` and ``decode``:

- :mod:`~nnopt_course.compression.deep_compression`: :mod:`~nnopt_course.compression.gaps` and
  values, each by :mod:`~nnopt_course.compression.huffman`
- :mod:`~nnopt_course.compression.context_mixing`: bits that
  :mod:`~nnopt_course.compression.mixing` predicts, through
  :mod:`~nnopt_course.compression.arithmetic`; what is asked about a matrix is in
  :mod:`~nnopt_course.compression.questions`

:mod:`~nnopt_course.compression.entropy` says how close they come, and
:mod:`~nnopt_course.compression.numbers` writes lengths.

:mod:`~nnopt_course.compression.container` packs a Keras model into a file of that, exactly, and
reads it back. How a model becomes one that packs well:

- :mod:`~nnopt_course.compression.setting`: the data and what all stages share
- :mod:`~nnopt_course.compression.stages`: train, prune, shrink, level, share, quantize-aware; what
  trains does so in :mod:`~nnopt_course.compression.epochs`
- :mod:`~nnopt_course.compression.pipeline` runs them, with a
  :mod:`~nnopt_course.compression.ledger` of what each one did
- :mod:`~nnopt_course.compression.search` picks sparsity and bits within a budget

:mod:`~nnopt_course.compression.ratios` counts such a file in the ways in which papers count.
"""
