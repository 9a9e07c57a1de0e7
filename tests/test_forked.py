"""Children that tests fork neither hang a run nor go on as a second one (tests/support/forked.py)."""

from __future__ import annotations

import os
import signal

import pytest

from tests.support import forked, programs


def test_a_child_that_hangs_ends_with_its_killed_parent(home):
    """The pipes of a run are closed when its process is killed; `run` reads them to their end."""
    body = """
        from tests.support import forked
        forked.end_children_with_this_process()
        if os.fork() == 0: signal.pause()
        os.kill(os.getpid(), signal.SIGKILL)
    """
    assert programs.run(home, body).code == -signal.SIGKILL


def test_the_end_of_a_child_is_told_from_its_kill_and_from_an_exception(capfd):
    """An exception is printed and fails the test; the child never goes on with the tests of its parent."""
    here = os.getpid()
    assert forked.run_in_child(os.getpid)
    assert not forked.run_in_child(lambda: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(AssertionError):
        forked.run_in_child(int, "x")
    assert os.getpid() == here
    assert "ValueError" in capfd.readouterr().err
