"""Beside the parts of logging that others bring: formatters, filters, adapters, queues, exceptions, subclasses."""

from __future__ import annotations

import logging
import logging.handlers
import pickle
import queue
import sys
from pathlib import Path
from typing import Any

import pytest

from ipfs_log_handlers import IPFSHandler
from ipfs_log_handlers.process import HomeProcess
from tests.handler.written import found, one
from tests.odd import BadRepr
from tests.workshop import durable, handler_of


class TestExceptions:
    @pytest.mark.parametrize("told", [True, (None, None, None), (), "text", False])
    def test_none(self, log: logging.Logger, home: Path, told: Any) -> None:
        """Pitfall 31: `exc_info` without an exception records none."""
        log.info("x", exc_info=told)
        record = logging.makeLogRecord({"msg": "x", "exc_info": told})
        handler_of(log).handle(record)
        assert [None, None] == [each.get("exception") for each in found(home)]

    def test_forms(self, log: logging.Logger, home: Path) -> None:
        """Pitfall 31: an instance, a tuple and True give the traceback; a stack is text."""
        try:
            1 / 0  # noqa: B018
        except ZeroDivisionError as error:
            for told in (True, error, sys.exc_info()):
                log.info("x", exc_info=told, stack_info=True)
        assert 1 == len({each["exception"] for each in found(home)})
        assert all(each["exception"].endswith("ZeroDivisionError: division by zero") for each in found(home))
        assert all("test_forms" in each["stack"] for each in found(home))

    def test_group(self, log: logging.Logger, home: Path) -> None:
        """Pitfall 31: groups in groups are told, exceptions without a good `__str__` among them."""

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

    def test_cached_text(self, log: logging.Logger, home: Path) -> None:
        """Pitfall 31: a traceback that an earlier handler has formatted counts where the exception itself is gone."""
        handler_of(log).handle(
            logging.makeLogRecord({"msg": "x", "exc_text": "Traceback: y", "stack_info": "Stack: z"})
        )
        assert ("Traceback: y", "Stack: z") == (one(home)["exception"], one(home)["stack"])

    @pytest.mark.parametrize("value", [True, 5, ["x"]], ids=repr)
    def test_odd_texts(self, log: logging.Logger, home: Path, value: Any) -> None:
        """Pitfall 31: a cached traceback or stack that is no text becomes one."""
        handler_of(log).handle(logging.makeLogRecord({"msg": "x", "exc_text": value, "stack_info": value}))
        assert (str(value), str(value)) == (one(home)["exception"], one(home)["stack"])

    def test_three_thousand(self, log: logging.Logger, home: Path) -> None:
        """Pitfall 31: three thousand chained contexts are a record."""
        last: BaseException | None = None
        for number in range(3000):
            following = ValueError(str(number))
            following.__context__, last = last, following
        log.error("x", exc_info=last)
        assert "ValueError" in one(home)["exception"]


class TestSubclass:
    @pytest.mark.parametrize("method", ["emit", "filter", "handle"])
    def test_own_way(self, home: Path, method: str) -> None:
        """What a subclass does to a record in `emit`, `filter` or `handle` is done to every record."""

        def shout(self: IPFSHandler, record: logging.LogRecord) -> Any:
            record.msg = record.msg.upper()
            return getattr(IPFSHandler, method)(self, record)

        handler = type("Loud", (IPFSHandler,), {method: shout})("logs", home=home, keeper="none")
        for number in range(3):
            handler.handle(logging.makeLogRecord({"msg": f"x{number}", "name": "n", "levelname": "INFO"}))
        handler.close()
        assert ["X0", "X1", "X2"] == [each["event"] for each in durable(home)]


