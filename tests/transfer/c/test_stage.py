"""The rounding of C's integers, by itself: against NumPy's, for every shift and both roundings."""

import ctypes
from importlib import resources

import numpy as np
import pytest

from nnopt_course.quantization.integer.fixed_point import OutputStage, requantize
from nnopt_course.transfer.targets.c.compiler import compile_c

FRONT = "#include <stdint.h>\ntypedef int8_t net_t;\n"
BACK = """
void run(const int32_t *multiplier, const int8_t *exponent, int each, int twice, int32_t zero_point,
         const int32_t *sums, int count, int8_t *out)
{
    stage_t stage = {multiplier, exponent, each, twice, zero_point, -120, 115};
    requantize(&stage, 0, sums, count, out);
}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("stage") / "stage.so"
    kernels = resources.files("nnopt_course.transfer.targets.c") / "kernels"
    stage = (kernels / "int8" / "stage.c").read_text(encoding="utf-8")
    compile_c(FRONT + stage + BACK, path, ("-O2", "-shared", "-fPIC"))
    return ctypes.CDLL(str(path)).run


@pytest.mark.parametrize("rounding", ["single", "double"])
@pytest.mark.parametrize("each", [True, False], ids=["one a channel", "one in all"])
def test_rounds_as_numpy(run, rounding, each):
    rng = np.random.default_rng(0)
    for e in range(-31, 4):
        size = 200 if each else 1
        m = rng.integers(1 << 30, 1 << 31, size).astype(np.int32)
        exponent = np.full(size, e, np.int32)
        # Sums whose outputs are small, and a few of the largest there are.
        bound = min((1 << 31) - 1, 200 << max(0, -e), (1 << 31 - max(0, e)) - 1)
        sums = rng.integers(-bound, bound + 1, 200).astype(np.int32)
        sums[:3] = 0, bound, -bound
        out = np.empty(200, np.int8)
        small = exponent.astype(np.int8)
        run(*map(pointer, (m, small)), int(each), int(rounding == "double"), -7, pointer(sums), 200,
            pointer(out))  # fmt: skip
        stage = OutputStage(m, exponent, -7, -120, 115, rounding)
        np.testing.assert_array_equal(out, requantize(sums.astype(np.int64), stage), str(e))


def pointer(array):
    return array.ctypes.data_as(ctypes.c_void_p)
