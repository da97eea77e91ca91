"""Remove weights: a score, an allocation, a mask, a schedule.

- :mod:`~nnopt_course.pruning.scores`: how much a weight matters
- :mod:`~nnopt_course.pruning.statistics`, :mod:`~nnopt_course.pruning.gradients`: what a score
  may know besides
- :mod:`~nnopt_course.pruning.granularity`: what is removed together
- :mod:`~nnopt_course.pruning.allocation`, :mod:`~nnopt_course.pruning.erdos_renyi`: how many to
  remove where
- :mod:`~nnopt_course.pruning.masks`: which ones, exactly
- :mod:`~nnopt_course.pruning.schedules`: when
- :mod:`~nnopt_course.pruning.one_shot`: all of it applied to a Keras model, once
- :mod:`~nnopt_course.pruning.iterative`: all of it, while the model trains
- :mod:`~nnopt_course.pruning.shrink`: dead neurons and channels taken out of the model;
  :mod:`~nnopt_course.pruning.structure.dependencies`: the plan of it
- :mod:`~nnopt_course.pruning.sensitivity`: how much each layer can lose
- :mod:`~nnopt_course.pruning.rewinding`: lottery tickets;
  :mod:`~nnopt_course.pruning.reinitialization`: their control
- :mod:`~nnopt_course.pruning.sparse_learning`: penalties and gates that learn zeros;
  :mod:`~nnopt_course.pruning.proximal`, :mod:`~nnopt_course.pruning.gates`: in a Keras model

Importing this package imports neither Keras nor TensorFlow.
"""
