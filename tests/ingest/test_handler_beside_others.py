"""Beside the parts of logging that others bring: formatters, filters, adapters, queues, exceptions, subclasses."""

from __future__ import annotations

import io
import logging
import logging.handlers
import pickle
import queue
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from ipfs_log_handlers import IPFSHandler
from ipfs_log_handlers.ingest.recorder import Recorder
from ipfs_log_handlers.runtime.process import HomeProcess
from tests.support.logging_home import durable, handler_of
from tests.support.odd_values import BadRepr
from tests.support.written_records import found, one


class TestExceptions:
    @pytest.mark.parametrize("exc_info", [True, (None, None, None), (), "text", False])
    def test_exc_info_without_an_exception_records_none(self, log: logging.Logger, home: Path, exc_info: Any) -> None:
        """Pitfall 31: `exc_info` without an exception records none."""
        log.info("x", exc_info=exc_info)
        record = logging.makeLogRecord({"msg": "x", "exc_info": exc_info})
        handler_of(log).handle(record)
        assert [None, None] == [record.get("exception") for record in found(home)]

    def test_every_form_of_exc_info_gives_the_traceback(self, log: logging.Logger, home: Path) -> None:
        """Pitfall 31: an instance, a tuple and True give the traceback; a stack is text."""
        try:
            1 / 0  # noqa: B018
        except ZeroDivisionError as error:
            for exc_info in (True, error, sys.exc_info()):
                log.info("x", exc_info=exc_info, stack_info=True)
        assert 1 == len({record["exception"] for record in found(home)})
        assert all(record["exception"].endswith("ZeroDivisionError: division by zero") for record in found(home))
        assert all("test_every_form_of_exc_info" in record["stack"] for record in found(home))

    def test_an_exception_group_is_written_whole(self, log: logging.Logger, home: Path) -> None:
        """Pitfall 31: groups in groups are written, exceptions without a good `__str__` among them."""

        class BadError(Exception):
            def __str__(self) -> str:
                raise RuntimeError("no")

        kind = getattr(__import__("builtins"), "ExceptionGroup", None)
        if kind is None:  # before 3.11 there are no groups
            log.error("x", exc_info=BadError())
            assert "BadError" in one(home)["exception"]
            return
        log.error("x", exc_info=kind("outer", [kind("inner", [BadError(), ValueError("leaf")])]))
        assert {"outer", "inner", "leaf", "BadError"} <= {
            word for word in ("outer", "inner", "leaf", "BadError") if word in one(home)["exception"]
        }

    def test_a_traceback_that_was_formatted_before_is_kept(self, log: logging.Logger, home: Path) -> None:
        """Pitfall 31: a traceback that an earlier handler has formatted counts where the exception itself is gone."""
        handler_of(log).handle(
            logging.makeLogRecord({"msg": "x", "exc_text": "Traceback: y", "stack_info": "Stack: z"})
        )
        assert ("Traceback: y", "Stack: z") == (one(home)["exception"], one(home)["stack"])

    @pytest.mark.parametrize("value", [True, 5, ["x"]], ids=repr)
    def test_odd_exception_texts_lose_no_record(self, log: logging.Logger, home: Path, value: Any) -> None:
        """Pitfall 31: a cached traceback or stack that is no text becomes one."""
        handler_of(log).handle(logging.makeLogRecord({"msg": "x", "exc_text": value, "stack_info": value}))
        assert (str(value), str(value)) == (one(home)["exception"], one(home)["stack"])

    def test_three_thousand_chained_exceptions_are_written(self, log: logging.Logger, home: Path) -> None:
        """Pitfall 31: three thousand chained contexts are a record."""
        last: BaseException | None = None
        for number in range(3000):
            following = ValueError(str(number))
            following.__context__, last = last, following
        log.error("x", exc_info=last)
        assert "ValueError" in one(home)["exception"]


class TestSubclass:
    @pytest.mark.parametrize("method", ["emit", "filter", "handle"])
    def test_an_overridden_method_is_called_for_each_record(self, home: Path, method: str) -> None:
        """What a subclass does to a record in `emit`, `filter` or `handle` is done to every record."""

        def shout(self: IPFSHandler, record: logging.LogRecord) -> Any:
            record.msg = record.msg.upper()
            return getattr(IPFSHandler, method)(self, record)

        handler = type("Loud", (IPFSHandler,), {method: shout})("logs", home=home, keeper="none")
        for number in range(3):
            handler.handle(logging.makeLogRecord({"msg": f"x{number}", "name": "n", "levelname": "INFO"}))
        handler.close()
        assert ["X0", "X1", "X2"] == [record["event"] for record in durable(home)]


