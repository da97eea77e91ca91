"""The bytes of a packed network, and what they stand for; no framework.

From the outside to the inside:

- :mod:`~nnopt_course.compression.file_format.frame`: magic, version, checksum
- :mod:`~nnopt_course.compression.file_format.contents`: the body
- :mod:`~nnopt_course.compression.file_format.inspection`: what each part costs
- :mod:`~nnopt_course.compression.file_format.nodes`: a network as the file has it
- :mod:`~nnopt_course.compression.file_format.structure`: nodes without arrays
- :mod:`~nnopt_course.compression.file_format.kinds`: what nodes there are, and their shapes
- :mod:`~nnopt_course.compression.file_format.arrays`: what is said of arrays, their floats included
- :mod:`~nnopt_course.compression.file_format.tensors`: arrays as matrices, in their order
- :mod:`~nnopt_course.compression.file_format.values`: an array as integers and a few floats
- :mod:`~nnopt_course.compression.file_format.steps`: the step of which values are multiples
- :mod:`~nnopt_course.compression.file_format.streams`: the integers of all arrays, coded
- :mod:`~nnopt_course.compression.file_format.reader`: bytes, taken one after the other

The book has the specification on a page of its own, in part 7.
"""
