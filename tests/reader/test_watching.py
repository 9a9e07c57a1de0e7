"""A watch ends a wait when a directory changes, once, and never stands in the way."""

from __future__ import annotations

import os
import threading
from time import monotonic

import pytest

from ipfs_log_handlers.reader import watching
from ipfs_log_handlers.reader.watching import Watch

LONG_S = 30.0
"""Seconds of a wait that something must end."""


@pytest.fixture
def watch():
    """Give a watch."""
    return Watch()


def ended_early(watch: Watch) -> bool:
    """Wait; say whether something has ended the wait."""
    began = monotonic()
    watch.wait(LONG_S)
    return monotonic() - began < LONG_S / 2


def test_a_written_file_ends_the_wait(watch, tmp_path):
    """Also if it was written before the wait began."""
    path = tmp_path / "file"
    path.write_bytes(b"a")
    assert watch.set([tmp_path], [])
    with path.open("ab") as stream:
        stream.write(b"b")
    assert ended_early(watch)


@pytest.mark.parametrize("how", ["made", "renamed"])
def test_a_new_name_ends_the_wait(watch, tmp_path, how):
    """A file, a directory, or a file that takes the place of another."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "fresh").write_bytes(b"a")
    assert watch.set([], [tmp_path / "sub"])
    if how == "made":
        (tmp_path / "sub" / "directory").mkdir()
    else:
        os.replace(tmp_path / "fresh", tmp_path / "sub" / "head")
    assert ended_early(watch)


def test_a_watch_is_gone_after_one_event(watch, tmp_path):
    """The program that writes pays for one event, however much it writes."""
    assert watch.set([tmp_path], [])
    (tmp_path / "file").write_bytes(b"a")
    assert ended_early(watch)
    for _ in range(3):
        (tmp_path / "file").write_bytes(b"b")
    began = monotonic()
    watch.wait(0.05)
    assert monotonic() - began >= 0.04


def test_another_thread_can_end_the_wait(watch, tmp_path):
    """And each later one at once."""
    assert watch.set([tmp_path], [])
    threading.Timer(0.05, watch.wake).start()
    assert ended_early(watch)
    assert ended_early(watch)


def test_missing_directories_are_not_watched(watch, tmp_path):
    """A home may not be there yet, or no more."""
    assert not watch.set([tmp_path / "missing"], [tmp_path / "no"])
    (tmp_path / "file").write_bytes(b"")
    assert not watch.set([tmp_path / "file"], [])
    watch.wait(0.0)


def test_without_inotify_the_time_ends_the_wait(monkeypatch, tmp_path):
    """As on other systems."""
    monkeypatch.setattr(watching, "_inotify", lambda: None)
    watch = Watch()
    assert not watch.set([tmp_path], [tmp_path])
    assert watch.descriptor == -1
    watch.wait(0.01)


def test_a_descriptor_that_the_program_has_closed_and_used_again_is_left_alone(watch, tmp_path):
    """Nothing is read from the file that has the number now, and the next watch has a descriptor of its own."""
    assert watch.set([tmp_path], [])
    (tmp_path / "file").write_bytes(b"text")
    number = watch.descriptor
    os.close(number)
    stranger = os.open(tmp_path / "file", os.O_RDONLY)
    if stranger != number:
        os.dup2(stranger, number)
    watch.wait(0.0)
    assert watch.descriptor == -1
    assert watch.set([tmp_path], [])
    assert os.read(number, 10) == b"text"
    (tmp_path / "other").write_bytes(b"")
    assert ended_early(watch)
    os.close(number)


def test_a_closed_pipe_whose_number_is_used_again_is_left_alone(watch, tmp_path):
    """Neither a wake-up nor the end of the watch touches the file that has the number now."""
    path = tmp_path / "file"
    path.write_bytes(b"text")
    numbers = watch._wake_reader, watch._wake_writer
    stranger = os.open(path, os.O_RDWR | os.O_APPEND)
    for number in numbers:
        os.dup2(stranger, number)
    watch.wake()
    watch.__del__()
    assert path.read_bytes() == b"text"
    for number in (*numbers, stranger):
        os.close(number)
