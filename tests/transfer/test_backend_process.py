import gc
import io
import os
import pickle
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from nnopt_course.transfer import backend_process
from nnopt_course.transfer.backend_process import BackendProcess, require_backend, serve


@pytest.fixture(scope="module")
def process():
    with BackendProcess("jax") as process:
        yield process


def gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_a_function_is_called_with_arrays_and_its_result_comes_back(process):
    x = np.random.default_rng(0).random((300, 784), dtype=np.float32)
    back = process.call("nnopt_course.inputs:check_images", x, (784,))
    np.testing.assert_array_equal(back, x)
    assert back.dtype == np.float32


def test_an_error_in_there_is_that_error_here_and_the_process_goes_on(process):
    with pytest.raises(ValueError, match=r"shape \(n, 5\) with n ≥ 1; received \(2, 3\)"):
        process.call("nnopt_course.inputs:check_images", np.ones((2, 3)), (5,))
    assert process.call("nnopt_course.patterns:matches", "a/b", "a") is True


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        ("os:getcwd", ValueError, "function of nnopt_course; received 'os:getcwd'"),
        ("nnopt_course_2:f", ValueError, "function of nnopt_course"),
        ("nnopt_course.nowhere:f", ModuleNotFoundError, "nowhere"),
        ("nnopt_course.inputs:nothing", AttributeError, "nothing"),
    ],
)
def test_other_functions_are_refused(process, function, error, message):
    with pytest.raises(error, match=message):
        process.call(function)


def test_what_a_function_prints_is_no_answer(process, capfd):
    with pytest.raises(TypeError, match="pickle 'module'"):
        process.call("nnopt_course.quiet:import_quietly", "this")  # Prints a poem.
    assert process.call("nnopt_course.patterns:matches", "a/b", "a") is True
    assert capfd.readouterr() == ("", "")


def test_an_error_that_is_not_built_in_is_named():
    error = backend_process._exception("XlaRuntimeError", "out of memory")
    assert type(error) is RuntimeError
    assert str(error) == "XlaRuntimeError: out of memory"
    assert type(backend_process._exception("UnicodeDecodeError", "m")) is RuntimeError
    assert type(backend_process._exception("KeyboardInterrupt", "m")) is RuntimeError


def test_a_crash_is_a_readable_error_and_leaves_nothing(capfd):
    process = BackendProcess("jax")
    assert process.call("nnopt_course.patterns:matches", "a/b", "a")
    os.kill(process._process.pid, signal.SIGKILL)
    with pytest.raises(RuntimeError, match=r"on jax ended \(exit code -9\) while it ran .*:f"):
        process.call("nnopt_course.inputs:f")
    with pytest.raises(RuntimeError, match="was closed"):
        process.call("nnopt_course.inputs:f")
    assert capfd.readouterr() == ("", "")


def test_a_crash_tells_what_was_printed_last(monkeypatch):
    monkeypatch.setenv("PYTHONMALLOC", "no such allocator")
    process = BackendProcess("jax")
    with pytest.raises(RuntimeError, match=r"it printed last: .*allocator"):
        process.call("nnopt_course.patterns:matches", "a/b", "a")


def test_arguments_that_cannot_be_sent_are_refused():
    with BackendProcess("jax") as process:
        with pytest.raises((AttributeError, TypeError, pickle.PicklingError), match="pickle"):
            process.call("nnopt_course.patterns:matches", lambda: None)
        assert process.call("nnopt_course.patterns:matches", "a/b", "a") is True


@pytest.mark.parametrize("how", ["close", "with", "forgotten"])
def test_the_process_ends(how):
    process = BackendProcess("jax")
    pid = process._process.pid
    if how == "close":
        process.close()
        process.close()
    elif how == "with":
        with process:
            pass
    else:
        del process
        gc.collect()
    assert gone(pid)


def test_it_ends_with_the_program_that_started_it():
    """Also a program without a guard: nothing runs it a second time."""
    code = (
        "from nnopt_course.transfer.backend_process import BackendProcess\n"
        "print('once')\n"
        "process = BackendProcess('jax')\n"
        "print(process._process.pid)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    once, pid = done.stdout.split()
    assert (done.stderr, once) == ("", "once")
    assert gone(int(pid))


def test_it_ends_when_its_program_is_killed():
    code = (
        "import time\n"
        "from nnopt_course.transfer.backend_process import BackendProcess\n"
        "process = BackendProcess('jax')\n"
        "print(process._process.pid, flush=True)\n"
        "time.sleep(60)"
    )
    program = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    pid = int(program.stdout.readline())
    program.kill()
    program.wait()
    program.stdout.close()
    for _ in range(200):
        if gone(pid):
            return
        time.sleep(0.05)
    raise AssertionError("it is still there")


def test_a_file_named_as_a_library_in_the_current_folder_is_not_read(tmp_path, monkeypatch):
    (tmp_path / "numpy.py").write_text("raise SystemExit('the wrong one')")
    monkeypatch.chdir(tmp_path)
    with BackendProcess("jax") as process:
        assert process.call("nnopt_course.inputs:check_images", np.ones((1, 2)), (2,)).sum() == 2


def test_serving_ends_with_the_requests():
    answers = io.BytesIO()
    serve(io.BytesIO(), answers)
    assert answers.getvalue() == b""


@pytest.mark.parametrize("backend", ["theano", "JAX", "", None])
def test_an_unknown_backend_is_refused(backend):
    with pytest.raises(ValueError, match="one of jax, tensorflow, torch; received"):
        require_backend(backend)


def test_a_missing_backend_says_what_to_install(monkeypatch):
    monkeypatch.setattr(backend_process.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="pip install torch"):
        BackendProcess("torch")
