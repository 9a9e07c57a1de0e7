"""What is to be hidden never reaches the disk, whichever part of a record holds it; and no record is lost over it."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import json
import logging
import re
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import pydantic
import pytest
from django.utils.datastructures import MultiValueDict
from gunicorn.glogging import SafeAtoms
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict
from starlette.datastructures import Headers, QueryParams

from ipfs_log_handlers import IPFSProcessor
from ipfs_log_handlers.format.values import encode_total
from ipfs_log_handlers.ingest.log_record import event_of
from ipfs_log_handlers.ingest.redaction import HIDDEN, redaction
from tests.support.logging_home import durable, logging_to
from tests.support.odd_values import BadRepr, Point, searchable
from tests.support.redacting import NAMES, apply, in_message, on_disk


class TestFunction:
    def test_a_function_sees_all_parts_and_its_result_is_recorded(self) -> None:
        """A function sees fields, event, exception and stack as one dict; what it returns is what is recorded."""
        seen = []

        def rule(record: dict[str, Any]) -> dict[str, Any]:
            seen.append(dict(record))
            return {**record, "event": "E", "exception": "X", "a": "hidden"}

        assert ("E", {"a": "hidden", "b": 2}, "X", "s") == apply(rule, "e", {"a": 1, "b": 2}, "x", "s")
        assert [{"event": "e", "a": 1, "b": 2, "exception": "x", "stack": "s"}] == seen

    def test_what_a_function_leaves_out_is_not_kept(self) -> None:
        """What it leaves out is not kept; of an event that is left out, a mark stays."""
        assert (HIDDEN, {"a": 1}, None, None) == apply(lambda r: {"a": r["a"]}, "e", {"a": 1, "b": 2}, "x", "s")

    def test_an_event_that_is_no_text_any_more_is_hidden(self) -> None:
        """An event or exception that is no text any more is hidden."""
        assert (HIDDEN, {}, HIDDEN, None) == apply(lambda _: {"event": 5, "exception": ["x"]})

    @pytest.mark.parametrize("rule", [lambda _: 1 / 0, lambda _: None, lambda record: record.clear()])
    def test_a_failing_function_hides_the_whole_record(self, rule: Any) -> None:
        """Pitfall 35: a function that fails hides the whole record: better nothing than what it wanted hidden."""
        event, fields, exception, stack = apply(rule, "secret", {"secret": 1}, "secret", "secret")
        assert (HIDDEN, {"redact_failed"}, None, None) == (event, set(fields), exception, stack)


class Lazy(dict[str, str]):
    """Arguments that are made when they are asked for, as gunicorn's are for its access log."""

    def __getitem__(self, name: str) -> str:
        return dict.get(self, name.lower(), "-")