class Shouting(IPFSHandler):
    """A handler that formats its own way."""

    def format(self, record: logging.LogRecord) -> str:
        """Shout."""
        return super().format(record).upper()


class TestOverrides:
    def test_format_of_a_subclass_makes_the_event(self, home: Path) -> None:
        """`format` of a subclass is called for each record, with a formatter and without; tracebacks keep their key."""
        handler = Shouting("logs", home=home, keeper="none")
        for number in range(3):
            handler.handle(logging.makeLogRecord({"msg": "text %d", "args": (number,), "a": number}))
        handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))
        handler.handle(
            logging.makeLogRecord({"msg": "text", "name": "t", "exc_info": (ValueError, ValueError("x"), None)})
        )
        handler.close()
        records = durable(home)
        assert ["TEXT 0", "TEXT 1", "TEXT 2", "T: TEXT"] == [record["event"] for record in records]
        assert [0, 1, 2] == [record["a"] for record in records[:3]]
        assert records[3]["exception"].endswith("ValueError: x")

    @pytest.mark.parametrize("name", ["emit", "handle"])
    def test_a_method_replaced_on_one_handler_is_called(self, log: logging.Logger, home: Path, name: str) -> None:
        """A test replaces a method of a handler that has logged already, and puts it back: both count at once."""
        log.info("before")
        with mock.patch.object(handler_of(log), name) as replaced:
            log.info("replaced")
        log.info("after")
        log.info("after")
        assert "replaced" == replaced.call_args.args[0].getMessage()
        assert ["before", "after", "after"] == [record["event"] for record in found(home)]

    def test_emit_replaced_on_the_class_is_called(self, log: logging.Logger, home: Path) -> None:
        """The same on the class, for handlers that have logged already."""
        log.info("before")
        with mock.patch.object(IPFSHandler, "emit") as replaced:
            log.info("replaced")
        log.info("after")
        assert 1 == replaced.call_count
        assert ["before", "after"] == [record["event"] for record in found(home)]

    def test_format_replaced_on_one_handler_makes_the_event(self, log: logging.Logger, home: Path) -> None:
        """`format` of one handler counts from the next record on, until it is taken away."""
        handler: Any = handler_of(log)
        log.info("before")
        handler.format = lambda _: "mine"
        log.info("replaced")
        del handler.format
        log.info("after")
        assert ["before", "mine", "after"] == [record["event"] for record in found(home)]

    def test_filters_and_formatters_given_later_are_used(self, log: logging.Logger, home: Path) -> None:
        """What a handler is given after its first records counts from the next one on."""
        handler = handler_of(log)
        handler.filters = [lambda record: record.getMessage() != "left out"]
        log.info("left out")
        handler.filters = []
        handler.setFormatter(logging.Formatter("<%(message)s>"))
        log.info("x")
        handler.setFormatter(None)
        log.info("y")
        assert ["<x>", "y"] == [record["event"] for record in found(home)]

    def test_filter_replaced_on_one_handler_decides(self, log: logging.Logger, home: Path) -> None:
        """`filter` of one handler may change the record, as in the standard library since 3.12, or leave it out."""
        other = logging.makeLogRecord({"msg": "another", "name": "t"})
        handler: Any = handler_of(log)
        handler.filter = lambda record: other if record.getMessage() == "x" else False
        log.info("x")
        log.info("y")
        assert ["another"] == [record["event"] for record in found(home)]

    def test_handle_error_hears_of_a_record_that_is_lost(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """An overridden `handleError` gets the record for which nothing could be written; what it raises goes on."""
        lost = []

        class Loud(IPFSHandler):
            def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
                lost.append(record.getMessage())
                raise LookupError

        handler = Loud("logs", home=home, keeper="none")
        monkeypatch.setattr(Recorder, "take", lambda *_: 1 / 0)
        with pytest.raises(LookupError):
            handler.handle(logging.makeLogRecord({"msg": "x"}))
        assert (["x"], 1) == (lost, handler._recorder.failed)
        handler.close()

    def test_without_an_override_a_lost_record_is_counted_and_nothing_is_raised(
        self, log: logging.Logger, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """`handleError` of ours raises nothing into the program."""
        with monkeypatch.context() as patch:
            patch.setattr(Recorder, "take", lambda *_: 1 / 0)
            handler_of(log).emit(logging.makeLogRecord({"msg": "x"}))
        assert 1 == handler_of(log)._recorder.failed
        handler_of(log)._recorder.failed = 0

    def test_a_coloured_level_is_the_level(self, log: logging.Logger, home: Path) -> None:
        """A console formatter that colours `levelname` in place stands before us: the level is what it was."""

        class Colours(logging.Formatter):
            def format(self, record: logging.LogRecord) -> str:
                record.levelname = f"\x1b[33m{record.levelname}\x1b[0m"
                return super().format(record)

        console = logging.StreamHandler(io.StringIO())
        console.setFormatter(Colours("%(levelname)s %(message)s"))
        log.handlers.insert(0, console)
        for fields in ({"a": 1}, {"a": 1}, {"a": object()}):
            log.warning("x", extra=fields)
        log.handlers.remove(console)
        assert ["warning"] * 3 == [record["level"] for record in found(home)]


class TestOtherPeoplesParts:
    def test_a_formatter_makes_the_event(self, log: logging.Logger, home: Path) -> None:
        """A user's Formatter is honoured for the text of `event`; tracebacks keep their field."""
        handler_of(log).setFormatter(logging.Formatter("[%(levelname)s] %(message)s"))
        log.error("x %s", 1, exc_info=ValueError("y"), extra={"a": 1})
        record = one(home)
        assert ("[ERROR] x 1", 1) == (record["event"], record["a"])
        assert record["exception"].endswith("ValueError: y")

    @pytest.mark.parametrize("text", ["%(nothing)s", "%(message)d"])
    def test_a_formatter_that_fails_loses_no_record(self, log: logging.Logger, home: Path, text: str) -> None:
        """A Formatter that fails loses no record."""
        handler_of(log).setFormatter(logging.Formatter(text))
        log.info("x %s", 1)
        assert ("x %s", [1]) == (one(home)["event"], one(home)["args"])

    def test_what_a_logger_adapter_adds_is_kept(self, log: logging.Logger, home: Path) -> None:
        """Pitfall 34: what a LoggerAdapter adds is among the fields."""
        logging.LoggerAdapter(log, {"request": "r1"}).info("x")
        assert "r1" == one(home)["request"]

    def test_levels_of_the_program_keep_their_names(
        self, log: logging.Logger, home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Pitfall 34: custom levels have their name, with spaces too; without a name, their number."""
        monkeypatch.setattr(logging, "_levelToName", dict(logging._levelToName))
        monkeypatch.setattr(logging, "_nameToLevel", dict(logging._nameToLevel))
        logging.addLevelName(25, "Very Loud")
        log.log(25, "x")
        log.log(17, "y")
        assert ["very loud", "level 17"] == [record["level"] for record in found(home)]

    def test_a_record_class_of_the_program_is_honoured(self, log: logging.Logger, home: Path) -> None:
        """Pitfall 34: a custom LogRecord decides on its own text, and what it adds is a field."""

        class Braces(logging.LogRecord):
            def __init__(self, *args: Any, **options: Any) -> None:
                super().__init__(*args, **options)
                self.added = "here"

            def getMessage(self) -> str:  # noqa: N802 - logging's name
                return str(self.msg).format(*(self.args or ()))

        before = logging.getLogRecordFactory()
        logging.setLogRecordFactory(Braces)
        try:
            log.info("{} and {}", 1, 2)  # noqa: PLE1205
            log.info("no arguments {{}}")
        finally:
            logging.setLogRecordFactory(before)
        assert ["1 and 2", "no arguments {}"] == [record["event"] for record in found(home)]
        assert ["here", "here"] == [record["added"] for record in found(home)]

    @pytest.mark.parametrize("missing", [*logging.makeLogRecord({}).__dict__, "all"])
    def test_a_record_without_an_attribute_is_kept(self, log: logging.Logger, home: Path, missing: str) -> None:
        """Pitfall 34: a record of which an attribute is missing is kept."""
        record = logging.makeLogRecord({"msg": "x", "name": "t", "mine": 1})
        for name in list(record.__dict__) if missing == "all" else [missing]:
            if name not in {"msg", "mine"} or missing != "all":
                delattr(record, name)
        handler_of(log).handle(record)
        assert 1 == one(home)["mine"]
        assert missing == "msg" or one(home)["event"] == "x"

    def test_a_record_without_attributes_is_kept(self, log: logging.Logger, home: Path) -> None:
        """Pitfall 34: `makeLogRecord({})` has neither logger nor level; what is written has text for both."""
        handler_of(log).handle(logging.makeLogRecord({}))
        record = one(home)
        assert all(isinstance(record[name], str) for name in ("logger", "level", "event"))

    @pytest.mark.parametrize("name", ["name", "levelname", "created", "thread", "args", "pathname", "lineno"])
    @pytest.mark.parametrize("value", [None, 5, ["x"], {"a": 1}, BadRepr()], ids=range(5))
    def test_odd_attributes_lose_no_record(self, log: logging.Logger, home: Path, name: str, value: Any) -> None:
        """Pitfall 34: an attribute of any kind does no harm."""
        record = logging.makeLogRecord({"msg": "x", "name": "t"})
        record.__dict__[name] = value
        handler_of(log).handle(record)
        assert all(isinstance(one(home)[key], str) for key in ("time", "logger", "level", "event"))

    def test_a_pickled_record_keeps_its_fields(self, log: logging.Logger, home: Path) -> None:
        """Pitfall 34: a record that came through a SocketHandler is kept as it was."""
        sent = logging.LogRecord("far", 30, "p", 1, "x %s", (1,), None)
        sent.__dict__["field"] = 1
        made = logging.handlers.SocketHandler("localhost", 1).makePickle(sent)
        handler_of(log).handle(logging.makeLogRecord(pickle.loads(made[4:])))
        assert ("x 1", "far", "warning", 1) == tuple(one(home)[key] for key in ("event", "logger", "level", "field"))

    def test_a_record_behind_a_queue_keeps_its_fields(self, log: logging.Logger, home: Path) -> None:
        """Pitfall 44: behind a QueueHandler records arrive whole, tracebacks too."""
        waiting: queue.SimpleQueue[Any] = queue.SimpleQueue()
        listener = logging.handlers.QueueListener(waiting, handler_of(log))
        front = logging.Logger("q")
        front.addHandler(logging.handlers.QueueHandler(waiting))
        listener.start()
        front.error("x %s", 1, exc_info=ValueError("y"), extra={"a": 1})
        listener.stop()
        record = one(home)
        assert 1 == record["a"]
        assert record["event"].startswith("x 1")
        assert "ValueError: y" in record["event"] + record.get("exception", "")

    @pytest.mark.parametrize("warm", [False, True], ids=["slow path", "fast path"])
    def test_what_a_queue_handler_puts_together_is_taken_apart(
        self, log: logging.Logger, home: Path, *, warm: bool
    ) -> None:
        """Pitfall 44: a QueueHandler appends traceback and stack to the message; they stand under their keys again."""
        waiting: queue.SimpleQueue[Any] = queue.SimpleQueue()
        front = logging.Logger("q")
        front.addHandler(logging.handlers.QueueHandler(waiting))
        for number in range(1 + warm):
            try:
                raise ValueError("y")
            except ValueError:
                front.error('{"n": %d}', number, exc_info=True, stack_info=True)
            front.error("no\nTraceback (most recent call last): here")
            front.error("stack alone", stack_info=True)
            while not waiting.empty():
                handler_of(log).handle(waiting.get())
        both, none, stack = durable(home)[-3:]
        assert int(warm) == both["n"]
        assert both["exception"].startswith("Traceback (most recent call last):\n")
        assert both["exception"].endswith("\nValueError: y")
        assert {True} == {one["stack"].startswith("Stack (most recent call last):\n") for one in (both, stack)}
        assert "stack alone" == stack["event"]
        assert "exception" not in stack
        assert {"exception", "stack"}.isdisjoint(none)

    def test_a_record_from_another_process_is_not_taken_for_the_keepers(self, log: logging.Logger, home: Path) -> None:
        """Pitfall 44: a record of another process is kept, though its thread has the number of our keeper's."""
        HomeProcess.own_threads.add(4711)
        try:
            for process in (1, logging.os.getpid()):  # type: ignore[attr-defined]
                handler_of(log).handle(logging.makeLogRecord({"msg": str(process), "thread": 4711, "process": process}))
        finally:
            HomeProcess.own_threads.discard(4711)
        assert "1" == one(home)["event"]

    def test_filters_decide_and_may_change_the_record(self, log: logging.Logger, home: Path) -> None:
        """Pitfall 34: filters decide, and may change the record; since 3.12 they may give another one."""
        handler_of(log).addFilter(lambda record: record.getMessage() != "no")
        log.info("no")
        log.info("yes")
        if sys.version_info >= (3, 12):
            handler_of(log).addFilter(lambda _: logging.makeLogRecord({"msg": "other", "name": "t"}))
            log.info("yes")
        assert ["yes", "other"][: 1 + (sys.version_info >= (3, 12))] == [record["event"] for record in found(home)]

    def test_disabled_levels_are_not_recorded(self, log: logging.Logger, home: Path) -> None:
        """Pitfall 34: levels of the handler are honoured."""
        handler_of(log).setLevel("ERROR")
        log.info("no")
        log.error("yes")
        assert "yes" == one(home)["event"]


def test_handler_is_a_logging_handler(home: Path) -> None:
    """What programs do with handlers works: names, repr, levels."""
    handler = IPFSHandler("logs", level="WARNING", home=home, keeper="none")
    handler.name = "mine"
    assert "WARNING" in repr(handler)
    assert logging.WARNING == handler.level
    handler.close()
    HomeProcess._all.pop(home)
