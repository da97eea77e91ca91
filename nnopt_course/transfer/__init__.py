"""A trained network on another runtime, and the proof that it is the same network.

:mod:`nnopt_course.transfer.plan` says which weights go where, in which
:mod:`~nnopt_course.transfer.layout`; :mod:`nnopt_course.transfer.targets` has one module a target;
:mod:`nnopt_course.transfer.parity` compares what two of them answer, and
:mod:`nnopt_course.transfer.parity_layers` finds the first layer that differs.
"""
