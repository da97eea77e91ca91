"""What a network is worth: error, flips, bytes, sparsity, operations, latency.

One module a measure; :func:`evaluate` takes them all at once and gives a :class:`Report`.
"""

from nnopt_course.evaluation.report import Candidate, Report, evaluate

__all__ = ["Candidate", "Report", "evaluate"]
