from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from ipfs_log_handlers import IPFSProcessor
from ipfs_log_handlers.ingest.recorder import Recorder
from ipfs_log_handlers.runtime.process import HomeProcess
from tests.support.logging_home import durable
from tests.support.odd_values import ODD_NAMES, BadRepr, odd_value


@pytest.fixture
def make(home: Path) -> Iterator[Callable[..., IPFSProcessor]]:
    """Return a function that makes processors for one home, without a thread."""
    made = list[IPFSProcessor]()

    def new(subsystem: str | None = "logs", **more: Any) -> IPFSProcessor:
        one = IPFSProcessor(subsystem, home=home, **{"keeper": "none", **more})
        made.append(one)
        return one

    yield new
    for processor in made:
        processor.close()
        assert 0 == processor._recorder.failed
    HomeProcess._all.pop(home, None)


def logger(*processors: Any) -> Any:
    """Make a structlog logger with these processors and no output."""
    end: Any = structlog.testing.LogCapture()
    return structlog.wrap_logger(None, processors=[*processors, end])


def chain(*processors: Any) -> Any:
    """Make a structlog logger with these processors; the result of the last one is dropped."""

    def drop(_: object, __: str, ___: Any) -> Any:
        raise structlog.DropEvent

    return structlog.wrap_logger(None, processors=[*processors, drop])


class TestProcessor:
    def test_an_event_dict_becomes_the_record_that_a_logrecord_becomes(
        self, make: Callable[..., IPFSProcessor], home: Path
    ) -> None:
        """An event dict becomes the same record as a LogRecord: time, level, logger, event, fields, pid, seq."""
        logger(make()).warning("hello", user="ä", nested={"a": [1, 2.5]})
        (record,) = durable(home)
        assert ["time", "level", "logger", "event", "user", "nested", "pid", "seq"] == list(record)
        assert ("warning", "hello", "ä") == (record["level"], record["event"], record["user"])

    def test_the_event_dict_is_passed_on_unchanged(self, make: Callable[..., IPFSProcessor]) -> None:
        """Pitfall 25: the very dict that came in goes on, unchanged."""
        given = {"event": "e", "level": "info", "time": 5, "subsystem": "wal", "exc_info": True, "a": [1]}
        before = dict(given)
        assert given is make(None)(None, "info", given)
        assert before == given

    @pytest.mark.parametrize("name", [name for name in ODD_NAMES if name != "lying class"])
    def test_odd_values_lose_no_record(self, make: Callable[..., IPFSProcessor], home: Path, name: str) -> None:
        """Pitfall 26: whatever stands in an event dict, under whatever key, the record is kept and passed on."""
        made = make()
        for key in ("value", "event", "level", "logger", "exception", "stack", "exc_info", "stack_info", 5, None):
            given: dict[Any, Any] = {"event": "e", "after": 1, key: odd_value(name)}
            assert given is made(None, "info", given)
        assert [1] * 10 == [record["after"] for record in durable(home)]

    @pytest.mark.parametrize(
        ("method", "level"),
        [("info", "info"), ("exception", "error"), ("warn", "warn"), ("msg", "msg"), ("own", "own")],
    )
    def test_the_level_is_that_of_the_event_else_of_the_method(
        self, make: Callable[..., IPFSProcessor], home: Path, method: str, level: str
    ) -> None:
        """The level is the event's own, else that of the method."""
        made = make()
        made(None, method, {"event": "e"})
        made(None, method, {"event": "e", "level": "Critical"})
        assert [level, "critical"] == [record["level"] for record in durable(home)]

    def test_events_below_the_level_are_passed_on_but_not_recorded(
        self, make: Callable[..., IPFSProcessor], home: Path
    ) -> None:
        """What is below the processor's level is passed on, and not recorded."""
        made = make(level="WARNING")
        for method in ("debug", "info", "warning", "error", "exception", "critical"):
            assert {"event": method} == made(None, method, {"event": method})
        assert ["warning", "error", "exception", "critical"] == [record["event"] for record in durable(home)]

    def test_a_clashing_key_gets_a_trailing_underscore(self, make: Callable[..., IPFSProcessor], home: Path) -> None:
        """Pitfall 30: a key with a name of ours gets a trailing `_`."""
        make()(None, "info", {"event": "e", "pid": 1, "time": 2, "seq": 3})
        (record,) = durable(home)
        assert (1, 2, 3) == (record["pid_"], record["time_"], record["seq_"])

    def test_without_a_subsystem_each_event_is_routed(self, make: Callable[..., IPFSProcessor], home: Path) -> None:
        """Without a subsystem an event goes by its field, its name, its logger, else to `logs`."""
        made = make(None)
        made(None, "info", {"event": "audit.event", "n": 1})
        made(None, "info", {"event": "x", "subsystem": "wal", "n": 2})
        made(None, "info", {"event": "x", "subsystem": "/etc", "n": 3})
        made(logging.getLogger("audit.y"), "info", {"event": "x", "n": 4})
        assert [[1, 4], [2], [3]] == [
            [record["n"] for record in durable(home, name)] for name in ("audit", "wal", "logs")
        ]

    def test_a_hidden_value_goes_on_in_the_chain(self, make: Callable[..., IPFSProcessor], home: Path) -> None:
        """Pitfall 35: what is to be hidden is hidden on the disk, and goes on in the chain as it was."""
        given = {"event": "e", "password": "hush"}
        assert "hush" == make(redact="password")(None, "info", given)["password"]
        assert "[redacted]" == durable(home)[0]["password"]