class TestOtherPeoplesParts:
    def test_formatter(self, log: logging.Logger, home: Path) -> None:
        """A user's Formatter is honoured for the text of `event`; tracebacks keep their field."""
        handler_of(log).setFormatter(logging.Formatter("[%(levelname)s] %(message)s"))
        log.error("x %s", 1, exc_info=ValueError("y"), extra={"a": 1})
        record = one(home)
        assert ("[ERROR] x 1", 1) == (record["event"], record["a"])
        assert record["exception"].endswith("ValueError: y")

    @pytest.mark.parametrize("text", ["%(nothing)s", "%(message)d"])
    def test_bad_formatter(self, log: logging.Logger, home: Path, text: str) -> None:
        """A Formatter that fails loses no record."""
        handler_of(log).setFormatter(logging.Formatter(text))
        log.info("x %s", 1)
        assert ("x %s", [1]) == (one(home)["event"], one(home)["args"])

    def test_adapter(self, log: logging.Logger, home: Path) -> None:
        """Pitfall 34: what a LoggerAdapter adds is among the fields."""
        logging.LoggerAdapter(log, {"request": "r1"}).info("x")
        assert "r1" == one(home)["request"]

    def test_levels(self, log: logging.Logger, home: Path) -> None:
        """Pitfall 34: custom levels have their name, with spaces too; without a name, their number."""
        logging.addLevelName(25, "Very Loud")
        log.log(25, "x")
        log.log(17, "y")
        assert ["very loud", "level 17"] == [each["level"] for each in found(home)]

    def test_record_class(self, log: logging.Logger, home: Path) -> None:
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
        assert ["1 and 2", "no arguments {}"] == [each["event"] for each in found(home)]
        assert ["here", "here"] == [each["added"] for each in found(home)]

    @pytest.mark.parametrize("missing", [*logging.makeLogRecord({}).__dict__, "all"])
    def test_missing_attributes(self, log: logging.Logger, home: Path, missing: str) -> None:
        """Pitfall 34: a record of which an attribute is missing is kept."""
        record = logging.makeLogRecord({"msg": "x", "name": "t", "mine": 1})
        for name in list(record.__dict__) if missing == "all" else [missing]:
            if name not in {"msg", "mine"} or missing != "all":
                delattr(record, name)
        handler_of(log).handle(record)
        assert 1 == one(home)["mine"]
        assert missing == "msg" or one(home)["event"] == "x"

    def test_empty_record(self, log: logging.Logger, home: Path) -> None:
        """Pitfall 34: `makeLogRecord({})` has neither logger nor level; what is written has text for both."""
        handler_of(log).handle(logging.makeLogRecord({}))
        record = one(home)
        assert all(isinstance(record[name], str) for name in ("logger", "level", "event"))

    @pytest.mark.parametrize("name", ["name", "levelname", "created", "thread", "args", "pathname", "lineno"])
    @pytest.mark.parametrize("value", [None, 5, ["x"], {"a": 1}, BadRepr()], ids=range(5))
    def test_odd_attributes(self, log: logging.Logger, home: Path, name: str, value: Any) -> None:
        """Pitfall 34: an attribute of any kind does no harm."""
        record = logging.makeLogRecord({"msg": "x", "name": "t"})
        record.__dict__[name] = value
        handler_of(log).handle(record)
        assert all(isinstance(one(home)[key], str) for key in ("time", "logger", "level", "event"))

    def test_pickled(self, log: logging.Logger, home: Path) -> None:
        """Pitfall 34: a record that came through a SocketHandler is kept as it was."""
        sent = logging.LogRecord("far", 30, "p", 1, "x %s", (1,), None)
        sent.__dict__["field"] = 1
        made = logging.handlers.SocketHandler("localhost", 1).makePickle(sent)
        handler_of(log).handle(logging.makeLogRecord(pickle.loads(made[4:])))
        assert ("x 1", "far", "warning", 1) == tuple(one(home)[key] for key in ("event", "logger", "level", "field"))

    def test_queue(self, log: logging.Logger, home: Path) -> None:
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

    def test_keepers_thread_of_another_process(self, log: logging.Logger, home: Path) -> None:
        """Pitfall 44: a record of another process is kept, though its thread has the number of our keeper's."""
        HomeProcess.own_threads.add(4711)
        try:
            for process in (1, logging.os.getpid()):  # type: ignore[attr-defined]
                handler_of(log).handle(logging.makeLogRecord({"msg": str(process), "thread": 4711, "process": process}))
        finally:
            HomeProcess.own_threads.discard(4711)
        assert "1" == one(home)["event"]

    def test_filters(self, log: logging.Logger, home: Path) -> None:
        """Pitfall 34: filters decide, and may change the record; since 3.12 they may give another one."""
        handler_of(log).addFilter(lambda record: record.getMessage() != "no")
        log.info("no")
        log.info("yes")
        if sys.version_info >= (3, 12):
            handler_of(log).addFilter(lambda _: logging.makeLogRecord({"msg": "other", "name": "t"}))
            log.info("yes")
        assert ["yes", "other"][: 1 + (sys.version_info >= (3, 12))] == [each["event"] for each in found(home)]

    def test_disable(self, log: logging.Logger, home: Path) -> None:
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
