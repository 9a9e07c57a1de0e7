"""Values are hidden by their names, in fields and in texts of all forms."""

from __future__ import annotations

import logging
import time
from collections import deque
from enum import Enum
from http.cookies import SimpleCookie
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from starlette.datastructures import Headers

from ipfs_log_handlers.ingest.redaction import HIDDEN
from tests.support.odd_values import BadMapping, Point, cyclic_dict, cyclic_list, deep
from tests.support.redacting import NAMES, apply, in_message

COOKIES = SimpleCookie("token=hush; b=c")


class Login(NamedTuple):
    user: str
    password: str


class Kind(Enum):
    ODD = {"password": "hush"}  # noqa: RUF012 - a value as programs have them


PARTS = [
    "token", "x ", "token ", "a.", "password=(", "'", "password='", "\\", "\\'", "[", "[[", '{"a":', '{"a":[', '["x',
    '"\\"', "['a',", '("password",', "value=(", "value='", "name='", "name='password',", "v=", 'v="x",k=', "(it's ",
    'password="\\\\"x ',
]  # fmt: skip
"""Texts that, repeated, nearly match at every place."""


class TestNames:
    @pytest.mark.parametrize(
        ("value", "shown"),
        [
            ({"password": 1, "passwords": 2}, {"password": HIDDEN, "passwords": 2}),
            ({"PASSWORD": 1, "my_TOKEN_x": 1}, {"PASSWORD": HIDDEN, "my_TOKEN_x": HIDDEN}),
            ({"api-key": 1, "apikey": 1}, {"api-key": HIDDEN, "apikey": 1}),
            ({"a": {"b": [{"token": 1}, 2]}}, {"a": {"b": [{"token": HIDDEN}, 2]}}),
            ({"a": ({"password": 1},)}, {"a": ({"password": HIDDEN},)}),
            ({"a": Point(5)}, {"a": {"x": 5, "password": HIDDEN}}),
            ({5: {"password": 1}}, {5: {"password": HIDDEN}}),
            ({"url": "https://h/?a=1&token=hush&b=2"}, {"url": f"https://h/?a=1&token={HIDDEN}&b=2"}),
            ({"a": SimpleNamespace(password="hush", b=1)}, {"a": {"password": HIDDEN, "b": 1}}),
            ({"a": Login("mira", "hush")}, {"a": ["mira", HIDDEN]}),
            ({"a": deque([{"password": "hush"}])}, {"a": [{"password": HIDDEN}]}),
            ({"a": {"token=hush"}}, {"a": [f"token={HIDDEN}"]}),
            ({"a": b"token=hush", "b": b"\xff"}, {"a": f"token={HIDDEN}", "b": b"\xff"}),
            ({"a": Kind.ODD, "b": 1.5, "c": None}, {"a": {"password": HIDDEN}, "b": 1.5, "c": None}),
            ({"a": {b"password": b"hush"}}, {"a": {b"password": HIDDEN}}),
            ({"a": [("Password", "hush"), ("host", "h")]}, {"a": [("Password", HIDDEN), ("host", "h")]}),
            ({"a": [(b"password", b"hush")]}, {"a": [(b"password", HIDDEN)]}),
            ({"a": ["password", "hush"]}, {"a": ["password", HIDDEN]}),
            ({"a": ["password", "token", "host"]}, {"a": ["password", "token", "host"]}),
            ({"a": {"name": "password", "value": "hush"}}, {"a": {"name": "password", "value": HIDDEN}}),
            ({"a": [{"Value": "hush", "Key": "PASSWORD"}]}, {"a": [{"Value": HIDDEN, "Key": "PASSWORD"}]}),
            ({"a": {"name": "host", "value": "h"}}, {"a": {"name": "host", "value": "h"}}),
            ({"password=hush": 1}, {f"password={HIDDEN}": 1}),
            ({"a": ValueError("password=hush")}, {"a": f"ValueError: password={HIDDEN}"}),
            ({"a": Path("/x?token=hush")}, {"a": f"/x?token={HIDDEN}"}),
            ({"a": Headers(raw=[(b"token", b"hush"), (b"token", b"hush")])}, {"a": {"token": HIDDEN}}),
            ({"a": [(memoryview(b"password"), "hush")]}, {"a": [(memoryview(b"password"), HIDDEN)]}),
            ({"a": {b"password=hush": 1}}, {"a": {f"password={HIDDEN}": 1}}),
            ({"a": {("password", "hush"): 1}}, {"a": {f"('password', {HIDDEN})": 1}}),
            (
                {"a": {"Header-Name": "Password", "Header-Value": "hush"}},
                {"a": {"Header-Name": "Password", "Header-Value": HIDDEN}},
            ),
            ({"a": COOKIES}, {"a": {"token": HIDDEN, "b": COOKIES["b"]}}),
            ({"a": ["mysql", "--password", "hush", "-u", "x"]}, {"a": ["mysql", "--password", HIDDEN, "-u", "x"]}),
            ({"a": ["mysql", "--password=hush"]}, {"a": ["mysql", f"--password={HIDDEN}"]}),
            (
                {"a": {"HTTP_PASSWORD": 1, "HTTP_API_KEY": 1, "HTTP_HOST": 1, "XHTTP_PASSWORD": 1}},
                {"a": {"HTTP_PASSWORD": HIDDEN, "HTTP_API_KEY": HIDDEN, "HTTP_HOST": 1, "XHTTP_PASSWORD": 1}},
            ),
            ({"a": "HTTP_API_KEY=hush"}, {"a": f"HTTP_API_KEY={HIDDEN}"}),
        ],
        ids=range(35),
    )
    def test_named_values_are_hidden_wherever_they_stand(self, value: dict[Any, Any], shown: dict[Any, Any]) -> None:
        """Pitfall 35: named values are hidden wherever they stand: nested, in lists, in objects, in any case."""
        assert shown == apply(NAMES, fields=value)[1]

    @pytest.mark.parametrize(
        ("text", "shown"),
        [
            ("password=hush", f"password={HIDDEN}"),
            ("PassWord: hush, next", f"PassWord: {HIDDEN}, next"),
            ("{'password': 'hu\\'sh', 'a': 1}", f"{{'password': {HIDDEN}, 'a': 1}}"),
            ('{"password": "hu\\"sh", "a": 1}', f'{{"password": "{HIDDEN}", "a": 1}}'),
            ('"password": {"old": "hush", "new": "hush"}\nrest', f'"password": {HIDDEN}\nrest'),
            ("my.token.x = Bearer hush)", f"my.token.x = {HIDDEN})"),
            ("api-key=hush&b=1", f"api-key={HIDDEN}&b=1"),
            ('password="cut off hush', f"password={HIDDEN}"),
            ("the password is long", "the password is long"),
            ("passwords=1 nopassword=2", "passwords=1 nopassword=2"),
            ("run --password=hush --password 'hu sh' -u x", f"run --password={HIDDEN} --password {HIDDEN} -u x"),
            ("['run', '--password', 'hush', 'x']", f"['run', '--password', {HIDDEN}, 'x']"),
            ('["run", "--password", "hush", "x"]', f'["run", "--password", "{HIDDEN}", "x"]'),
            ("config['password'] = 'hush'", f"config['password'] = {HIDDEN}"),
            ("password -> hush", f"password -> {HIDDEN}"),
            ("\x1b[36mpassword\x1b[0m=\x1b[35mhu\x1b[1msh\x1b[0m a=1", f"password={HIDDEN} a=1"),
            ("'\\x1b[36mpassword\\x1b[0m=\\x1b[35mhush'", f"'password={HIDDEN}'"),
            ("\x1b[36mhost\x1b[0m=\x1b[35mh\x1b[0m", "\x1b[36mhost\x1b[0m=\x1b[35mh\x1b[0m"),
            ("<s:password a='1'>hu<b/>sh</s:password><c>d</c>", f"<s:password a='1'>{HIDDEN}</s:password><c>d</c>"),
            ("<password/><a>b</a> <password>hush</a>", f"<password/><a>b</a> <password>{HIDDEN}"),
            ("usage: login <user> <password>", "usage: login <user> <password>"),
            ('<input name="password" type="x" value="hush">', f'<input name="password" type="x" value="{HIDDEN}">'),
            (
                "<add value='hush' key='token'/><add key='a' value='b'/>",
                f"<add value='{HIDDEN}' key='token'/><add key='a' value='b'/>",
            ),
            (
                "- name: PASSWORD\n  value: hush\n- name: a\n  value: b",
                f"- name: PASSWORD\n  value: {HIDDEN}\n- name: a\n  value: b",
            ),
            ("/?user[password]=hush&a[]=1", f"/?user[password]={HIDDEN}&a[]=1"),
            ("/?user%5Bpassword%5D=hush&a=%20", f"/?user%5Bpassword%5D={HIDDEN}&a=%20"),
            ("/?a=1&next=%2Flogin%3Ftoken%3Dhu%2Csh&b=%2F", f"/?a=1&next={HIDDEN}&b=%2F"),
            (
                'x; form-data; name="password"\r\nA: b\r\n\r\nhu\r\nsh\r\n--x--',
                f'x; form-data; name="password"\r\nA: b\r\n\r\n{HIDDEN}\r\n--x--',
            ),
        ],
        ids=range(28),
    )
    def test_in_texts_the_value_after_a_name_is_hidden(self, text: str, shown: str) -> None:
        """In a message, a traceback, a stack and the text of a field, what follows a name is hidden, and no more."""
        assert (shown, {"a": shown}, shown, shown) == apply(NAMES, text, {"a": text}, text, text)

    @pytest.mark.parametrize(
        ("text", "shown"),
        [
            ("Cookie: a=hush; b=hush\r\nHost: h", f"Cookie: {HIDDEN}\r\nHost: h"),
            ("Set-Cookie: a=hush; Path=/; HttpOnly\nHost: h", f"Set-Cookie: {HIDDEN}\nHost: h"),
            ("curl -H 'Cookie: a=hush; b=hush' http://h", f"curl -H 'Cookie: {HIDDEN}' http://h"),
            ("{'Cookie': 'a=hush; b=hush', 'a': 1}", f"{{'Cookie': {HIDDEN}, 'a': 1}}"),
            (
                'Authorization: Digest user="hush", nc=1, response="hush"\r\nHost: h',
                f"Authorization: {HIDDEN}\r\nHost: h",
            ),
            ("Authorization: Bearer hush, and more; or less", f"Authorization: {HIDDEN}, and more; or less"),
            ("cookie=hush; next words", f"cookie={HIDDEN}; next words"),
        ],
        ids=range(7),
    )
    def test_of_a_header_of_several_parts_all_are_hidden(self, text: str, shown: str) -> None:
        """A cookie header has one cookie after the other, and an authorization may have parameters."""
        assert shown == apply(("*cookie", "authorization"), text)[0]

    def test_event_exception_and_stack_can_be_named(self) -> None:
        """The envelope's own texts can be named, too."""
        assert (HIDDEN, {}, HIDDEN, "s") == apply(("event", "exc*"), "e", {}, "x", "s")

    @pytest.mark.parametrize("value", [cyclic_dict(), cyclic_list(), deep(100_000)], ids=range(3))
    def test_values_without_end_are_hidden_from_some_depth_on(self, value: Any) -> None:
        """Pitfall 26: what has no end is hidden from some depth on; it does not lose the record."""
        assert {"a", "b"} == set(apply(NAMES, fields={"a": value, "b": 1})[1])

    def test_a_value_that_cannot_be_searched_is_hidden_whole(self) -> None:
        """Pitfall 26: what cannot be searched is hidden whole."""
        assert {"a": HIDDEN, "b": 1} == apply(NAMES, fields={"a": BadMapping(password=1), "b": 1})[1]

    def test_nothing_of_the_program_is_changed(self) -> None:
        """Pitfall 25: hiding changes nothing of the program's own, in fields nor in arguments."""
        value = {"a": {"password": 1}}
        apply(NAMES, fields=value)
        for args in ((value,), value):
            record = logging.makeLogRecord({"msg": value, "args": args})
            in_message(record, NAMES)
            assert (value, args) == (record.msg, record.args)
        assert {"a": {"password": 1}} == value

    @pytest.mark.slow
    @pytest.mark.parametrize("part", PARTS)
    def test_the_time_grows_with_the_length_of_a_text(self, part: str) -> None:
        """A text that nearly matches at every place costs its length, not the square of it."""

        def seconds(length: int) -> float:
            begun = time.thread_time()
            apply(("*token*", "a?b*c", "password"), part * (length // len(part)))
            return time.thread_time() - begun

        assert seconds(80_000) < 30 * min(seconds(10_000) for _ in range(3)) + 0.3
