import gzip
from types import SimpleNamespace

import numpy as np
import pytest

from nnopt_course.compression.ledger import ledger, row
from nnopt_course.evaluation.latency import Latency


def weights(zeros=0):
    kernel = np.arange(1.0, 13.0).reshape(4, 3)
    kernel.ravel()[:zeros] = 0
    return {
        "conv/kernel": SimpleNamespace(value=kernel, positions=10, input_axes=(0,)),
        "conv/bias": SimpleNamespace(value=np.ones(3), positions=1, input_axes=()),
    }


LABELS = np.array([0, 1, 2, 0])
RIGHT = np.eye(3)[LABELS]


def told(stage, size, *, zeros=0, answers=RIGHT, seconds=0.0):
    return row(stage, b"x" * size, weights(zeros), answers=answers, labels=LABELS, seconds=seconds)


def test_a_ledger_by_hand():
    other = np.eye(3)[[0, 1, 1, 1]]
    report = ledger([told("start", 70), told("small", 20, zeros=6, answers=other, seconds=1.5)])
    frame = report.to_frame()
    assert list(frame.index) == ["start", "small"]
    assert frame.bytes.tolist() == [70, 20]
    assert frame.ratio.tolist() == [60 / 70, 60 / 20]  # 15 weights of 4 bytes at the start.
    assert frame.val_error_percent.tolist() == [0.0, 50.0]
    assert frame.flips.tolist() == [0, 2]
    assert frame.sparsity_percent.tolist() == [0.0, 50.0]
    assert frame.macs.tolist() == [120, 120]
    assert frame.effective_macs.tolist() == [120, 60]
    assert frame.seconds.tolist() == [0.0, 1.5]
    assert "latency_us" not in frame
    assert report.baseline == "start"
    assert "times smaller" in str(report)
    assert "validation error" in report._repr_html_()


def test_gzip_is_told_of_the_file_and_of_the_floats():
    [first, _] = ledger([told("start", 70), told("small", 20)]).rows
    floats = np.concatenate([np.arange(1, 13), np.ones(3)]).astype(np.float32).tobytes()
    assert first["gzip_bytes"] == len(gzip.compress(b"x" * 70, 9))
    assert first["float_gzip_bytes"] == len(gzip.compress(floats, 9))


def test_flips_count_other_answers_and_not_errors():
    wrong, wrong_too = (np.eye(3)[[k] * 4] for k in (1, 2))
    rows = ledger([told("start", 70, answers=wrong), told("a", 9, answers=wrong_too)]).rows
    assert [each["flips"] for each in rows] == [0, 4]
    assert [each["val_error_percent"] for each in rows] == [75.0, 75.0]


def test_latencies_stand_where_they_were_measured():
    times = {"start": Latency(2e-6, 1e-7, 1.0), "b": Latency(1e-6, 2e-7, 0.5)}
    frame = ledger([told("start", 9), told("a", 9), told("b", 9)], times=times).to_frame()
    np.testing.assert_allclose(frame.latency_us, [2.0, np.nan, 1.0])
    np.testing.assert_allclose(frame.latency_iqr_us, [0.1, np.nan, 0.2])


def test_stages_without_a_name_of_their_own_are_refused():
    with pytest.raises(ValueError, match=r"each with a name of its own; received \['a', 'a'\]"):
        ledger([told("a", 9), told("a", 9)])
    with pytest.raises(ValueError, match=r"received \[\]"):
        ledger([])
