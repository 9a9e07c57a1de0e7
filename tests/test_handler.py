from __future__ import annotations

import gc
import io
import json
import logging
import logging.handlers
import pickle
import queue
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ipfs_log_handlers import IPFSHandler
from ipfs_log_handlers.process import HomeProcess
from tests.odd import ODD_NAMES, BadRepr, odd_value
from tests.workshop import durable, handler_of, interrupted, logging_to


@pytest.fixture
def log(home: Path) -> Iterator[logging.Logger]:
    """A logger whose records go to the subsystem `logs`; one record is logged, so that the short way is open."""
    with logging_to(home) as logger:
        logger.info("first")
        yield logger
        assert 0 == handler_of(logger)._recorder.failed


def found(home: Path, subsystem: str = "logs") -> list[dict[str, Any]]:
    """The records but for the first of `log`."""
    return [each for each in durable(home, subsystem) if each["event"] != "first"]


def one(home: Path) -> dict[str, Any]:
    """The only record."""
    (record,) = found(home)
    return record


class TestRecord:
    def test_envelope(self, log: logging.Logger, home: Path) -> None:
        """A record holds time, level, logger, event, the caller's fields, pid and seq, in this order."""
        log.warning("hello %s", "you", extra={"user": "ä", "nested": {"a": [1, 2.5, None]}})
        record = one(home)
        assert ["time", "level", "logger", "event", "user", "nested", "pid", "seq"] == list(record)
        assert ["warning", "t", "hello you", "ä", {"a": [1, 2.5, None]}] == list(record.values())[1:6]
        assert 2 == record["seq"]
        assert record["time"].endswith("Z")

    @pytest.mark.parametrize("name", ODD_NAMES)
    def test_odd_values(self, log: logging.Logger, home: Path, name: str) -> None:
        """Pitfall 26: whatever stands in `extra`, the record is kept and its neighbours are intact, each time."""
        for _ in range(2):
            log.info("x", extra={"before": 1, "value": odd_value(name), "after": [2]})
        assert [(1, [2])] * 2 == [(each["before"], each["after"]) for each in found(home)]
        assert all("value" in each for each in found(home))

    @pytest.mark.parametrize("name", [name for name in ODD_NAMES if name != "lying class"])
    def test_odd_messages(self, log: logging.Logger, home: Path, name: str) -> None:
        """Pitfall 27: a message of any kind is kept, with an event that is text."""
        log.info(odd_value(name))
        log.info("%s", odd_value(name))
        assert [str, str] == [type(each["event"]) for each in found(home)]

    @pytest.mark.parametrize(
        ("message", "args", "event", "kept"),
        [
            ("%d %d", ("x",), "%d %d", ["x"]),
            ("%d", ("x",), "%d", ["x"]),
            ("no place", ("x", 1), "no place", ["x", 1]),
            ("100%", ("x",), "100%", ["x"]),
            ("100% sure", (), "100% sure", None),
            ("%(a)s", ({"a": 1},), "1", None),
            ("%(b)s", ({"a": 1},), "%(b)s", {"a": 1}),
            (None, (), "None", None),
            (5, (), "5", None),
            ("%s", (BadRepr(),), "%s", "marked"),
            ("", (), "", None),
        ],
    )
    def test_arguments(
        self, log: logging.Logger, home: Path, message: Any, args: tuple[Any, ...], event: str, kept: Any
    ) -> None:
        """Pitfall 27: bad format arguments raise nothing; the raw message is the event and the arguments are kept."""
        log.info(message, *args)
        record = one(home)
        assert event == record["event"]
        if kept == "marked":
            assert "RuntimeError" in record["args"][0]["repr"]
        else:
            assert kept == record.get("args")

    @pytest.mark.parametrize(
        "text",
        ["a\nb", "\r\n", "\u2028\u2029\x85", "\0", "\u202egnp", "e\u0301", "😀", "ÿ" * 1000, '"\\', "1234abcd {}\n"],
    )
    def test_text(self, log: logging.Logger, home: Path, text: str) -> None:
        """Pitfall 28: any text is written as one line and read back as it was: no text makes a second record."""
        log.info("%s", text, extra={"text": text, text + "key": 1})
        record = one(home)
        assert (text, text, 1) == (record["event"], record["text"], record[text + "key"])

    def test_surrogates(self, log: logging.Logger, home: Path) -> None:
        """Pitfall 28: lone surrogates, also in a traceback, are escaped or marked, and the record is kept."""
        try:
            raise ValueError("bad \ud800 text")
        except ValueError:
            log.exception("bad \ud800", extra={"a": "\udcff", "b": 1})
        record = one(home)
        assert "bad \\ud800" == record["event"]
        assert "bad \\ud800 text" in record["exception"]
        assert ("'\\udcff'", 1) == (record["a"]["repr"], record["b"])

    @pytest.mark.parametrize("name", ["time", "level", "logger", "exception", "stack", "pid", "seq"])
    def test_clashes(self, log: logging.Logger, home: Path, name: str) -> None:
        """Pitfall 30: a field with a name of ours gets a trailing `_`."""
        log.info("x", extra={name: "mine", name + "_": "taken", "other": 1})
        record = one(home)
        assert ("mine", "taken", 1) == (record[name + "__"], record[name + "_"], record["other"])

    def test_event_in_extra(self, log: logging.Logger, home: Path) -> None:
        """An `event` in `extra` is the event, and the text, where it differs, becomes `message`."""
        log.info("user logged in", extra={"event": "audit.event", "a": 1})
        log.info("audit.event", extra={"event": "audit.event"})
        log.info("x", extra={"event": None})
        assert [("audit.event", "user logged in"), ("audit.event", None), ("x", None)] == [
            (each["event"], each.get("message")) for each in found(home)
        ]

    def test_mutation(self, log: logging.Logger, home: Path) -> None:
        """Pitfall 25: what is changed after the call was recorded as it was; for others the record is not changed."""
        value = {"a": [1]}
        seen = list[logging.LogRecord]()

        class Other(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                seen.append(record)
                record.msg = "changed"

        log.addHandler(Other())
        log.info("x %s", 1, extra={"value": value})
        value["a"].append(2)
        assert ("x 1", {"a": [1]}) == (one(home)["event"], one(home)["value"])
        assert (1,) == seen[0].args
        assert {"a": [1, 2]} == seen[0].__dict__["value"]

    @pytest.mark.parametrize("size", [0, 1, 800, 900, 950, 1000, 1023, 1024, 1025, 5000, 3_000_000])
    def test_sizes(self, home: Path, size: int) -> None:
        """Pitfall 32: around each limit and far above, a record fits it, and what was cut says so."""
        with logging_to(home, max_record_bytes=1024) as logger:
            for _ in range(2):
                logger.info("x" * size, extra={"a": 1})
        for record in durable(home):
            assert 1 == record["a"]
            whole = "x" * size == record["event"]
            assert whole or f"{size} characters" in record["event"]
        content = b"".join(path.read_bytes() for path in (home / "logs" / "spool").iterdir())
        assert max(map(len, content.splitlines()[1:])) <= 1024
        assert size >= 850 or "x" * size == durable(home)[0]["event"]

    def test_large_exceptions(self, home: Path) -> None:
        """Pitfall 31: the text of an exception is cut like others."""
        with logging_to(home, max_record_bytes=4096) as logger:
            logger.error("x", exc_info=ValueError("y" * 100_000), extra={"many": list(range(10_000))})
        (record,) = durable(home)
        assert isinstance(record["exception"], str)
        assert "left out" in record["many"]["!"]

    def test_ten_thousand_keys(self, log: logging.Logger, home: Path) -> None:
        """Pitfall 30: a record of ten thousand keys is a record."""
        log.info("x", extra={f"k{n}": n for n in range(10_000)})
        assert 10_000 == len([key for key in one(home) if key[0] == "k"])


class TestSameLine:
    def test_fields_that_vary(self, log: logging.Logger, home: Path) -> None:
        """Whatever fields one line of a program logs in turn, each record has its own."""
        given: list[dict[str, Any]] = [{"a": 1}, {"b": 2}, {"a": 3, "b": 4}, {"b": 5, "a": 6}, {}, {"c": 8, "d": 9}]
        for fields in given * 2:
            log.info("x", extra=fields)
        assert given * 2 == [{key: each[key] for key in each if len(key) == 1} for each in found(home)]

    def test_text_level_and_logger_that_vary(self, log: logging.Logger, home: Path) -> None:
        """One line of a program may log any text at any level on any logger: each record has its own."""
        below = logging.Logger("below")
        below.addHandler(handler_of(log))
        given = [(log, 20, "a"), (log, 30, "a"), (below, 20, "a"), (log, 20, "b %d"), (log, 20, '{"event": "c"}')]
        for logger, level, text in given * 2:
            logger.log(level, text, *([1] if "%" in text else []))
        name = log.name
        told = [("info", name, "a"), ("warning", name, "a"), ("info", "below", "a"), ("info", name, "b 1")]
        told.append(("info", name, "c"))
        assert told * 2 == [(each["level"], each["logger"], each["event"]) for each in found(home)]

    def test_formatted_before_or_not(self, log: logging.Logger, home: Path) -> None:
        """What another handler's formatter leaves in a record neither becomes a field nor hides one."""
        other = logging.StreamHandler(io.StringIO())
        other.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        log.handlers.insert(0, other)
        for level, fields in ((10, {"a": 1}), (99, {"a": 1, "b": 2, "c": 3}), (99, {"a": 1, "b": 2}), (10, {"a": 1})):
            other.setLevel(level)
            log.info("x", extra=fields)
        log.handlers.remove(other)
        names = [{key for key in each if len(key) == 1} for each in found(home)]
        assert [{"a"}, {"a", "b", "c"}, {"a", "b"}, {"a"}] == names
        assert not {"message", "asctime"} & {key for each in found(home) for key in each}


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


class TestJsonMessages:
    def test_members(self, log: logging.Logger, home: Path) -> None:
        """A JSON-object message becomes fields; an `event` among them is the event."""
        log.info('{"event": "e", "a": {"b": 1}, "pid": 5}')
        log.info('{"a": 1}', extra={"a": 2, "b": 3})
        log.info({"event": "d", "a": 1})
        first, second, third = found(home)
        assert ("e", {"b": 1}, 5) == (first["event"], first["a"], first["pid_"])
        assert ('{"a": 1}', 2, 3) == (second["event"], second["a"], second["b"])
        assert ("d", 1) == (third["event"], third["a"])

    def test_first_event(self, home: Path) -> None:
        """A JSON message without `event` gets the subsystem's first one; what that requires is not demanded."""
        with logging_to(home, "audit") as logger:
            logger.info('{"action": "login"}')
            assert 1 == handler_of(logger)._recorder.home.writers["audit"].incomplete
        assert ("audit.event", "login") == tuple(durable(home, "audit")[0][key] for key in ("event", "action"))

    @pytest.mark.parametrize("text", ["{", "{x}", '{"a": 1} {"b": 2}', "[1]", '{"a": NaN', "{}}"])
    def test_not_json(self, log: logging.Logger, home: Path, text: str) -> None:
        """What only looks like JSON stays text."""
        log.info(text)
        assert text == one(home)["event"]

    def test_not_through_an_argument(self, log: logging.Logger, home: Path) -> None:
        """What comes in through an argument is never taken apart: a user's text makes no fields."""
        log.info("%s", '{"event": "audit.event", "user": "root"}')
        log.info("%s", '{"event": "audit.event", "user": "root"}', exc_info=ValueError())
        assert ['{"event": "audit.event", "user": "root"}'] * 2 == [each["event"] for each in found(home)]
        assert not any("user" in each for each in found(home))

    def test_nan(self, log: logging.Logger, home: Path) -> None:
        """Pitfall 29: a NaN in a JSON message is marked, for it is no JSON."""
        log.info('{"a": NaN, "b": 1}')
        assert ("nan", 1) == (one(home)["a"]["repr"], one(home)["b"])


class TestRouting:
    def test_routes(self, home: Path) -> None:
        """Without a subsystem a record goes by its field, its event, its logger, else to `logs`."""
        with logging_to(home, None) as logger:
            logger.info("a", extra={"subsystem": "wal", "event": "audit.event"})
            logger.info("b", extra={"event": "audit.event"})
            logger.info("c", extra={"subsystem": "../../x"})
            logger.info("d", extra={"subsystem": BadRepr()})
            logger.name = "audit.sub"
            logger.info("e")
        assert ["audit", "logs", "wal"] == sorted(path.name for path in home.iterdir())
        assert ["b", "e"] == [each.get("message", each["event"]) for each in durable(home, "audit")]
        assert ["c", "d"] == [each["event"] for each in durable(home)]
        (wal,) = durable(home, "wal")
        assert "subsystem" not in wal
        assert "../../x" == durable(home)[0]["subsystem"]

    def test_fixed(self, log: logging.Logger, home: Path) -> None:
        """With a subsystem its records go there, and a field of that name is a field."""
        log.info("x", extra={"subsystem": "wal"})
        assert "wal" == one(home)["subsystem"]


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


class TestRedaction:
    @pytest.mark.parametrize("rule", [["password"], lambda fields: {**fields, "password": "[redacted]"}])
    def test_before_the_disk(self, home: Path, rule: Any) -> None:
        """Pitfall 35: what is to be hidden never reaches the disk, in no kind of record."""
        with logging_to(home, redact=rule) as logger:
            for _ in range(2):
                logger.info("x", extra={"password": "hush", "a": 1})
            logger.info('{"password": "hush"}')
            logger.info({"password": "hush"})
        content = b"".join(path.read_bytes() for path in (home / "logs" / "spool").iterdir())
        assert 4 == len(durable(home))
        assert b"hush" not in content

    def test_function_that_fails(self, home: Path) -> None:
        """Pitfall 35: a function that raises hides all and loses no record."""
        with logging_to(home, redact=lambda _: 1 / 0) as logger:
            logger.info("x", extra={"password": "hush"})
        assert ("[redacted]", "ZeroDivisionError") == (durable(home)[0]["event"], durable(home)[0]["redact_failed"])


class TestReentrancy:
    def test_str_that_logs(self, log: logging.Logger, home: Path) -> None:
        """Pitfall 21: a `__str__` that logs on the same logger: both are recorded, once."""

        class Chatty:
            def __str__(self) -> str:
                log.info("inner")
                return "outer"

        log.info("%s", Chatty())
        assert ["inner", "outer"] == [each["event"] for each in found(home)]

    def test_str_that_logs_itself(self, home: Path) -> None:
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
    def test_signal_handler(self, log: logging.Logger, home: Path, alarms: int) -> None:
        """Pitfall 19: a signal handler that logs every 4 ms while the program logs: nothing hangs, nothing is lost."""
        ticks = list[int]()

        def handler(*_: object) -> None:
            if len(ticks) < alarms:
                ticks.append(1)
                log.warning("tick")

        before = signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.004)
        count, until = 0, time.monotonic() + 30
        try:
            while len(ticks) < alarms and time.monotonic() < until:
                log.info("tock")
                count += 1
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        log.info("tock")
        events = [each["event"] for each in found(home)]
        assert (count + 1, alarms) == (events.count("tock"), events.count("tick"))

    @pytest.mark.parametrize("cycles", [300, pytest.param(30_000, marks=pytest.mark.soak)])
    def test_destructors(self, log: logging.Logger, home: Path, cycles: int) -> None:
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
        events = [each["event"] for each in found(home)]
        assert (3 * cycles, len(gone)) == (events.count("here"), events.count("gone"))
        assert 3 * cycles == len(gone)

    @pytest.mark.parametrize("message", ["plain", '{"a": 1}'])
    def test_interrupted_at_every_line(self, log: logging.Logger, home: Path, message: str) -> None:
        """Pitfall 24: KeyboardInterrupt at any line of `emit` leaves no half line and no held lock."""
        line_number = 1

        def call() -> None:
            log.info(message, extra={"n": line_number, "x": {"y": 1.5}})

        while interrupted(call, line_number, KeyboardInterrupt):
            thread = threading.Thread(target=log.info, args=("after",))
            thread.start()
            thread.join(5)
            assert not thread.is_alive()
            line_number += 1
            assert line_number < 3000
        kept = [each["n"] for each in found(home) if "n" in each]
        assert sorted(set(kept)) == kept
        assert line_number - 1 == [each["event"] for each in found(home)].count("after")
        assert line_number > 10

    def test_filter_that_logs(self, log: logging.Logger, home: Path) -> None:
        """Pitfall 21: a filter that logs on the same logger: both are recorded."""
        inside = list[int]()

        def chatty(_: logging.LogRecord) -> bool:
            if not inside:
                inside.append(1)
                log.info("from the filter")
            return True

        handler_of(log).addFilter(chatty)
        log.info("x")
        assert ["from the filter", "x"] == [each["event"] for each in found(home)]


