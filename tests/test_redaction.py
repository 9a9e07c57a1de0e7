"""What is to be hidden never reaches the disk, whichever part of a record holds it; and no record is lost over it."""

from __future__ import annotations

import logging
import time
from collections import deque
from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

from ipfs_log_handlers import IPFSProcessor
from ipfs_log_handlers.redaction import HIDDEN, redaction
from tests.odd import BadMapping, BadRepr, Point, cyclic_dict, cyclic_list, deep
from tests.workshop import durable, logging_to


class Login(NamedTuple):
    user: str
    password: str


class Kind(Enum):
    ODD = {"password": "hush"}  # noqa: RUF012 - a value as programs have them


NAMES = ("password", "*token*", "api?key")


def apply(rule: Any, event: str = "e", fields: Any = None, exception: Any = None, stack: Any = None) -> Any:
    """One record, through a rule."""
    made = redaction(rule)
    assert made is not None
    return made.apply((event, fields or {}, exception, stack), remake=False)


def on_disk(home: Path) -> bytes:
    """Every byte of the spool."""
    return b"".join(path.read_bytes() for path in sorted((home / "logs" / "spool").iterdir()))


class TestNames:
    @pytest.mark.parametrize(
        ("value", "shown"),
        [
            ({"password": 1, "passwords": 2}, {"password": HIDDEN, "passwords": 2}),
            ({"PASSWORD": 1, "my_TOKEN_x": 1}, {"PASSWORD": HIDDEN, "my_TOKEN_x": HIDDEN}),
            ({"api-key": 1, "apikey": 1}, {"api-key": HIDDEN, "apikey": 1}),
            ({"a": {"b": [{"token": 1}, 2]}}, {"a": {"b": [{"token": HIDDEN}, 2]}}),
            ({"a": ({"password": 1},)}, {"a": [{"password": HIDDEN}]}),
            ({"a": Point(5)}, {"a": {"x": 5, "password": HIDDEN}}),
            ({5: {"password": 1}}, {5: {"password": HIDDEN}}),
            ({"url": "https://h/?a=1&token=hush&b=2"}, {"url": f"https://h/?a=1&token={HIDDEN}&b=2"}),
            ({"a": SimpleNamespace(password="hush", b=1)}, {"a": f"namespace(password={HIDDEN}, b=1)"}),
            ({"a": Login("mira", "hush")}, {"a": ["mira", HIDDEN]}),
            ({"a": deque([{"password": "hush"}])}, {"a": f"deque([{{'password': {HIDDEN}}}])"}),
            ({"a": {"token=hush"}}, {"a": [f"token={HIDDEN}"]}),
            ({"a": b"token=hush", "b": b"\xff"}, {"a": f"token={HIDDEN}", "b": b"\xff"}),
            ({"a": Kind.ODD, "b": 1.5, "c": None}, {"a": {"password": HIDDEN}, "b": 1.5, "c": None}),
        ],
        ids=range(14),
    )
    def test_fields(self, value: dict[Any, Any], shown: dict[Any, Any]) -> None:
        """Pitfall 35: named values are hidden wherever they stand: nested, in lists, in objects, in any case."""
        assert shown == apply(NAMES, fields=value)[1]

    @pytest.mark.parametrize(
        ("text", "shown"),
        [
            ("password=hush", f"password={HIDDEN}"),
            ("PassWord: hush, next", f"PassWord: {HIDDEN}, next"),
            ("{'password': 'hu\\'sh', 'a': 1}", f"{{'password': {HIDDEN}, 'a': 1}}"),
            ('{"password": "hu\\"sh", "a": 1}', f'{{"password": {HIDDEN}, "a": 1}}'),
            ('"password": {"old": "hush", "new": "hush"}\nrest', f'"password": {HIDDEN}\nrest'),
            ("my.token.x = Bearer hush)", f"my.token.x = {HIDDEN})"),
            ("api-key=hush&b=1", f"api-key={HIDDEN}&b=1"),
            ('password="cut off hush', f"password={HIDDEN}"),
            ("the password is long", "the password is long"),
            ("passwords=1 nopassword=2", "passwords=1 nopassword=2"),
        ],
        ids=range(10),
    )
    def test_texts(self, text: str, shown: str) -> None:
        """In a message, a traceback, a stack and the text of a field, what follows a name is hidden, and no more."""
        assert (shown, {"a": shown}, shown, shown) == apply(NAMES, text, {"a": text}, text, text)

    def test_named_part(self) -> None:
        """The envelope's own texts can be named, too."""
        assert (HIDDEN, {}, HIDDEN, "s") == apply(("event", "exc*"), "e", {}, "x", "s")

    @pytest.mark.parametrize("value", [cyclic_dict(), cyclic_list(), deep(100_000)], ids=range(3))
    def test_without_end(self, value: Any) -> None:
        """Pitfall 26: what has no end is hidden from some depth on; it does not lose the record."""
        assert {"a", "b"} == set(apply(NAMES, fields={"a": value, "b": 1})[1])

    def test_bad_mapping(self) -> None:
        """Pitfall 26: what cannot be searched is hidden whole."""
        assert {"a": HIDDEN, "b": 1} == apply(NAMES, fields={"a": BadMapping(password=1), "b": 1})[1]

    def test_not_changed(self) -> None:
        """Pitfall 25: hiding changes nothing of the program's own, in fields nor in arguments."""
        value = {"a": {"password": 1}}
        made = redaction(NAMES)
        assert made is not None
        apply(NAMES, fields=value)
        made.arguments((value,))
        made.arguments(value)
        assert {"a": {"password": 1}} == value

    @pytest.mark.parametrize("part", ["token", "x ", "token ", "a.", "password=(", "'", "password='"])
    def test_time_is_linear(self, part: str) -> None:
        """A text that nearly matches at every place costs its length, not the square of it."""

        def seconds(length: int) -> float:
            begun = time.perf_counter()
            apply(("*token*", "a?b*c", "password"), part * length)
            return time.perf_counter() - begun

        assert seconds(40_000) < 30 * min(seconds(5_000) for _ in range(3)) + 0.5


