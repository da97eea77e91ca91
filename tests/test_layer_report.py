from nnopt_course.layer_report import LayerReport

ROWS = [
    {"path": "hidden/kernel", "removed": 3, "note": ""},
    {"path": "norm/gamma", "removed": 0, "note": "not a kernel"},
]


def test_one_row_a_weight_in_every_form():
    report = LayerReport(ROWS)
    assert report.to_frame().to_dict("records") == ROWS
    assert [line.split()[0] for line in str(report).splitlines()] == [
        "path",
        "hidden/kernel",
        "norm/gamma",
    ]
    assert str(report).endswith("not a kernel")
    html = report._repr_html_()
    assert html.count("<tr") == 3
    assert "not a kernel" in html
    assert "nnopt-layers" in html
