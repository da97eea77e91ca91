from html.parser import HTMLParser
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pytest

from nnopt_course.evaluation import Candidate, Report, evaluate
from nnopt_course.weights import Weight

SPLIT = SimpleNamespace(x=np.eye(4, 3), y=np.array([0, 1, 2, 1]))


def swap(x):
    return x @ np.eye(3)[[0, 2, 1]]


@pytest.fixture
def report(tmp_path):
    path = tmp_path / "model.bin"
    path.write_bytes(bytes(1234))
    kernel = Weight("d/kernel", "d", "Dense", "kernel", np.diag([1.0, 2.0]), (0,), (1,), 3)
    candidates = {
        "right": Candidate(lambda x: x, path, {"d/kernel": kernel}),
        "swapped <b>": Candidate(swap),
    }
    return evaluate(candidates, SPLIT)


def test_measures_by_hand(report):
    right, swapped = report.rows
    # Row 4 is all zeros: its prediction is class 0 for both, its label is 1.
    assert (right["error_percent"], swapped["error_percent"]) == (25.0, 75.0)
    assert (right["flips"], swapped["flips"]) == (0, 2)
    assert (right["max_abs_dlogit"], swapped["max_abs_dlogit"]) == (0.0, 1.0)
    assert right["bytes"] == 1234
    assert right["gzip_bytes"] < 100
    assert (right["sparsity_percent"], right["macs"], right["effective_macs"]) == (50.0, 12, 6)
    assert right["speedup"] == 1.0
    assert right["latency_us"] > 0
    assert "bytes" not in swapped


def test_baseline_is_the_first_or_the_named_one():
    candidates = {"a": Candidate(swap), "b": Candidate(lambda x: x)}
    assert evaluate(candidates, SPLIT, latency_batch=None).baseline == "a"
    report = evaluate(candidates, SPLIT, baseline="b", latency_batch=None)
    assert [row["flips"] for row in report.rows] == [2, 0]


def test_latency_is_measured_on_that_many_images():
    sizes = set()
    predict = lambda x: sizes.add(len(x)) or x  # noqa: E731
    evaluate({"a": Candidate(predict)}, SPLIT, latency_batch=3)
    assert sizes == {4, 3}
    sizes.clear()
    assert (
        "latency_us" not in evaluate({"a": Candidate(predict)}, SPLIT, latency_batch=None).rows[0]
    )
    assert sizes == {4}


def test_frame_has_the_numbers(report):
    frame = report.to_frame()
    assert list(frame.index) == ["right", "swapped <b>"]
    assert frame.loc["right", "bytes"] == 1234
    assert np.isnan(frame.loc["swapped <b>", "bytes"])


def test_text_is_aligned_and_shows_what_is_missing(report):
    head, first, second = str(report).splitlines()
    assert head.startswith("name         error, %  flips")
    assert first.startswith("right           25.00      0")
    assert second.startswith("swapped <b>     75.00      2")
    assert head.index("bytes") + len("bytes") == first.index("1,234") + len("1,234")
    assert "–" in second


def test_only_some_columns_are_left(report):
    few = report.only("latency_us", "bytes")
    assert str(few).splitlines()[0].split() == ["name", "bytes", "latency", "(IQR),", "µs"]
    assert [set(row) for row in few.rows] == [
        {"name", "bytes", "latency_us", "latency_iqr_us"},
        {"name", "latency_us", "latency_iqr_us"},
    ]
    assert few.baseline == report.baseline
    assert "flips" in report.rows[0]
    with pytest.raises(ValueError, match=r"one of \['error_percent', .*received 'speed'"):
        report.only("bytes", "speed")


class Table(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.cells, self.open = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.open.append(tag)
        if tag in ("th", "td"):
            self.cells.append([tag, dict(attributes).get("scope"), ""])

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("th", "td"):
            self.cells[-1][2] += data


def test_html_is_a_table_with_scoped_headers_and_escaped_names(report):
    table = Table(report._repr_html_())
    assert table.open == []
    headers = [cell for cell in table.cells if cell[0] == "th"]
    assert [text for _, scope, text in headers if scope == "row"] == ["right", "swapped <b>"]
    columns = [text for _, scope, text in headers if scope == "col"]
    assert columns[:3] == ["name", "error, %", "flips"]
    assert len(table.cells) == 3 * len(columns)


def test_a_spread_stands_behind_its_median():
    row = {"name": "a", "latency_us": 1234.56, "latency_iqr_us": 7.0}
    head, line = str(Report((row,), "a")).splitlines()
    assert head.split() == ["name", "latency", "(IQR),", "µs"]
    assert line.split() == ["a", "1,234.6", "(7.0)"]
    assert list(Report((row,), "a").to_frame()) == ["latency_us", "latency_iqr_us"]


def test_columns_nobody_measured_are_left_out():
    report = Report(({"name": "a", "flips": 1, "bytes": None},), "a")
    assert str(report) == repr(report) == "name  flips\na         1"


def test_plot_draws_one_column(report):
    ax = report.plot("error_percent")
    assert [bar.get_width() for bar in ax.patches] == [25.0, 75.0]
    assert ax.get_xlabel() == "error, %"
    plt.close("all")
    assert len(report.plot("bytes").patches) == 1
    plt.close("all")
    with pytest.raises(ValueError, match="received 'energy'"):
        report.plot("energy")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        pytest.param({"candidates": {}}, ValueError, "at least one candidate", id="nobody"),
        pytest.param({"baseline": "b"}, ValueError, "received 'b'", id="unknown-baseline"),
        pytest.param({"latency_batch": 5}, ValueError, r"\[1, 4\]; received 5", id="big-batch"),
        pytest.param({"latency_batch": 0}, ValueError, r"\[1, 4\]; received 0", id="batch-0"),
        pytest.param(
            {"candidates": {"a": Candidate(lambda x: x, "nowhere.tflite")}},
            FileNotFoundError,
            "nowhere",
            id="missing-file",
        ),
        pytest.param(
            {"candidates": {"a": Candidate(lambda x: x * np.nan)}}, ValueError, "finite", id="nan"
        ),
        pytest.param(
            {"split": SimpleNamespace(x=SPLIT.x, y=np.array([0, 1, 2, 3]))},
            ValueError,
            r"\[0, 3\); received 3",
            id="label",
        ),
    ],
)
def test_bad_input_is_refused(arguments, error, message):
    usual = {"candidates": {"a": Candidate(lambda x: x)}, "split": SPLIT}
    with pytest.raises(error, match=message):
        evaluate(**(usual | arguments))


def test_sizes_are_read_before_anything_runs():
    def never(x):
        raise AssertionError("ran")

    candidates = {"a": Candidate(never), "b": Candidate(never, "nowhere.tflite")}
    with pytest.raises(FileNotFoundError):
        evaluate(candidates, SPLIT)
