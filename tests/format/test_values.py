"""Values that programs log every day have a plain form in JSON; what is left a hook of the program can give one."""

from __future__ import annotations

import argparse
import array
import collections
import contextlib
import datetime as dt
import email.message
import enum
import fractions
import http.client
import io
import ipaddress
import json
import logging
import numbers
import pathlib
import socket
import sqlite3
import types
import warnings
from collections.abc import Iterator
from http.cookies import SimpleCookie
from typing import Any, NoReturn

import attrs
import msgspec
import multidict
import numpy as np
import pydantic
import pytest
from django.utils.datastructures import MultiValueDict
from django.utils.functional import lazystr
from starlette.datastructures import URL, Headers, ImmutableMultiDict, QueryParams

from ipfs_log_handlers.format.record import RecordEncoder, decode
from ipfs_log_handlers.format.values import MARK, Default, encode_total, fit
from tests.support.logging_home import durable, logging_to

BERLIN = dt.timezone(dt.timedelta(hours=1))


class Order(pydantic.BaseModel):
    """A model that holds another value than JSON's own."""

    number: int
    placed: dt.datetime
    parts: list[Order] = []


class Tags(pydantic.RootModel[list[str]]):
    """A model that is a list."""


@attrs.define
class Item:
    """A class of attrs."""

    name: str
    price: float = 1.5


class Shape(msgspec.Struct):
    """A struct of msgspec."""

    sides: int


class Count:
    """A whole number of another library."""

    def __int__(self) -> int:
        return 5


class Ratio:
    """A real number of another library."""

    def __float__(self) -> float:
        return 0.5


numbers.Integral.register(Count)
numbers.Real.register(Ratio)


def headers(text: bytes) -> http.client.HTTPMessage:
    """Headers as http.client reads them."""
    return http.client.parse_headers(io.BytesIO(text + b"\r\n\r\n"))


def sqlite_row(**members: object) -> sqlite3.Row:
    """Return a row of a database."""
    with contextlib.closing(sqlite3.connect(":memory:")) as database:
        database.row_factory = sqlite3.Row
        columns = ", ".join(f"? AS {name}" for name in members)
        row: sqlite3.Row = database.execute(f"SELECT {columns}", tuple(members.values())).fetchone()
    return row


def error_with(
    error: Exception, *, notes: list[str] | None = None, exceptions: tuple[Exception, ...] = ()
) -> Exception:
    """Return an exception with notes, or one that is a group, in every version of Python."""
    vars(error).update({"__notes__": notes} if notes else {"exceptions": exceptions})
    return error


class Moment:
    """A time of another library."""

    def isoformat(self) -> str:
        """Return it as text."""
        return "2026-01-02T00:00:00Z"


class DatabaseAddress:
    """The address of a database, as SQLAlchemy has it."""

    def __str__(self) -> str:
        return "db://mira:hush@h"

    def render_as_string(self) -> str:
        """Return it without the password."""
        return "db://mira:***@h"


class Named(enum.Enum):
    """Names of headers."""

    HOST = "host"


