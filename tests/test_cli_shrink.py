import numpy as np
import pytest
from typer.testing import CliRunner

from nnopt_course import models
from nnopt_course.cli import app
from nnopt_course.quiet import import_quietly

pytestmark = pytest.mark.keras
keras = import_quietly("keras")


@pytest.fixture
def pruned_file(tmp_path):
    """A network of which 200 of 256 hidden neurons are fed by zeros, and answer one half."""
    model = models.mlp()
    hidden = model.get_layer("hidden")
    hidden.kernel.assign(hidden.kernel * (np.arange(256) >= 200))
    hidden.bias.assign(np.full(256, 0.5))
    model.save(tmp_path / "pruned.keras")
    return tmp_path / "pruned.keras"


def run(*arguments):
    return CliRunner().invoke(app, ["shrink", *map(str, arguments)])


def test_shrink_writes_a_smaller_model_that_computes_the_same(pruned_file, tmp_path):
    output = tmp_path / "small.keras"
    before = pruned_file.read_bytes()
    result = run(pruned_file, "-o", output)
    assert result.exit_code == 0, result.output
    small, large = keras.models.load_model(output), keras.models.load_model(pruned_file)
    assert [w.shape for w in small.weights] == [(784, 56), (56,), (56, 10), (10,)]
    x = np.random.default_rng(0).normal(size=(8, 784)).astype("float32")
    np.testing.assert_allclose(np.asarray(small(x)), np.asarray(large(x)), atol=1e-5)
    assert pruned_file.read_bytes() == before


def test_shrink_shows_the_plan_the_shapes_and_the_bytes(pruned_file):
    result = run(pruned_file)
    output = pruned_file.with_name("pruned-shrunk.keras")
    for text in ("200: 0 1 2", "the model returns logits", "784×256 784×56", str(output)):
        assert text in result.output
    assert f"{pruned_file.stat().st_size:,} bytes" in result.output
    assert f"{output.stat().st_size:,} bytes" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.keras"], "there is no file missing.keras"),
        (["MODEL", "-o", "MODEL"], "would replace the model"),
        (["MODEL", "-o", "x.h5"], "ends in .keras; received x.h5"),
    ],
    ids=["missing", "the same file", "h5"],
)
def test_bad_input_is_refused_with_a_sentence(pruned_file, arguments, message, monkeypatch):
    monkeypatch.chdir(pruned_file.parent)
    result = run(*(pruned_file if a == "MODEL" else a for a in arguments))
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())
    assert list(pruned_file.parent.iterdir()) == [pruned_file]


def test_help_teaches():
    assert len(run("--help").output.split()) > 40
