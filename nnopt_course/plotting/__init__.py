"""Arrays to figures. Nothing is computed here.

Every function draws on the axes it is given, or on a new figure in the book's one style
(:mod:`nnopt_course.plotting.theme`), and returns the axes.
"""

from nnopt_course.plotting.bits import error_against_bits
from nnopt_course.plotting.integers import bit_rows, integer_grid, integer_maps
from nnopt_course.plotting.layouts import row_orders
from nnopt_course.plotting.levels import levels_below
from nnopt_course.plotting.parts import part_bars
from nnopt_course.plotting.ranges import error_parts, range_ends
from nnopt_course.plotting.results import (
    accuracy_against_sparsity,
    layer_sensitivity,
    report_bars,
    seed_ranges,
)
from nnopt_course.plotting.theme import COLORS, STYLE, style
from nnopt_course.plotting.weights import (
    mask_picture,
    number_line,
    rounding_error,
    weight_histogram,
)

__all__ = [
    "COLORS",
    "STYLE",
    "accuracy_against_sparsity",
    "bit_rows",
    "error_against_bits",
    "error_parts",
    "integer_grid",
    "integer_maps",
    "layer_sensitivity",
    "levels_below",
    "mask_picture",
    "number_line",
    "part_bars",
    "range_ends",
    "report_bars",
    "rounding_error",
    "row_orders",
    "seed_ranges",
    "style",
    "weight_histogram",
]