def message(*pairs: tuple[str, str]) -> email.message.Message:
    """Return an e-mail with these headers."""
    made = email.message.Message()
    for name, value in pairs:
        made[name] = value
    return made


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (np.int64(5), 5),
        (np.float32(0.5), 0.5),
        (np.float64(0.1), 0.1),
        (np.bool_(True), True),
        (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        (np.datetime64("2026-01-02T03:04:05"), "2026-01-02T03:04:05"),
        (np.timedelta64(1500, "ms"), 1.5),
        (Count(), 5),
        (Ratio(), 0.5),
        (fractions.Fraction(1, 4), 0.25),
        (dt.timedelta(days=1, milliseconds=500), 86_400.5),
        (BERLIN, "UTC+01:00"),
        (ipaddress.ip_address("10.0.0.1"), "10.0.0.1"),
        (ipaddress.ip_address("::1"), "::1"),
        (ipaddress.ip_network("10.0.0.0/8"), "10.0.0.0/8"),
        (ipaddress.ip_interface("10.0.0.1/8"), "10.0.0.1/8"),
        (collections.deque([1, (2,)]), [1, [2]]),
        ({"a": 1}.keys(), ["a"]),
        ({"a": 1}.values(), [1]),
        ({"a": 1}.items(), [["a", 1]]),
        (range(3), [0, 1, 2]),
        (collections.UserList([1]), [1]),
        (collections.UserDict({"a": {1}}), {"a": [1]}),
        (collections.UserString("text"), "text"),
        (lazystr("text"), "text"),
        (ValueError("boom"), "ValueError: boom"),
        (KeyError(), "KeyError"),
        (Order(number=1, placed=dt.datetime(2026, 1, 2, tzinfo=dt.timezone.utc)),
         {"number": 1, "placed": "2026-01-02T00:00:00Z", "parts": []}),
        (Tags(["a"]), ["a"]),
        (Item("bolt"), {"name": "bolt", "price": 1.5}),
        (Shape(4), {"sides": 4}),
        (pathlib.Path("/a"), "/a"),
        (1 + 2j, "(1+2j)"),
        (URL("http://h/a?b=1"), "http://h/a?b=1"),
        (array.array("d", [0.5]), [0.5]),
        (np.longdouble(0.5), 0.5),
        (Moment(), "2026-01-02T00:00:00Z"),
        (DatabaseAddress(), "db://mira:***@h"),
        (np.array([(1, 0.5)], dtype=[("a", "i4"), ("b", "f8")]), [{"a": 1, "b": 0.5}]),
        (np.array([(1, 0.5)], dtype=[("a", "i4"), ("b", "f8")])[0], {"a": 1, "b": 0.5}),
        (SimpleCookie("a=1; b=2"), {"a": "1", "b": "2"}),
        (sqlite_row(a=1, b="x"), {"a": 1, "b": "x"}),
        (pydantic.SecretStr("hush"), "**********"),
        ({b"host": 1, Named.HOST: 2, 3: 4}, {"host": 1, "host_": 2, "3": 4}),
        (error_with(ValueError("boom"), notes=["while reading"]), "ValueError: boom\nwhile reading"),
        (error_with(RuntimeError("two"), exceptions=(ValueError("a"), KeyError("b"))),
         "RuntimeError: two [ValueError: a; KeyError: 'b']"),
        (types.SimpleNamespace(a={1}), {"a": [1]}),
        (argparse.Namespace(verbose=True), {"verbose": True}),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_everyday_values_are_plain_json(value: object, written: object) -> None:
    """Numbers of numpy, durations, addresses, sequences, exceptions and models are what a query can use."""
    found = fit({"a": [value]})["a"][0]
    assert written == found
    assert type(written) is type(found)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (MultiValueDict({"tag": ["a", "b"], "page": ["1"]}), {"tag": ["a", "b"], "page": "1"}),
        (QueryParams("tag=a&tag=b&page=1"), {"tag": ["a", "b"], "page": "1"}),
        (ImmutableMultiDict([("tag", "a"), ("tag", "b")]), {"tag": ["a", "b"]}),
        (Headers(raw=[(b"accept", b"a"), (b"host", b"h"), (b"accept", b"b")]), {"accept": ["a", "b"], "host": "h"}),
        (multidict.CIMultiDict([("Accept", "a"), ("Accept", "b")]), {"Accept": ["a", "b"]}),
        (headers(b"Accept: a\r\nHost: h\r\nAccept: b"), {"Accept": ["a", "b"], "Host": "h"}),
        (message(("To", "mira"), ("To", "ada")), {"To": ["mira", "ada"]}),
        (MultiValueDict({"tag": []}), {"tag": []}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_several_values_of_a_key_are_all_kept(value: object, written: object) -> None:
    """Query parameters, forms and headers keep each value of a key, in order; one value stays one."""
    assert written == fit(value)


def test_a_model_whose_value_is_of_another_type_brings_no_warning() -> None:
    """The logging call says nothing on the program's stderr, also where pydantic would."""
    order = Order.model_construct(number="one", placed=None, parts=[])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert {"number": "one", "placed": None, "parts": []} == fit(order)


def test_of_an_integer_without_end_the_first_digits_are_kept() -> None:
    """An integer that Python itself refuses to write in digits is marked, with its beginning in hexadecimal."""
    assert hex(10**5000)[:64] == fit(10**5000)["repr"][:64]


def test_a_mapping_with_a_method_of_that_name_is_written_by_its_items() -> None:
    """A mapping whose `lists` or `multi_items` does something else is a mapping like any other."""

    class Odd(dict[str, int]):
        def lists(self) -> int:
            return 5

    assert {"a": 1} == fit(Odd(a=1))


def test_sequences_that_are_made_when_asked_for_do_not_fill_the_memory() -> None:
    """A range of a billion is marked, not written, and so is a long array."""
    assert "range(0, 1000000000)" == fit(range(1_000_000_000))["repr"]
    assert "array([0, 0, 0, ..., 0, 0, 0]" in fit(np.zeros(100_001, dtype=int))["repr"]


def test_what_would_be_used_up_is_marked() -> None:
    """A generator is not read: the program would find it empty."""
    generator = (number for number in range(3))
    assert MARK in fit(generator)
    assert [0, 1, 2] == list(generator)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of one TCP connection on this machine: the client's, and the server's."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        accepted, _ = server.accept()
    yield client, accepted
    client.close()
    accepted.close()


def test_a_socket_is_written_as_its_addresses(pair: tuple[socket.socket, socket.socket]) -> None:
    """The socket in an access line of Django names both ends; one that is closed is marked."""
    client, accepted = pair
    port = client.getsockname()[1]
    assert {"local": f"127.0.0.1:{accepted.getsockname()[1]}", "peer": f"127.0.0.1:{port}"} == fit(accepted)
    accepted.close()
    assert "closed" in fit(accepted)["repr"]


def test_unix_sockets_and_ipv6_have_addresses_too(tmp_path: pathlib.Path) -> None:
    """A Unix socket is named by its path, an address of IPv6 stands in brackets."""
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(tmp_path / "s"))
        assert {"local": str(tmp_path / "s")} == fit(one)
    with socket.socket(socket.AF_INET6) as other:
        assert fit(other)["local"].startswith("[::]:")


class Money:
    """A type that only the program knows."""

    def __repr__(self) -> str:
        return "Money()"


def as_cents(value: Any) -> Any:
    """Return money as cents, as the hook of a program."""
    if isinstance(value, Money):
        return {"cents": 5, "at": dt.timedelta(seconds=1)}
    raise TypeError


def test_a_hook_decides_about_types_that_nothing_else_knows() -> None:
    """`default` is asked, at any depth, for what would be marked; what it returns is written like any value."""
    assert {"a": [{"cents": 5, "at": 1.0}]} == fit({"a": [Money()]}, as_cents)
    assert b'{"b":{"cents":5,"at":1.0}}' == encode_total({"b": Money()}, as_cents)


def test_a_hook_is_not_asked_about_types_that_are_known() -> None:
    """What has a plain form has that one, with a hook and without."""

    def refuse(value: Any) -> NoReturn:
        raise AssertionError(value)

    value = {"a": [dt.timedelta(1), b"x", {1}, np.int64(1)]}
    assert fit(value) == fit(value, refuse)


def fail(_: Any) -> NoReturn:
    """Raise, as a hook with a mistake does."""
    raise RuntimeError


@pytest.mark.parametrize(
    ("hook", "reason"),
    [
        (fail, "default raised RuntimeError"),
        (lambda value: value, "is not a JSON value"),
        (lambda value: [value], "a value that contains itself"),
        (lambda _: Money(), "nested deeper than 64"),
        (json.JSONEncoder().default, "is not a JSON value"),
    ],
    ids=["raises", "returns the same", "returns the same in a list", "returns another", "knows no type"],
)
def test_a_hook_that_does_not_help_costs_nothing_but_its_value(hook: Default, reason: str) -> None:
    """The value is marked, whatever the hook does; the values beside it are kept."""
    found = fit({"a": Money(), "b": 1}, hook)
    assert 1 == found["b"]
    while isinstance(found["a"], list):
        found = {"a": found["a"][0]}
    assert reason in found["a"][MARK]


def test_the_encoder_asks_its_hook() -> None:
    """A record is encoded with the hook of its handler, beside the values that the fast encoder takes."""
    prefix = RecordEncoder(default=as_cents).prefix(0.0, "INFO", "t", "e", {"a": 1, "price": Money()})
    assert {"cents": 5, "at": 1.0} == decode(prefix + b"}")["price"]


def test_a_handler_takes_the_hook(home: pathlib.Path) -> None:
    """`default` is a setting of handlers; long records are cut with its values in them."""
    with logging_to(home, default=as_cents, max_record_bytes=1024) as log:
        log.info("paid", extra={"price": Money(), "duration": dt.timedelta(seconds=2)})
        log.log(logging.INFO, "long", extra={"price": Money(), "text": "x" * 5000})
    short, long = durable(home)
    assert ({"cents": 5, "at": 1.0}, 2.0) == (short["price"], short["duration"])
    assert {"cents": 5, "at": 1.0} == long["price"]
