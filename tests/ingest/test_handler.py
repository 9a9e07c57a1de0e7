"""The handler raises and prints nothing, hides what `redact` names, and may be called from anywhere."""

from __future__ import annotations

import gc
import json
import logging
import logging.handlers
import signal
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from ipfs_log_handlers.runtime.process import HomeProcess
from tests.support.logging_home import durable, handler_of, interrupted, logging_to
from tests.support.written_records import found


class TestRedaction:
    @pytest.mark.parametrize("rule", [["password"], lambda fields: {**fields, "password": "[redacted]"}])
    def test_a_hidden_value_never_reaches_the_disk(self, home: Path, rule: Any) -> None:
        """Pitfall 35: what is to be hidden never reaches the disk, in no kind of record."""
        with logging_to(home, redact=rule) as logger:
            for _ in range(2):
                logger.info("x", extra={"password": "hush", "a": 1})
            logger.info('{"password": "hush"}')
            logger.info({"password": "hush"})
        content = b"".join(path.read_bytes() for path in (home / "logs" / "spool").iterdir())
        assert 4 == len(durable(home))
        assert b"hush" not in content

    def test_a_failing_function_hides_all_and_loses_no_record(self, home: Path) -> None:
        """Pitfall 35: a function that raises hides all and loses no record."""
        with logging_to(home, redact=lambda _: 1 / 0) as logger:
            logger.info("x", extra={"password": "hush"})
        assert ("[redacted]", "ZeroDivisionError") == (durable(home)[0]["event"], durable(home)[0]["redact_failed"])