def as_bytes(value: Any, **more: Any) -> bytes:
    """JSON as fast serializers make it."""
    return json.dumps(value, **more).encode()


P = structlog.processors
WITH_FIELDS: dict[str, list[Any]] = {
    "JSON": [P.JSONRenderer()],
    "JSON in bytes": [P.JSONRenderer(serializer=as_bytes)],
    "sorted JSON": [P.JSONRenderer(sort_keys=True)],
    "JSON and a line end": [P.JSONRenderer(indent=1), lambda _, __, text: f"{text}\n"],
    "JSON in a memoryview": [P.JSONRenderer(serializer=as_bytes), lambda _, __, text: memoryview(text)],
    "JSON as GELF": [lambda _, __, event_dict: {"short_message": event_dict.pop("event"), **event_dict}],
    "keys of bytes": [lambda _, __, event_dict: {key.encode(): value for key, value in event_dict.items()}],
    "renamed to an own name": [P.EventRenamer("what")],
    "renamed to an own name, then JSON": [P.EventRenamer("what"), P.JSONRenderer()],
    "wrap_for_formatter": [structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
    "keyword arguments": [structlog.stdlib.render_to_log_kwargs],
    "renamed": [P.EventRenamer("message")],
    "renamed, then JSON": [P.EventRenamer("msg"), P.JSONRenderer()],
    "renamed and wrapped": [P.EventRenamer("message"), structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
}
AS_TEXT: dict[str, list[Any]] = {
    "key=value": [P.KeyValueRenderer()],
    "logfmt": [P.LogfmtRenderer()],
    "console": [structlog.dev.ConsoleRenderer(colors=False)],
    "own text": [lambda _, __, event_dict: f"{event_dict['event']} by {event_dict['user']}"],
    "own bytes": [lambda _, __, event_dict: f"{event_dict['event']} by {event_dict['user']}".encode()],
}
if hasattr(structlog.stdlib, "render_to_log_args_and_kwargs"):
    WITH_FIELDS["arguments"] = [structlog.stdlib.render_to_log_args_and_kwargs]


class TestAfterARenderer:
    @pytest.mark.parametrize("name", WITH_FIELDS)
    def test_event_and_fields_are_kept(self, make: Callable[..., IPFSProcessor], home: Path, name: str) -> None:
        """After a renderer that keeps the structure the record is the one it would be before it."""
        chain(P.add_log_level, structlog.stdlib.PositionalArgumentsFormatter(), *WITH_FIELDS[name], make()).warning(
            "signed in", user="mira", nested={"a": [1]}
        )
        (record,) = durable(home)
        assert {"time", "level", "logger", "event", "user", "nested", "pid", "seq"} == set(record)
        values = tuple(record[key] for key in ("level", "event", "user", "nested"))
        assert ("warning", "signed in", "mira", {"a": [1]}) == values

    @pytest.mark.parametrize("name", AS_TEXT)
    def test_the_text_is_kept(self, make: Callable[..., IPFSProcessor], home: Path, name: str) -> None:
        """After a renderer that makes text of it the text is the event."""
        chain(P.add_log_level, *AS_TEXT[name], make()).warning("signed in", user="mira")
        (record,) = durable(home)
        assert "signed in" in record["event"]
        assert "mira" in record["event"]
        assert "warning" == record["level"]

    @pytest.mark.parametrize("name", ["get", "items", "keys", "__getitem__"])
    def test_a_dict_whose_own_methods_fail_is_kept(
        self, make: Callable[..., IPFSProcessor], home: Path, name: str
    ) -> None:
        """A processor may have put a dict of its own class in the place of the event dict."""

        def fail(*_: object) -> Any:
            raise RuntimeError

        own = type("Own", (dict,), {name: fail})(event="e", a=1)
        assert own is make()(None, "info", own)
        assert "e" in durable(home)[0]["event"]

    def test_an_event_of_nothing_is_an_empty_text(self, make: Callable[..., IPFSProcessor], home: Path) -> None:
        """Where no other key has the event, nothing is made up; JSON text stays the event."""
        made: Any = make()
        made(None, "info", {"event": None, "a": 1})
        made(None, "info", {"event": None, "message": "m"})
        made(None, "info", '\ufeff{"event": null, "a": 1}')
        assert ["", "m", '\ufeff{"event": null, "a": 1}'] == [one["event"] for one in durable(home)]

    def test_bytes_that_are_no_text_are_kept(self, make: Callable[..., IPFSProcessor], home: Path) -> None:
        """A renderer of another format than text loses no byte: those that are no UTF-8 are written as escapes."""
        chain(lambda _, __, ___: b"\x85 signed in \xff", make()).info("e")
        assert r"\x85 signed in \xff" == durable(home)[0]["event"]

    def test_names_of_bytes_are_text(self, make: Callable[..., IPFSProcessor], home: Path) -> None:
        """`UnicodeEncoder` makes bytes of all texts: level, logger and event are still text."""
        chain(P.add_log_level, P.UnicodeEncoder(), make()).warning("gr\u00f6\u00dfe", logger="app")
        assert ("warning", "app", "gr\u00f6\u00dfe") == tuple(
            durable(home)[0][key] for key in ("level", "logger", "event")
        )

    def test_what_a_renderer_for_twisted_makes_is_taken_apart(
        self, make: Callable[..., IPFSProcessor], home: Path
    ) -> None:
        """There the message is an object whose `repr` is the JSON, and an error has its event under `_why`."""

        class Wrapper:
            def __repr__(self) -> str:
                return '{"event": "signed in", "user": "mira"}'

        made: Any = make()
        made(None, "msg", ((Wrapper(),), {"_structlog": True}))
        made(None, "err", ((), {"_why": "failed", "_stuff": 1}))
        one, two = durable(home)
        assert ("signed in", "mira") == (one["event"], one["user"])
        assert "_structlog" not in one
        assert ("failed", 1) == (two["event"], two["_stuff"])

    def test_a_level_that_is_a_number_of_another_scale_is_a_field(
        self, make: Callable[..., IPFSProcessor], home: Path
    ) -> None:
        """The level is that of the method; what a renderer for syslog made of it stays beside it."""
        chain(lambda _, __, event_dict: json.dumps({**event_dict, "level": 4}), make()).warning("e")
        assert ("warning", 4) == (durable(home)[0]["level"], durable(home)[0]["level_"])

    def test_an_exc_info_that_a_serializer_has_taken_apart_is_kept(
        self, make: Callable[..., IPFSProcessor], home: Path
    ) -> None:
        """JSON of an `exc_info` tuple is no traceback any more; what it holds is a field."""
        chain(P.JSONRenderer(), make()).error("e", exc_info=(ValueError, ValueError("boom"), None))
        (record,) = durable(home)
        assert "boom" in json.dumps(record["exc_info"])

    def test_in_a_formatter_a_record_of_logging_keeps_what_it_says(
        self, make: Callable[..., IPFSProcessor], home: Path
    ) -> None:
        """In the chain of a `ProcessorFormatter` logger, time and process are those of the LogRecord."""
        formatter = structlog.stdlib.ProcessorFormatter(processors=[make(include="source"), P.JSONRenderer()])
        members = {"name": "shop", "levelname": "ERROR", "msg": "e", "created": 1.0, "process": 1, "lineno": 7}
        formatter.format(logging.makeLogRecord(members))
        (record,) = durable(home)
        assert ("error", "shop", "e", 1, 7) == tuple(
            record[key] for key in ("level", "logger", "event", "logged_pid", "line")
        )
        assert record["time"].startswith("1970-01-01T00:00:01")

    @pytest.mark.parametrize("name", [*WITH_FIELDS, *AS_TEXT])
    def test_what_arrives_is_passed_on(self, make: Callable[..., IPFSProcessor], name: str) -> None:
        """What a renderer made goes on, unchanged."""
        arrived = []

        def note(_: object, __: str, event_dict: Any) -> Any:
            arrived.append((event_dict, repr(event_dict)))
            return event_dict

        chain(P.add_log_level, *{**WITH_FIELDS, **AS_TEXT}[name], note, make(), note).warning("signed in", user="mira")
        (before, text), (after, _) = arrived
        assert before is after
        assert text == repr(after)

    @pytest.mark.parametrize("name", [name for name in WITH_FIELDS if "renamed" not in name])
    def test_a_traceback_is_kept(self, make: Callable[..., IPFSProcessor], home: Path, name: str) -> None:
        """The traceback of an exception is text under `exception`, and stands once."""
        try:
            raise ValueError("größer")
        except ValueError:
            chain(P.format_exc_info, *WITH_FIELDS[name], make()).error("e", exc_info=True)
        (record,) = durable(home)
        assert record["exception"].endswith("ValueError: größer")
        assert not {"exception_", "exc_info"} & set(record)

    def test_an_event_under_a_name_of_the_configuration_is_found(
        self, make: Callable[..., IPFSProcessor], home: Path
    ) -> None:
        """`EventRenamer` in structlog's configuration says which key holds the event."""
        structlog.configure([P.EventRenamer("text"), make(), structlog.testing.LogCapture()])
        try:
            structlog.get_logger().info("signed in", user="mira")
        finally:
            structlog.reset_defaults()
        (record,) = durable(home)
        assert ("signed in", "mira") == (record["event"], record["user"])
        assert "text" not in record

    def test_a_replacement_for_a_renamed_event_is_the_event(
        self, make: Callable[..., IPFSProcessor], home: Path
    ) -> None:
        """Where `EventRenamer` puts another value under `event`, that is the event, and the message a field."""
        chain(P.EventRenamer("msg", "_event"), make()).info("signed in", _event="audit.event")
        (record,) = durable(home)
        assert ("audit.event", "signed in") == (record["event"], record["msg"])

    @pytest.mark.parametrize("arrived", [None, 5, ["a"], (), ((), {}), (("a",), None), (("%d", "x"), {}), object()])
    def test_anything_else_is_kept_as_text(self, make: Callable[..., IPFSProcessor], home: Path, arrived: Any) -> None:
        """Whatever a processor returns, the record is kept and it goes on."""
        assert arrived is make()(None, "info", arrived)
        assert isinstance(durable(home)[0]["event"], str)

    def test_arguments_of_a_call_make_the_event(self, make: Callable[..., IPFSProcessor], home: Path) -> None:
        """Positional arguments that come after the message are put into it; those that do not fit are kept."""
        made: Any = make()
        made(None, "info", (("%s signed in", "mira"), {"extra": {"a": 1}}))
        made(None, "info", (("%d", "mira"), {}))
        one, two = durable(home)
        assert ("mira signed in", 1) == (one["event"], one["a"])
        assert ("%d", ["mira"]) == (two["event"], two["args"])

    @pytest.mark.parametrize("before", [[], [P.JSONRenderer()]], ids=["as they are", "as JSON"])
    def test_arguments_that_no_processor_has_formatted_make_the_event(
        self, make: Callable[..., IPFSProcessor], home: Path, before: list[Any]
    ) -> None:
        """Structlog's loggers leave them beside the event; one after a name to hide is hidden whole."""
        arguments = chain(*before, make(redact=["password"]))
        arguments.info("%s with password=%s", positional_args=("mira", "hu sh"))
        arguments.info("%(user)s signed in", positional_args=({"user": "mira"},))
        arguments.info("%d", positional_args=("mira",))
        assert ["mira with password=[redacted]", "mira signed in", "%d"] == [one["event"] for one in durable(home)]
        assert [None, None, ["mira"]] == [one.get("args") for one in durable(home)]
        assert not any("positional_args" in one for one in durable(home))

    def test_keyword_arguments_without_a_message_are_fields(
        self, make: Callable[..., IPFSProcessor], home: Path
    ) -> None:
        """What a renderer hands to another logging system keeps its names."""
        made: Any = make()
        made(None, "info", ((), {"code": "E5", "user": "mira"}))
        assert ("E5", "mira") == tuple(durable(home)[0][name] for name in ("code", "user"))

    def test_an_event_that_is_an_object_is_kept_as_json(self, make: Callable[..., IPFSProcessor], home: Path) -> None:
        """An event that is no text is its JSON, not Python's `repr` of it."""
        chain(make()).info({"action": "login", "ok": True, "reason": None})
        assert '{"action":"login","ok":true,"reason":null}' == durable(home)[0]["event"]


class TestExceptions:
    def failing(self, log: Any) -> None:
        """Log an exception that is being handled."""
        try:
            raise ValueError("größer")
        except ValueError:
            log.exception("e")

    @pytest.mark.parametrize(
        "before", [[], [structlog.processors.format_exc_info], [structlog.processors.ExceptionRenderer()]], ids=range(3)
    )
    def test_a_traceback_is_kept_at_any_place_in_the_chain(
        self, make: Callable[..., IPFSProcessor], home: Path, before: list[Any]
    ) -> None:
        """Pitfall 31: the traceback is there wherever in the chain the processor stands."""
        self.failing(logger(*before, make()))
        assert durable(home)[0]["exception"].endswith("ValueError: größer")

    def test_a_structured_traceback_is_a_field(self, make: Callable[..., IPFSProcessor], home: Path) -> None:
        """Pitfall 31: a traceback that a processor made a structure of is kept as a field; `exception` is text."""
        self.failing(logger(structlog.processors.dict_tracebacks, make()))
        (record,) = durable(home)
        assert "exception" not in record
        assert "größer" == record["exception_"][0]["exc_value"]

    @pytest.mark.parametrize("exc_info", [True, False, None, (None, None, None), "x", 5])
    def test_exc_info_without_an_exception_records_none(
        self, make: Callable[..., IPFSProcessor], home: Path, exc_info: Any
    ) -> None:
        """Pitfall 31: `exc_info` without an exception records none."""
        make()(None, "error", {"event": "e", "exc_info": exc_info})
        assert "exception" not in durable(home)[0]

    def test_an_instance_and_a_tuple_are_exceptions(self, make: Callable[..., IPFSProcessor], home: Path) -> None:
        """Pitfall 31: an instance or a tuple is an exception too."""
        try:
            1 / 0  # noqa: B018
        except ZeroDivisionError as error:
            for exc_info in (error, sys.exc_info()):
                make()(None, "error", {"event": "e", "exc_info": exc_info})
        assert 2 == len([record for record in durable(home) if record["exception"].endswith("by zero")])

    def test_a_rendered_stack_is_text(self, make: Callable[..., IPFSProcessor], home: Path) -> None:
        """Pitfall 31: a stack that structlog rendered is text in the record."""
        logger(structlog.processors.StackInfoRenderer(), make()).info("e", stack_info=True)
        assert "test_a_rendered_stack_is_text" in durable(home)[0]["stack"]


class TestInsideAProgram:
    def test_a_failure_is_counted_and_the_event_goes_on(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Pitfall 12: what even a substitute cannot be written for is counted, and the event goes on."""
        made = IPFSProcessor("logs", home=home, keeper="none")
        monkeypatch.setattr(Recorder, "take", None)
        given = {"event": BadRepr()}
        assert given is made(None, "info", given)
        assert 1 == made._recorder.failed
        assert {"a record was lost: TypeError": 1} == made._recorder.home.counters().failures
        made.close()
        HomeProcess._all.pop(home)

    def test_logging_shutdown_closes_the_processor(self, make: Callable[..., IPFSProcessor]) -> None:
        """`logging.shutdown` knows the processor, though it is attached to no logger."""
        made = make()
        made(None, "info", {"event": "e"})
        assert made._shutdown in [reference() for reference in logging._handlerList]  # type: ignore[attr-defined]
        logging.shutdown([reference for reference in logging._handlerList if reference() is made._shutdown])  # type: ignore[attr-defined]
        assert not made._recorder._open_handler.open

    def test_events_after_close_are_durable(self, make: Callable[..., IPFSProcessor], home: Path) -> None:
        """Pitfall 5: flush and close in every order; later events are durable."""
        made = make()
        for step in (made.flush, made.close, made.close, made.flush):
            step()
            made(None, "info", {"event": "e"})
        assert 4 == len(durable(home))

    def test_handler_and_processor_share_one_writer(self, make: Callable[..., IPFSProcessor], home: Path) -> None:
        """Handlers and processors of one subsystem share one writer."""
        one, two = make(), make()
        one(None, "info", {"event": "1"})
        two(None, "info", {"event": "2"})
        assert [1, 2] == [record["seq"] for record in durable(home)]
        assert 1 == len(list((home / "logs" / "spool").iterdir()))
