import contextlib
import os
import signal
import threading

import pytest

from nnopt_course.interrupts import interrupts_kept


def press():
    os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture(autouse=True)
def usual():
    """Also where the tests run in the background of a shell, which ignores Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def pressed(times):
    """How far a block gets that asks twice, with Ctrl-C in between."""
    reached = []
    with contextlib.suppress(KeyboardInterrupt), interrupts_kept() as check:
        check()
        for _ in range(times):
            press()
        reached.append("went on")
        check()
        reached.append("never stopped")
    return reached


def test_an_interrupt_is_kept_until_the_block_asks(capfd):
    assert pressed(1) == ["went on"]
    assert "stopping soon" in capfd.readouterr().err


def test_a_second_one_stops_at_once():
    assert pressed(2) == []


def test_without_one_nothing_happens(capfd):
    assert pressed(0) == ["went on", "never stopped"]
    assert capfd.readouterr().err == ""


def test_afterwards_everything_is_as_before():
    with interrupts_kept():
        assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with pytest.raises(ZeroDivisionError), interrupts_kept():
        _ = 1 / 0
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_handler_of_somebody_else_stays():
    def own(number, frame):
        pass

    signal.signal(signal.SIGINT, own)
    with interrupts_kept() as check:
        assert signal.getsignal(signal.SIGINT) is own
        press()
        check()


def test_a_block_within_a_block_keeps_for_both():
    with contextlib.suppress(KeyboardInterrupt), interrupts_kept() as outer:
        with contextlib.suppress(KeyboardInterrupt), interrupts_kept() as inner:
            press()
            inner()
            pytest.fail("went on within")
        # Whoever called the inner block has lost the error. The outer one still knows.
        assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
        outer()
        pytest.fail("went on")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_what_was_kept_before_a_block_within_stops_it():
    reached = []
    with contextlib.suppress(KeyboardInterrupt), interrupts_kept():
        press()
        with interrupts_kept() as inner:
            reached.append("begun")
            inner()
            reached.append("never stopped")
    assert reached == ["begun"]


def test_a_second_one_stops_a_block_within_at_once():
    reached = []
    with contextlib.suppress(KeyboardInterrupt), interrupts_kept():
        press()
        with interrupts_kept():
            press()
            reached.append("never stopped")
    assert reached == []


def test_in_another_thread_nothing_happens():
    done = []

    def work():
        with interrupts_kept() as check:
            check()
            done.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [True]