class TestReentrancy:
    def test_a_str_that_logs_is_recorded_once_with_its_record(self, log: logging.Logger, home: Path) -> None:
        """Pitfall 21: a `__str__` that logs on the same logger: both are recorded, once."""

        class Chatty:
            def __str__(self) -> str:
                log.info("inner")
                return "outer"

        log.info("%s", Chatty())
        assert ["inner", "outer"] == [record["event"] for record in found(home)]

    def test_a_str_that_logs_itself_ends(self, home: Path) -> None:
        """Pitfall 21: a `__str__` that logs itself without end ends, without an exception; what is lost is counted."""
        calls = list[int]()

        class Endless:
            def __str__(self) -> str:
                calls.append(1)
                logger.info("%s", self)
                return "x"

        with logging_to(home) as logger:
            logger.info("%s", Endless())
            failed = handler_of(logger)._recorder.failed
        assert len(calls) < 100_000
        assert len(calls) - failed <= len(found(home)) + 10
        assert found(home)

    @pytest.mark.parametrize("alarms", [100, pytest.param(1000, marks=pytest.mark.soak)])
    def test_a_signal_handler_that_logs_loses_nothing(self, log: logging.Logger, home: Path, alarms: int) -> None:
        """Pitfall 19: a signal handler that logs every 4 ms while the program logs: nothing hangs, nothing is lost."""
        ticks = list[int]()

        def handler(*_: object) -> None:
            if len(ticks) < alarms:
                ticks.append(1)
                log.warning("tick")

        before = signal.signal(signal.SIGALRM, handler)
        timeout = signal.setitimer(signal.ITIMER_REAL, 0.001, 0.004)
        count, until = 0, time.monotonic() + 30
        try:
            while len(ticks) < alarms and time.monotonic() < until:
                log.info("tock")
                count += 1
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
            signal.setitimer(signal.ITIMER_REAL, *timeout)
        log.info("tock")
        events = [record["event"] for record in found(home)]
        assert (count + 1, alarms) == (events.count("tock"), events.count("tick"))

    @pytest.mark.parametrize("cycles", [300, pytest.param(30_000, marks=pytest.mark.soak)])
    def test_destructors_that_log_lose_nothing(self, log: logging.Logger, home: Path, cycles: int) -> None:
        """Pitfall 20: destructors that log while other threads log: counts match."""
        gone = list[int]()

        class Cycle:
            def __init__(self) -> None:
                self.me = self

            def __del__(self) -> None:
                gone.append(1)
                log.info("gone")

        def work() -> None:
            for _ in range(cycles):
                Cycle()
                log.info("here", extra={"a": [1, 2]})

        before = gc.get_threshold()
        gc.set_threshold(20, 2, 2)
        try:
            threads = [threading.Thread(target=work) for _ in range(3)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(120)
            gc.collect()
        finally:
            gc.set_threshold(*before)
        log.info("last")
        events = [record["event"] for record in found(home)]
        assert (3 * cycles, len(gone)) == (events.count("here"), events.count("gone"))
        assert 3 * cycles == len(gone)

    @pytest.mark.parametrize("message", ["plain", '{"a": 1}'])
    def test_an_interrupt_at_any_line_leaves_no_half_record_and_no_lock(
        self, log: logging.Logger, home: Path, message: str
    ) -> None:
        """Pitfall 24: KeyboardInterrupt at any line of `emit` leaves no half line and no held lock."""
        line_number = 1

        def call() -> None:
            log.info(
                message, extra={"n": line_number, "x": {"y": 1.5}, "id": uuid.UUID(int=1)}
            )  # not for the accelerator

        while interrupted(call, line_number, KeyboardInterrupt):
            thread = threading.Thread(target=log.info, args=("after",))
            thread.start()
            thread.join(5)
            assert not thread.is_alive()
            line_number += 1
            assert line_number < 3000
        kept = [record["n"] for record in found(home) if "n" in record]
        assert sorted(set(kept)) == kept
        assert line_number - 1 == [record["event"] for record in found(home)].count("after")
        assert line_number > 10

    def test_a_filter_that_logs_is_recorded(self, log: logging.Logger, home: Path) -> None:
        """Pitfall 21: a filter that logs on the same logger: both are recorded."""
        inside = list[int]()

        def chatty(_: logging.LogRecord) -> bool:
            if not inside:
                inside.append(1)
                log.info("from the filter")
            return True

        handler_of(log).addFilter(chatty)
        log.info("x")
        assert ["from the filter", "x"] == [record["event"] for record in found(home)]


class TestInsideAProgram:
    def test_nothing_is_printed(
        self, home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Pitfalls 12 and 18: where `raiseExceptions` is false a full disk raises, prints and logs nothing."""
        monkeypatch.setattr(logging, "raiseExceptions", False)
        monkeypatch.setattr("os.write", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
        with logging_to(home) as logger:
            for _ in range(3):
                logger.error("x %d", "bad", exc_info=ValueError())
            dropped = handler_of(logger)._recorder.home.writers["logs"].dropped
            monkeypatch.undo()
        assert {"ENOSPC": 3} == dropped
        assert ("", "") == capsys.readouterr()

    def test_the_handler_has_no_lock(self, log: logging.Logger, home: Path) -> None:
        """Pitfall 3: flush cannot hold up a record: what looks like the handler's lock excludes nobody."""
        handler = handler_of(log)
        assert handler.lock is not None
        handler.acquire()
        with handler.lock:
            thread = threading.Thread(target=log.info, args=("meanwhile",))
            thread.start()
            thread.join(10)
        handler.release()
        assert ["first", "meanwhile"] == [record["event"] for record in durable(home)]

    def test_records_after_close_are_durable(self, log: logging.Logger, home: Path) -> None:
        """Pitfalls 4 and 5: flush and close in every order, twice, from any thread; later records are durable."""
        handler = handler_of(log)
        for step in (handler.flush, handler.close, handler.close, handler.flush, handler.close):
            thread = threading.Thread(target=step)
            thread.start()
            thread.join(10)
            step()
            log.info("later")
        assert 5 == len(found(home))

    def test_files_are_readable_by_their_owner_alone(self, log: logging.Logger, home: Path) -> None:
        """Pitfall 35: the spool is 0600 in directories of 0700."""
        log.info("x")
        modes = {path.is_dir(): path.stat().st_mode & 0o777 for path in [home, *home.rglob("*")]}
        assert {True: 0o700, False: 0o600} == modes

    def test_dictconfig_makes_the_handler_and_closes_it(self, home: Path) -> None:
        """Pitfall 45: the handler is made by dictConfig; a wrong key fails there, names itself, and leaves nothing."""
        import logging.config

        given = {"class": "ipfs_log_handlers.IPFSHandler", "subsystem": "logs", "home": str(home), "keeper": "none"}
        config = {"version": 1, "disable_existing_loggers": False, "handlers": {"h": given}}
        with pytest.raises(ValueError, match="handler 'h'") as caught:
            logging.config.dictConfig({**config, "handlers": {"h": {**given, "flush_timout": 1}}})
        assert "did you mean 'flush_timeout'?" in str(caught.value.__cause__)
        assert not home.exists()
        logging.config.dictConfig({**config, "loggers": {"tests.dict_config": {"handlers": ["h"], "level": "INFO"}}})
        logger = logging.getLogger("tests.dict_config")
        logger.info("x", extra={"a": 1})
        for handler in list(logger.handlers):
            logger.removeHandler(handler)
            handler.close()
        HomeProcess._all.pop(home)
        assert ("x", 1) == (durable(home)[0]["event"], durable(home)[0]["a"])

    def test_fast_and_slow_path_write_the_same_record(self, log: logging.Logger, home: Path) -> None:
        """The fast path and the slow path write the same record."""
        record = logging.LogRecord("t", 20, "p", 5, "x %s", (1,), None)
        record.__dict__.update({"a": 1.5, "b": {"c": [None, True, "ä\u2028"]}, "d": -0.0, "e": 2**63})
        handler_of(log).handle(record)
        handler_of(log).emit(record)
        short, long = found(home)
        assert json.dumps({**short, "seq": 0}) == json.dumps({**long, "seq": 0})