class TestFunction:
    def test_sees_all(self) -> None:
        """A function sees fields, event, exception and stack as one dict; what it returns is what is recorded."""
        seen = []

        def rule(record: dict[str, Any]) -> dict[str, Any]:
            seen.append(dict(record))
            return {**record, "event": "E", "exception": "X", "a": "hidden"}

        assert ("E", {"a": "hidden", "b": 2}, "X", "s") == apply(rule, "e", {"a": 1, "b": 2}, "x", "s")
        assert [{"event": "e", "a": 1, "b": 2, "exception": "x", "stack": "s"}] == seen

    def test_leaves_out(self) -> None:
        """What it leaves out is not kept; of an event that is left out, a mark stays."""
        assert (HIDDEN, {"a": 1}, None, None) == apply(lambda r: {"a": r["a"]}, "e", {"a": 1, "b": 2}, "x", "s")

    def test_odd_texts(self) -> None:
        """An event or exception that is no text any more is hidden."""
        assert (HIDDEN, {}, HIDDEN, None) == apply(lambda _: {"event": 5, "exception": ["x"]})

    @pytest.mark.parametrize("rule", [lambda _: 1 / 0, lambda _: None, lambda record: record.clear()])
    def test_fails(self, rule: Any) -> None:
        """Pitfall 35: a function that fails hides the whole record: better nothing than what it wanted hidden."""
        event, fields, exception, stack = apply(rule, "secret", {"secret": 1}, "secret", "secret")
        assert (HIDDEN, {"redact_failed"}, None, None) == (event, set(fields), exception, stack)


def test_nothing_to_hide() -> None:
    """Without a rule there is nothing to apply."""
    assert redaction(None) is None


def _log_everywhere(logger: logging.Logger) -> None:
    """Put the secret into every part of a record that has a name for it."""
    given = {"password": "hush", "n": 1}
    logger.info("x", extra={"password": "hush", "deep": {"list": [{"password": "hush"}]}})
    logger.info("password=%s", "hush")
    logger.info("user %s", given)
    logger.info("user %s in %s", given, [given])
    logger.info("%(password)s", given)
    logger.info("%d %d", given)  # noqa: PLE1206
    logger.info("%d %d", given, "x")
    logger.info('{"password": "hush", "deep": {"password": ["hush"]}}')
    logger.info('{"event": "audit.event", "password": "hush"}')
    logger.info(given)
    logger.info("x", extra={"event": "named", "text": "password: hush"})
    logger.info("password = 'hush'", extra={"event": "named"})
    logger.info("x", extra={"bad": BadRepr(), "password": "hush"})
    try:
        raise ValueError({"password": "hush"})
    except ValueError:
        logger.exception("password=hush")
    logger.info("x", stack_info=True, extra={"a": "password=hush"})


def test_no_part_of_a_record_reaches_the_disk(home: Path) -> None:
    """Fields, arguments, JSON messages, mappings, tracebacks: fifteen records with a secret, and no byte of it."""
    with logging_to(home, redact=["password"]) as logger:
        _log_everywhere(logger)
    assert 15 == len(durable(home))
    assert b"hush" not in on_disk(home)
    assert b"_log_everywhere" in on_disk(home)


def test_function_keeps_every_part_from_the_disk(home: Path) -> None:
    """A function that hides all but the names of fields hides messages, texts and tracebacks as well."""
    with logging_to(home, redact=lambda record: dict.fromkeys(record, "gone")) as logger:
        _log_everywhere(logger)
    assert 15 == len(durable(home))
    assert b"hush" not in on_disk(home)


def test_with_a_formatter(home: Path) -> None:
    """A formatter of the program's gets arguments in which nothing is to be read."""
    with logging_to(home, redact=["password"]) as logger:
        logger.handlers[0].setFormatter(logging.Formatter("%(name)s: %(message)s"))
        logger.info("user %(password)s", {"password": "hush"})
    assert f"t: user {HIDDEN}" == durable(home)[0]["event"]


def test_other_handlers_see_the_record_as_it_was(home: Path) -> None:
    """Pitfall 25: the record that is handed on is not changed."""
    given = {"password": "hush"}
    record = logging.makeLogRecord({"msg": "%(password)s", "args": given, "name": "t", "password": "hush"})
    with logging_to(home, redact=["password"]) as logger:
        logger.handlers[0].handle(record)
    assert (record.getMessage(), record.args, record.__dict__["password"]) == ("hush", given, "hush")
    assert b"hush" not in on_disk(home)


def test_a_function_cannot_take_the_envelope(home: Path) -> None:
    """A name of the envelope that the function returns gets its trailing `_` like any other field's."""
    with logging_to(home, redact=lambda record: {**record, "pid": "mine", "time": "now"}) as logger:
        logger.info("x")
    [found] = durable(home)
    assert ("mine", "now") == (found["pid_"], found["time_"])
    assert isinstance(found["pid"], int)


def test_processor(home: Path) -> None:
    """The same in a structlog chain, which goes on with what it had."""
    processor = IPFSProcessor("logs", home=home, keeper="none", redact="password")
    given = {"event": "password=hush", "password": "hush", "exception": "Error: password=hush"}
    assert given == processor(None, "info", dict(given))
    processor.close()
    assert b"hush" not in on_disk(home)
    assert 1 == len(durable(home))