class TestArguments:
    def test_arguments_made_when_asked_for_are_hidden_by_name(self) -> None:
        """A mapping that makes its values keeps doing so, for any name; those that are named are hidden."""
        lazy = Lazy({"h": "10.0.0.1", "{authorization}i": "Bearer hush", "{host}i": "h"})
        text = "%(h)s %({Host}i)s %({Authorization}i)s %({missing}o)s"
        record = logging.makeLogRecord({"msg": text, "args": lazy})
        assert f"10.0.0.1 h {HIDDEN} -" == in_message(record, ("authorization",)).getMessage()
        assert record.getMessage() == in_message(record, ("password",)).getMessage()

    def test_the_access_log_of_gunicorn_is_hidden_and_else_unchanged(self) -> None:
        """The atoms of gunicorn give `-` for a header that is missing, with `redact` as without."""
        atoms = SafeAtoms({"h": "10.0.0.1", "{authorization}i": "Bearer hush"})
        text = '%(h)s "%({Authorization}i)s" %({missing}i)s %(nothing)s'
        record = logging.makeLogRecord({"msg": text, "args": atoms})
        assert f'10.0.0.1 "{HIDDEN}" - -' == in_message(record, ("authorization",)).getMessage()

    @pytest.mark.parametrize(
        ("text", "args", "shown"),
        [
            ("password=%s, user %s", ("hu sh, hush", "mira"), f"password={HIDDEN}, user mira"),
            ("user %s: 100%% password: '%s'", ("mira", "hu sh"), f"user mira: 100% password: '{HIDDEN}'"),
            ("%*d token => %r %s", (5, 7, "hu sh", "x"), f"    7 token => '{HIDDEN}' x"),
            ("password=%d", (4711,), f"password={HIDDEN}"),
            ("passwords=%s", ("two words",), "passwords=two words"),
            ("%s=%s", ("password", "hush"), f"password={HIDDEN}"),
        ],
    )
    def test_an_argument_after_a_name_is_hidden_whole(
        self, home: Path, text: str, args: tuple[Any, ...], shown: str
    ) -> None:
        """A value with spaces that a message puts after its name is hidden to its end."""
        with logging_to(home, redact=NAMES) as logger:
            logger.info(text, *args)
        assert shown == durable(home)[0]["event"]

    def test_a_mapping_that_is_shown_whole_is_hidden_in_its_text(self) -> None:
        """The `repr` of such arguments is searched like any text."""
        record = logging.makeLogRecord({"msg": "all: %s", "args": Lazy({"password": "hush"})})
        assert f"all: {{'password': {HIDDEN}}}" == in_message(record, NAMES).getMessage()

    @pytest.mark.parametrize(
        "arg",
        [(1, 2), {3}, {"point": (1, 2), "set": {3}}, [(1, 2)], [], frozenset(), 1.10, "text", b"x", None, Point(1)],
    )
    def test_arguments_without_a_name_stay_the_same_objects(self, arg: object) -> None:
        """A tuple stays a tuple, a set a set: the message reads as it does without `redact`."""
        record = logging.makeLogRecord({"msg": "%s and %s", "args": (arg, 5)})
        hidden = in_message(record, ("no such name",))
        assert isinstance(hidden.args, tuple)
        assert arg is hidden.args[0]


SECRET = "h0sh"
"""The core of a secret: letters that no quoting changes, and that no example has by chance."""


@dataclasses.dataclass
class Account:
    user: str
    password: Any


@attrs.define
class Session:
    token: Any


class Credentials(pydantic.BaseModel):
    password: str


class Opaque:
    def __init__(self, password: Any) -> None:
        self.password = password

    def __repr__(self) -> str:
        return f"Opaque(password={self.password!r})"


def leaves(secret: str) -> list[Any]:
    """Each form in which a program holds a secret under its name."""
    return [
        {"password": secret}, {b"password": secret.encode()}, ("PassWord", secret), [b"password", secret.encode()],
        {"name": "password", "value": secret}, {"value": [secret], "Key": "PASSWORD"}, {"my_token_x": {"a": [secret]}},
        {"header": b"password", "value": secret.encode()}, Account("mira", secret), Session(secret),
        Credentials(password=secret), Opaque(secret), SimpleNamespace(password=secret),
        ValueError({"password": secret}), MultiValueDict({"password": [secret, secret]}),
        QueryParams([("token", secret), ("token", secret)]),
        Headers(raw=[(b"password", SECRET.encode())]), CIMultiDict([("password", secret), ("password", secret)]),
        f"password={SECRET}&a=1", f"Password: {SECRET}, next", f"https://h/?token={SECRET}", f"password => {SECRET}",
        f"Token: Bearer {SECRET}", {f"password={SECRET}": 1}, f"password={SECRET}".encode(),
        ["run", "--password", secret, "-x"], f"run --password {SECRET} -x", {("password", SECRET): 1},
        {"header_name": "token", "header_value": secret}, f"<password>{SECRET}</password>",
        f"\x1b[36mpassword\x1b[0m=\x1b[35m{SECRET}\x1b[0m", f"/?a=%2F%3Ftoken%3D{SECRET}", f"a[token]={SECRET}",
    ]  # fmt: skip


plain = st.sampled_from([1, 1.5, None, True, "text", "it's", {"a": 1}, [1, "x"], ("a", "b")])
secrets = st.text(st.sampled_from("ab '\"\\,;)}]:=\n\u00e9"), max_size=4).map(lambda text: f"x{text}{SECRET}{text}x")


def in_text(value: Any, form: Callable[[Any], str]) -> Any:
    """Return a value as a text, if possible."""
    try:
        return form(value)
    except (TypeError, ValueError):
        return [value]


