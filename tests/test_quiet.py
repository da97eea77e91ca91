import logging
import os
import subprocess
import sys

import pytest

from nnopt_course.quiet import import_quietly, silence


def run(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )


@pytest.mark.keras
def test_importing_and_using_keras_writes_nothing():
    result = run(
        "from nnopt_course import models, training\n"
        "import numpy as np\n"
        "training.compile_classifier(models.mlp()).predict(np.zeros((2, 784)), verbose=0)",
        KERAS_BACKEND="tensorflow",
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_what_a_failing_import_logged_is_shown(tmp_path):
    (tmp_path / "loud.py").write_text(
        "import os; os.write(2, b'the native reason'); import nowhere"
    )
    result = run(
        "from nnopt_course.quiet import import_quietly; import_quietly('loud')",
        PYTHONPATH=str(tmp_path),
    )
    assert result.returncode == 1
    assert "the native reason" in result.stderr
    assert "No module named 'nowhere'" in result.stderr


def test_silence_hides_native_lines_and_gives_the_descriptor_back(capfd):
    with silence():
        os.write(2, b"hidden")
    os.write(2, b"shown")
    assert capfd.readouterr().err == "shown"


def test_silence_shows_what_it_hid_when_the_body_raises(capfd):
    def fail():
        os.write(2, b"the native reason")
        raise RuntimeError

    with pytest.raises(RuntimeError), silence():
        fail()
    assert "the native reason" in capfd.readouterr().err


@pytest.mark.keras
def test_silence_gives_interactive_logging_back():
    keras = import_quietly("keras")
    with silence():
        assert not keras.config.is_interactive_logging_enabled()
    assert keras.config.is_interactive_logging_enabled()


def test_silence_hides_what_tensorflow_tells_but_not_what_it_warns_of(caplog):
    logger = logging.getLogger("tensorflow")
    with caplog.at_level(logging.INFO, logger="tensorflow"):
        with silence():
            logger.setLevel(logging.INFO)  # As TensorFlow does in a notebook, at its first message.
            logger.info("hidden")
            logger.warning("a warning")
        logger.info("shown")
    assert [record.message for record in caplog.records] == ["a warning", "shown"]