class TestGuest:
    def test_nothing_is_printed(
        self, home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Pitfalls 12 and 18: when nothing can be written nothing is raised, printed or logged; it is counted."""
        monkeypatch.setattr("os.write", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
        with logging_to(home) as logger:
            for _ in range(3):
                logger.error("x %d", "bad", exc_info=ValueError())
            dropped = handler_of(logger)._recorder.home.writers["logs"].dropped
            monkeypatch.undo()
        assert {"ENOSPC": 3} == dropped
        assert ("", "") == capsys.readouterr()

    def test_no_lock(self, log: logging.Logger) -> None:
        """Pitfall 3: the handler has no lock of its own that flush could hold."""
        assert handler_of(log).lock is None
        handler_of(log).acquire()
        handler_of(log).release()

    def test_after_close(self, log: logging.Logger, home: Path) -> None:
        """Pitfalls 4 and 5: flush and close in every order, twice, from any thread; later records are durable."""
        handler = handler_of(log)
        for step in (handler.flush, handler.close, handler.close, handler.flush, handler.close):
            thread = threading.Thread(target=step)
            thread.start()
            thread.join(10)
            step()
            log.info("later")
        assert 5 == len(found(home))

    def test_private(self, log: logging.Logger, home: Path) -> None:
        """Pitfall 35: the spool is 0600 in directories of 0700."""
        log.info("x")
        modes = {path.is_dir(): path.stat().st_mode & 0o777 for path in [home, *home.rglob("*")]}
        assert {True: 0o700, False: 0o600} == modes

    def test_dict_config(self, home: Path) -> None:
        """Pitfall 45: the handler is made by dictConfig; a wrong key fails there, names itself, and leaves nothing."""
        import logging.config

        given = {"class": "ipfs_log_handlers.IPFSHandler", "subsystem": "logs", "home": str(home), "keeper": "none"}
        config = {"version": 1, "disable_existing_loggers": False, "handlers": {"h": given}}
        with pytest.raises(ValueError, match="handler 'h'") as caught:
            logging.config.dictConfig({**config, "handlers": {"h": {**given, "flush_timout": 1}}})
        assert "'flush_timeout' perhaps" in str(caught.value.__cause__)
        assert not home.exists()
        logging.config.dictConfig({**config, "loggers": {"tests.dict_config": {"handlers": ["h"], "level": "INFO"}}})
        logger = logging.getLogger("tests.dict_config")
        logger.info("x", extra={"a": 1})
        for handler in list(logger.handlers):
            logger.removeHandler(handler)
            handler.close()
        HomeProcess._all.pop(home)
        assert ("x", 1) == (durable(home)[0]["event"], durable(home)[0]["a"])

    def test_two_ways_one_record(self, log: logging.Logger, home: Path) -> None:
        """The short way and the long way write the same record."""
        record = logging.LogRecord("t", 20, "p", 5, "x %s", (1,), None)
        record.__dict__.update({"a": 1.5, "b": {"c": [None, True, "ä\u2028"]}, "d": -0.0, "e": 2**63})
        handler_of(log).handle(record)
        handler_of(log).emit(record)
        short, long = found(home)
        assert json.dumps({**short, "seq": 0}) == json.dumps({**long, "seq": 0})


def test_handler_is_a_logging_handler(home: Path) -> None:
    """What programs do with handlers works: names, repr, levels."""
    handler = IPFSHandler("logs", level="WARNING", home=home, keeper="none")
    handler.name = "mine"
    assert "WARNING" in repr(handler)
    assert logging.WARNING == handler.level
    handler.close()
    HomeProcess._all.pop(home)
