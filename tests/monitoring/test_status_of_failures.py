"""Status reports failures of which no program was told, also where there is no home."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ipfs_log_handlers import IPFSHandler
from ipfs_log_handlers.ingest.recorder import Recorder
from ipfs_log_handlers.runtime import lifecycle
from ipfs_log_handlers.runtime.process import forget_home
from ipfs_log_handlers.testing.memory_store import MemoryStore
from tests.support import sample_homes
from tests.support.logging_home import handler_of, logging_to, path_meant
from tests.support.one_status import KEYS
from tests.support.sample_homes import status


def test_errors_that_cannot_be_raised_are_counted(home, monkeypatch):
    """What goes wrong at exit, or as a store is closed, is counted and shown; nothing is raised."""

    async def broken(_: object) -> None:
        raise RuntimeError("will not close")

    monkeypatch.setattr(MemoryStore, "close", broken)
    with logging_to(home, keeper="thread", kubo="memory:closing") as logger:
        logger.info("one")
        process = handler_of(logger)._recorder.home
        assert process.flush(20.0)
        process.keeper.stop()
        monkeypatch.setattr(process, "flush", lambda _: 1 / 0)
        monkeypatch.setattr(lifecycle.STATE, "homes", {home: process})
        lifecycle.flush_at_exit()
        monkeypatch.undo()
        lifecycle.STATE.exiting = False
        (found,) = handler_of(logger).status()
    assert found["failures"] == {
        "closing memory:closing: RuntimeError: will not close": 1,
        "exit: ZeroDivisionError: division by zero": 1,
    }


@pytest.mark.parametrize("subsystem", ["audit", None])
def test_a_home_that_was_never_made_reports_failures(home, monkeypatch, subsystem):
    """Where nothing but failures happened, they are told all the same, of the handler's own subsystem."""
    handler = IPFSHandler(subsystem, home=home, keeper="none")
    assert handler.status() == []
    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "take", lambda *_, **__: int("hush"))
        handler.handle(sample_homes.record(1))
    found = handler.status()
    handler.close()
    forget_home(home)
    assert [(each["subsystem"], each["failures"]) for each in found] == [
        (subsystem or "logs", {"a record was lost: ValueError": 1})
    ]
    assert found[0].keys() == KEYS | {"failures", "incomplete"}


class TestNoHome:
    """A home that cannot be made or read is told of by a status, and raises nothing."""

    def told(self, handler: IPFSHandler) -> dict[str, Any]:
        """Log a record, flush, close: the status, which is the same each time but for what failed at the end."""
        handler.handle(sample_homes.record(1))
        first = handler.status()
        handler.flush()
        handler.close()
        (found,) = handler.status()
        assert [{**each, "failures": 0} for each in first] == [{**found, "failures": 0}]
        assert found.keys() == KEYS | {"failures", "incomplete"}
        return found

    def test_below_a_file_the_reason_is_reported(self, tmp_path):
        """Below a file no home can be: that is told before the first record, and with the records that it cost."""
        where = tmp_path / "file" / "home"
        handler = IPFSHandler("audit", home=where, keeper="none")
        (tmp_path / "file").touch()
        trouble = f"{where} cannot be made: Not a directory"
        assert [("audit", trouble)] == [(each["subsystem"], each["last_error"]) for each in handler.status()]
        found = self.told(handler)
        forget_home(where)
        assert (found["last_error"], found["dropped"]) == (trouble, {"ENOTDIR": 1})

    def test_a_file_in_its_place_is_reported(self, home):
        """A file that takes the place of the home after the handler was made is told of."""
        handler = IPFSHandler("audit", home=home, keeper="none")
        home.touch()
        found = self.told(handler)
        forget_home(home)
        assert found["last_error"] == f"{home} cannot be made: Not a directory"
        assert found["dropped"] == {"the home is refused": 1}

    def test_what_the_system_will_not_make_is_reported(self, home, monkeypatch):
        """Where the system refuses to make it, as below /proc, the status says so as soon as a record came."""
        real = os.mkdir

        def refuse(path: Path, *args: Any, **more: Any) -> None:
            if path_meant(path, more) == home:
                raise FileNotFoundError(2, "No such file or directory")
            real(path, *args, **more)

        monkeypatch.setattr(os, "mkdir", refuse)
        handler = IPFSHandler("audit", home=home, keeper="none")
        assert handler.status() == []
        found = self.told(handler)
        forget_home(home)
        assert found["last_error"] == f"{home} cannot be made: No such file or directory"
        assert found["dropped"] == {"ENOENT": 1}

    @pytest.mark.parametrize("part", ["keeper.lock", "audit"])
    def test_what_cannot_be_read_is_reported_and_the_rest_is_counted(self, home, monkeypatch, part):
        """A home, or a subsystem of it, that the system will not let a program read any more: the other is told of."""
        sample_homes.make(home, 3)
        sample_homes.make(home, 2, "wal")
        refused = home / part
        for name in ("open", "listdir"):
            monkeypatch.setattr(os, name, self.refusing(getattr(os, name), refused))
        handler = IPFSHandler("audit", home=home, keeper="none")
        every = handler.status()
        found = {each["subsystem"]: (each["sealed"], each["last_error"]) for each in every}
        handler.close()
        whole = part == "keeper.lock"
        trouble = f"{home if whole else refused} cannot be read: Permission denied"
        assert all(each.keys() == KEYS | {"failures", "incomplete"} for each in every)
        assert found == {"audit": (0, trouble), "wal": (0, trouble) if whole else (2, None)}
        if whole:
            with pytest.raises(PermissionError):
                status(home)

    def refusing(self, real: Callable[..., Any], refused: Path) -> Callable[..., Any]:
        """Make a function of `os` refuse a path and all paths below it."""

        def refuse(path: Any, *args: Any, **more: Any) -> Any:
            meant = path_meant(path, more)
            if meant == refused or refused in meant.parents:
                raise PermissionError(13, "Permission denied")
            return real(path, *args, **more)

        return refuse


def test_a_record_that_failed_altogether_is_counted_without_its_words(home, monkeypatch):
    """A record for which not even a substitute could be written is counted, without the words of the error."""
    with logging_to(home) as logger:
        logger.info("one")
        with monkeypatch.context() as patch:
            patch.setattr(Recorder, "take", lambda *_, **__: int("hush"))
            handler_of(logger).__dict__.pop("handle")  # the short way has its place
            handler_of(logger)._recorder.fast_path = None
            logger.info("two")
        (found,) = handler_of(logger).status()
    assert found["failures"] == {"a record was lost: ValueError": 1}
