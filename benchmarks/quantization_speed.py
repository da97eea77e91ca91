"""Quantizing ten million weights, and calibrating on a million activations: time and memory.

Weights go to integers and back beside the bare NumPy expression; every rule for ranges sees a
million activations, in ten batches, beside one numpy.histogram of them all. Both are measured in
turns, on one core.

    python benchmarks/quantization_speed.py            writes results/quantization_speed.json
    python benchmarks/quantization_speed.py --quick    300,000 weights; prints, writes nothing
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import record
from in_turns import compare, peak_bytes

from nnopt_course.quantization import affine, ranges

WEIGHTS = (2500, 4000)
ACTIVATIONS = (10, 100_000)  # batches, values in each
SETTINGS = {
    "int8, by rows": {"axis": 0, "bits": 8},
    "int8, by columns": {"axis": 1, "bits": 8},
    "int16, by columns": {"axis": 1, "bits": 16},
    "int8, per tensor": {"axis": None, "bits": 8},
}
RULES: dict[str, ranges.Rule] = {
    "minmax": ranges.minmax(),
    "moving average": ranges.moving_average(),
    "percentile": ranges.percentile(99.99),
    "mse": ranges.mse(8),
    "entropy (KL)": ranges.entropy(8),
}


def bare(w: np.ndarray, params: affine.QuantParams) -> np.ndarray:
    """Quantize and dequantize as one would write it without a package."""
    shape = [-1 if axis == params.axis else 1 for axis in range(w.ndim)]
    scale = params.scale.reshape(shape)
    q = np.clip(np.rint(w / scale), params.qmin, params.qmax).astype(params.dtype)
    return q * scale


def there_and_back(name: str, *, rounds: int, shrink: float = 1.0) -> dict[str, Any]:
    """Time and memory of quantize and dequantize, beside the bare expression."""
    rng = np.random.default_rng(0)
    rows, columns = WEIGHTS
    w = rng.normal(0.0, 0.05, (int(rows * shrink), columns)).astype(np.float32)
    params = affine.params_for(w, symmetric=True, **SETTINGS[name])
    ours = lambda: affine.dequantize(affine.quantize(w, params), params)  # noqa: E731
    plain = lambda: bare(w, params)  # noqa: E731
    assert np.array_equal(ours(), plain())
    return {
        "what": name,
        "values": w.size,
        **_compared(ours, plain, w, rounds),
    }


def calibration(name: str, *, rounds: int, shrink: float = 1.0) -> dict[str, Any]:
    """Time and memory of a rule on activations after a ReLU, beside numpy.histogram."""
    batches, size = ACTIVATIONS
    rng = np.random.default_rng(0)
    x = np.maximum(rng.normal(size=(batches, int(size * shrink))), 0).astype(np.float32)
    ours = lambda: ranges.observe(x, RULES[name])  # noqa: E731
    plain = lambda: np.histogram(x, bins=4096)  # noqa: E731
    lo, hi = ours()
    return {
        "what": name,
        "values": x.size,
        "lo": round(lo, 3),
        "hi": round(hi, 3),
        **_compared(ours, plain, x, rounds),
    }


def _compared(
    ours: Callable[[], object], plain: Callable[[], object], values: np.ndarray, rounds: int
) -> dict[str, float]:
    """Time and memory of both, as columns."""
    times = compare(ours, plain, rounds=rounds)
    return {
        "ms": times.ours_ms,
        "bare_ms": times.bare_ms,
        "ratio": times.ratio,
        "ratio_25": times.ratio_25,
        "ratio_75": times.ratio_75,
        "peak_memory_ratio": round(peak_bytes(ours) / values.nbytes, 2),
        "bare_peak_memory_ratio": round(peak_bytes(plain) / values.nbytes, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few values, nothing written")
    quick = parser.parse_args().quick
    rounds, shrink = (3, 0.03) if quick else (25, 1.0)
    rows = [there_and_back(name, rounds=rounds, shrink=shrink) for name in SETTINGS]
    rows += [calibration(name, rounds=rounds, shrink=shrink) for name in RULES]
    print(pd.DataFrame(rows).to_string(index=False))
    if not quick:
        record.write("quantization_speed", rows)


if __name__ == "__main__":
    main()