def around(inner: Any) -> Any:
    """Containers and texts that a program puts a value into."""
    texts = [
        json.dumps,
        repr,
        lambda value: f"got {json.dumps(value)} and more",
        lambda value: json.dumps({"body": value}),
    ]
    return st.one_of(
        st.tuples(plain, inner).map(list),
        st.tuples(inner, plain, plain),
        st.tuples(plain, inner).map(lambda pair: {"first": pair[0], 5: pair[1]}),
        inner.map(lambda value: deque([value])),
        inner.map(lambda value: {"a": {"b": value}}.values()),
        st.tuples(inner, st.sampled_from(texts)).map(lambda pair: in_text(*pair)),
    )


holding_a_secret = st.recursive(secrets.flatmap(lambda secret: st.sampled_from(leaves(secret))), around, max_leaves=1)
"""Values that hold a secret under one of `NAMES`, at any depth, in structures and in texts."""


def kept(record: logging.LogRecord, names: tuple[str, ...]) -> bytes:
    """Return the JSON that is kept of a record."""
    made = redaction(names)
    assert made is not None
    logged = made.apply(event_of(made.hide_in_message(record), None))
    return encode_total([logged.event, logged.fields, logged.exception])


@pytest.mark.slow
@settings(max_examples=300)
@given(holding_a_secret)
def test_no_form_of_a_secret_is_kept(value: Any) -> None:
    """Whatever structure or text a named value stands in, as field, argument or message: no byte of it is kept."""
    for members in (
        {"a": value},
        {"msg": "got %s", "args": (value,)},
        {"msg": "got %r", "args": (value,)},
        {"msg": value},
    ):
        found = kept(logging.makeLogRecord(members), NAMES)
        assert SECRET.encode() not in found
        assert not any(SECRET.encode() in part for part in decoded_parts(found))


def decoded_parts(text: bytes) -> list[bytes]:
    """Return the decoded base64 in a text."""
    parts = []
    for part in re.findall(rb"[A-Za-z0-9+/]{8,}={0,2}", text):
        with contextlib.suppress(ValueError):
            parts.append(base64.b64decode(part))
    return parts


@given(st.dictionaries(st.text(max_size=6), searchable, max_size=4), st.text())
def test_what_has_no_name_to_hide_is_left_alone(fields: dict[str, Any], text: str) -> None:
    """Where no name matches, every value is the very object that was logged, and every text the same."""
    event, hidden, exception, stack = apply(("n0-such-name",), text, fields, text, text)
    assert (text, text, text) == (event, exception, stack)
    assert all(hidden[name] is value for name, value in fields.items())
    assert list(fields) == list(hidden)


@pytest.mark.slow
@given(st.dictionaries(st.text(max_size=6), searchable, max_size=3), holding_a_secret)
def test_values_beside_a_secret_are_left_alone(fields: dict[str, Any], secret: Any) -> None:
    """What stands beside a hidden value is the very object that was logged."""
    _, hidden, *_ = apply(("t0p-secret",), fields={"deep": [fields, {"t0p-secret": secret}]})
    assert fields is hidden["deep"][0]
    assert {"t0p-secret": HIDDEN} == hidden["deep"][1]


def test_what_a_hook_makes_of_a_value_is_searched(home: Path) -> None:
    """`default` may bring a name to light; the record has what the hook returned, without the secret."""
    with logging_to(home, redact=["password"], default=vars) as logger:
        logger.info("x", extra={"a": Opaque("hush"), "b": SimpleNamespace(n=1)})
    assert ({"password": HIDDEN}, {"n": 1}) == (durable(home)[0]["a"], durable(home)[0]["b"])


def test_without_a_rule_nothing_is_applied() -> None:
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


def test_a_formatter_gets_hidden_arguments(home: Path) -> None:
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


def test_the_processor_hides_on_disk_and_passes_on_unchanged(home: Path) -> None:
    """The same in a structlog chain, which goes on with what it had."""
    processor = IPFSProcessor("logs", home=home, keeper="none", redact="password")
    given = {"event": "password=hush", "password": "hush", "exception": "Error: password=hush"}
    assert given == processor(None, "info", dict(given))
    processor.close()
    assert b"hush" not in on_disk(home)
    assert 1 == len(durable(home))
