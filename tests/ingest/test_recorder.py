"""What a record becomes: its envelope, its fields, a JSON message, the log it is routed to."""

from __future__ import annotations

import io
import logging
import logging.handlers
from pathlib import Path
from typing import Any

import pytest

from ipfs_log_handlers.home.layout import HomeDir
from tests.support.logging_home import durable, handler_of, logging_to
from tests.support.odd_values import ODD_NAMES, BadRepr, odd_value
from tests.support.written_records import found, one


class TestRecord:
    def test_the_keys_of_a_record_stand_in_order(self, log: logging.Logger, home: Path) -> None:
        """A record holds time, level, logger, event, the caller's fields, pid and seq, in this order."""
        log.warning("hello %s", "you", extra={"user": "ä", "nested": {"a": [1, 2.5, None]}})
        record = one(home)
        assert ["time", "level", "logger", "event", "user", "nested", "pid", "seq"] == list(record)
        assert ["warning", "t", "hello you", "ä", {"a": [1, 2.5, None]}] == list(record.values())[1:6]
        assert 2 == record["seq"]
        assert record["time"].endswith("Z")

    @pytest.mark.parametrize("name", ODD_NAMES)
    def test_odd_values_leave_their_neighbours_intact(self, log: logging.Logger, home: Path, name: str) -> None:
        """Pitfall 26: whatever stands in `extra`, the record is kept and its neighbours are intact, each time."""
        for _ in range(2):
            log.info("x", extra={"before": 1, "value": odd_value(name), "after": [2]})
        assert [(1, [2])] * 2 == [(record["before"], record["after"]) for record in found(home)]
        assert all("value" in record for record in found(home))

    @pytest.mark.parametrize("name", [name for name in ODD_NAMES if name != "lying class"])
    def test_a_message_of_any_kind_gives_an_event_that_is_text(
        self, log: logging.Logger, home: Path, name: str
    ) -> None:
        """Pitfall 27: a message of any kind is kept, with an event that is text."""
        log.info(odd_value(name))
        log.info("%s", odd_value(name))
        assert [str, str] == [type(record["event"]) for record in found(home)]

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
    def test_arguments_that_do_not_fit_are_kept(
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
    def test_any_text_is_one_line_and_read_back_as_it_was(self, log: logging.Logger, home: Path, text: str) -> None:
        """Pitfall 28: any text is written as one line and read back as it was: no text makes a second record."""
        log.info("%s", text, extra={"text": text, text + "key": 1})
        record = one(home)
        assert (text, text, 1) == (record["event"], record["text"], record[text + "key"])

    def test_lone_surrogates_are_escaped_or_marked(self, log: logging.Logger, home: Path) -> None:
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
    def test_a_clashing_field_gets_a_trailing_underscore(self, log: logging.Logger, home: Path, name: str) -> None:
        """Pitfall 30: a field with a name of ours gets a trailing `_`."""
        log.info("x", extra={name: "mine", name + "_": "taken", "other": 1})
        record = one(home)
        assert ("mine", "taken", 1) == (record[name + "__"], record[name + "_"], record["other"])

    def test_an_event_in_extra_is_the_event(self, log: logging.Logger, home: Path) -> None:
        """An `event` in `extra` is the event, and the text, where it differs, becomes `message`."""
        log.info("user logged in", extra={"event": "audit.event", "a": 1})
        log.info("audit.event", extra={"event": "audit.event"})
        log.info("x", extra={"event": None})
        assert [("audit.event", "user logged in"), ("audit.event", None), ("x", None)] == [
            (record["event"], record.get("message")) for record in found(home)
        ]

    def test_a_value_changed_after_the_call_was_recorded_before(self, log: logging.Logger, home: Path) -> None:
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
    def test_a_record_around_the_limit_fits_and_says_what_was_cut(self, home: Path, size: int) -> None:
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

    def test_the_text_of_an_exception_is_cut(self, home: Path) -> None:
        """Pitfall 31: the text of an exception is cut like others."""
        with logging_to(home, max_record_bytes=4096) as logger:
            logger.error("x", exc_info=ValueError("y" * 100_000), extra={"many": list(range(10_000))})
        (record,) = durable(home)
        assert isinstance(record["exception"], str)
        assert "left out" in record["many"]["!"]

    def test_a_record_of_ten_thousand_keys_is_kept(self, log: logging.Logger, home: Path) -> None:
        """Pitfall 30: a record of ten thousand keys is a record."""
        log.info("x", extra={f"k{n}": n for n in range(10_000)})
        assert 10_000 == len([key for key in one(home) if key[0] == "k"])


class TestSameLine:
    def test_fields_that_vary_at_one_line_stay_apart(self, log: logging.Logger, home: Path) -> None:
        """Whatever fields one line of a program logs in turn, each record has its own."""
        given: list[dict[str, Any]] = [{"a": 1}, {"b": 2}, {"a": 3, "b": 4}, {"b": 5, "a": 6}, {}, {"c": 8, "d": 9}]
        for fields in given * 2:
            log.info("x", extra=fields)
        assert given * 2 == [{key: record[key] for key in record if len(key) == 1} for record in found(home)]

    def test_text_level_and_logger_that_vary_at_one_line_stay_apart(self, log: logging.Logger, home: Path) -> None:
        """One line of a program may log any text at any level on any logger: each record has its own."""
        below = logging.Logger("below")
        below.addHandler(handler_of(log))
        given = [(log, 20, "a"), (log, 30, "a"), (below, 20, "a"), (log, 20, "b %d"), (log, 20, '{"event": "c"}')]
        for logger, level, text in given * 2:
            logger.log(level, text, *([1] if "%" in text else []))
        name = log.name
        expected = [("info", name, "a"), ("warning", name, "a"), ("info", "below", "a"), ("info", name, "b 1")]
        expected.append(("info", name, "c"))
        assert expected * 2 == [(record["level"], record["logger"], record["event"]) for record in found(home)]

    def test_events_that_vary_at_one_line_stay_apart(self, log: logging.Logger, home: Path) -> None:
        """One line of a program may name any event, or none: each record has its own, and its text as `message`."""
        given: list[dict[str, Any]] = [{"event": "e", "a": 1}, {"event": "f", "a": 2}, {"event": 5, "a": 3}, {"a": 4}]
        given += [{"event": "x", "a": 5}, {"event": None, "a": 6}, {"event": "e", "b": 7}]
        for fields in given * 2:
            log.info("x", extra=fields)
        expected: list[dict[str, Any]] = [
            {"event": "e", "a": 1, "message": "x"}, {"event": "f", "a": 2, "message": "x"},
            {"event": "5", "a": 3, "message": "x"}, {"event": "x", "a": 4}, {"event": "x", "a": 5},
            {"event": "x", "a": 6}, {"event": "e", "b": 7, "message": "x"},
        ]  # fmt: skip
        shown = [
            {key: record[key] for key in record if key in {"event", "a", "b", "message"}} for record in found(home)
        ]
        assert expected * 2 == shown

    def test_events_without_their_fields_are_kept_and_counted(self, home: Path) -> None:
        """What lacks the fields of its event is kept and counted, however often the line was gone with all of them."""
        with logging_to(home, "audit") as log:
            whole = {"event": "audit.event", "event_type": "user", "action": "add", "timestamp": 1.5}
            for fields in [whole, {**whole, "action_": 1}, {**whole, "a": 1}, {"event": "audit.event", "a": 1}] * 3:
                log.info("x", extra=fields)
            assert 3 == handler_of(log)._recorder.home.writers["audit"].incomplete
        assert 12 == len(durable(home, "audit"))

    def test_what_another_formatter_leaves_becomes_no_field(self, log: logging.Logger, home: Path) -> None:
        """What another handler's formatter leaves in a record neither becomes a field nor hides one."""
        other = logging.StreamHandler(io.StringIO())
        other.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        log.handlers.insert(0, other)
        for level, fields in ((10, {"a": 1}), (99, {"a": 1, "b": 2, "c": 3}), (99, {"a": 1, "b": 2}), (10, {"a": 1})):
            other.setLevel(level)
            log.info("x", extra=fields)
        log.handlers.remove(other)
        names = [{key for key in record if len(key) == 1} for record in found(home)]
        assert [{"a"}, {"a", "b", "c"}, {"a", "b"}, {"a"}] == names
        assert not {"message", "asctime"} & {key for record in found(home) for key in record}


class TestJsonMessages:
    def test_a_json_message_becomes_fields(self, log: logging.Logger, home: Path) -> None:
        """A JSON-object message becomes fields; an `event` among them is the event."""
        log.info('{"event": "e", "a": {"b": 1}, "pid": 5}')
        log.info('{"a": 1}', extra={"a": 2, "b": 3})
        log.info({"event": "d", "a": 1})
        first, second, third = found(home)
        assert ("e", {"b": 1}, 5) == (first["event"], first["a"], first["pid_"])
        assert ('{"a": 1}', 2, 3) == (second["event"], second["a"], second["b"])
        assert ("d", 1) == (third["event"], third["a"])

    def test_a_json_message_without_event_gets_the_first_of_its_subsystem(self, home: Path) -> None:
        """A JSON message without `event` gets the subsystem's first one; what that requires is not demanded."""
        with logging_to(home, "audit") as logger:
            logger.info('{"action": "login"}')
            assert 1 == handler_of(logger)._recorder.home.writers["audit"].incomplete
        assert ("audit.event", "login") == tuple(durable(home, "audit")[0][key] for key in ("event", "action"))

    @pytest.mark.parametrize("text", ["{", "{x}", '{"a": 1} {"b": 2}', "[1]", '{"a": NaN', "{}}"])
    def test_text_that_only_looks_like_json_stays_text(self, log: logging.Logger, home: Path, text: str) -> None:
        """What only looks like JSON stays text."""
        log.info(text)
        assert text == one(home)["event"]

    def test_json_in_an_argument_makes_no_fields(self, log: logging.Logger, home: Path) -> None:
        """What comes in through an argument is never taken apart: a user's text makes no fields."""
        log.info("%s", '{"event": "audit.event", "user": "root"}')
        log.info("%s", '{"event": "audit.event", "user": "root"}', exc_info=ValueError())
        assert ['{"event": "audit.event", "user": "root"}'] * 2 == [record["event"] for record in found(home)]
        assert not any("user" in record for record in found(home))

    def test_nan_in_a_json_message_is_marked(self, log: logging.Logger, home: Path) -> None:
        """Pitfall 29: a NaN in a JSON message is marked, for it is no JSON."""
        log.info('{"a": NaN, "b": 1}')
        assert ("nan", 1) == (one(home)["a"]["repr"], one(home)["b"])


class TestRouting:
    def test_without_a_subsystem_each_record_is_routed(self, home: Path) -> None:
        """Without a subsystem a record goes by its field, its event, its logger, else to `logs`."""
        with logging_to(home, None) as logger:
            logger.info("a", extra={"subsystem": "wal", "event": "audit.event"})
            logger.info("b", extra={"event": "audit.event"})
            logger.info("c", extra={"subsystem": "../../x"})
            logger.info("d", extra={"subsystem": BadRepr()})
            logger.name = "audit.sub"
            logger.info("e")
        subsystems = [found.name for found in HomeDir(home).subsystem_dirs()]
        assert ["audit", "logs", "wal"] == subsystems
        assert ["b", "e"] == [record.get("message", record["event"]) for record in durable(home, "audit")]
        assert ["c", "d"] == [record["event"] for record in durable(home)]
        (wal,) = durable(home, "wal")
        assert "subsystem" not in wal
        assert "../../x" == durable(home)[0]["subsystem"]

    def test_with_a_subsystem_nothing_is_routed(self, log: logging.Logger, home: Path) -> None:
        """With a subsystem its records go there, and a field of that name is a field."""
        log.info("x", extra={"subsystem": "wal"})
        assert "wal" == one(home)["subsystem"]
