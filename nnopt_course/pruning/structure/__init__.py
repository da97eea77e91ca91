"""How the layers of a model hang together, and what can be removed from it as a whole.

It works on a model's graph (:mod:`nnopt_course.graph`).

- :mod:`~nnopt_course.pruning.structure.channels`: what a rule for a layer's channels is
- :mod:`~nnopt_course.pruning.structure.passing`, :mod:`~nnopt_course.pruning.structure.mixing`: the
  rules
- :mod:`~nnopt_course.pruning.structure.rules`: which layer follows which
- :mod:`~nnopt_course.pruning.structure.dead_units`: which neurons do not matter
- :mod:`~nnopt_course.pruning.structure.dependencies`: the plan of a smaller model
- :mod:`~nnopt_course.pruning.structure.reasons`: why the rest stays

:func:`nnopt_course.pruning.shrink.shrink` carries the plan out.
"""
