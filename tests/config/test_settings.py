"""Wrong settings are named with the nearest right one; handlers of a home agree; references and defaults."""

from __future__ import annotations

import logging.config
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ipfs_log_handlers import IPFSHandler, IPFSProcessor
from ipfs_log_handlers.config import Batch, Settings
from ipfs_log_handlers.errors import ConfigurationError, HomeError
from ipfs_log_handlers.runtime.process import HomeProcess
from ipfs_log_handlers.subsystems import registry
from tests.support.logging_home import durable, logging_to


class TestMistakes:
    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("home", 5),
            ("home", ""),
            ("home", b"/x"),
            ("home", "a\0b"),
            ("home", "~no such user/x"),
            ("kubo", 5),
            ("kubo", [5]),
            ("kubo", "ftp://x"),
            ("kubo", ["http://127.0.0.1:5001", "http://127.0.0.1:5001/"]),
            ("kubo", "http://user:hush@127.0.0.1:5001"),
            ("token", 5),
            ("token", ""),
            ("token", "enf:KUBO_TOKEN"),
            ("token", "flie:/x"),
            ("token", "bearer:"),
            ("token", "Bearer hush"),
            ("token", "hush:hush"),
            ("token", "env:"),
            ("replicas", 0),
            ("replicas", True),
            ("replicas", 1.0),
            ("batch", 5),
            ("batch", {"record": 5}),
            ("batch", {"records": 0}),
            ("batch", {"records": "5"}),
            ("batch", {"bytes": 1}),
            ("batch", {"seconds": float("nan")}),
            ("batch", {"seconds": None}),
            ("batch", {5: 5}),
            ("flush_timeout", -1),
            ("flush_timeout", float("inf")),
            ("durability", "disk"),
            ("when_full", "wait"),
            ("max_spool_bytes", 10),
            ("max_spool_bytes", 1e9),
            ("max_store_bytes", -1),
            ("keep_days", "7"),
            ("max_record_bytes", 100),
            ("keeper", "process"),
            ("keeper", ["thread"]),
            ("publish", "yes"),
            ("publish", 1),
            ("redact", 5),
            ("redact", [5]),
            ("redact", [""]),
            ("redact", b"x"),
            ("redact", "ext://my_settings.NAMES"),
            ("redact", ["cfg://names"]),
            ("metadata", {"version": "ext://my_settings.VERSION"}),
            ("kubo", ["ext://my_settings.KUBO"]),
            ("include", "everything"),
            ("include", ["source", "line"]),
            ("include", 5),
            ("include", {"source": True}),
            ("default", "json.dumps"),
        ],
    )
    def test_a_wrong_value_is_named_with_its_keyword(self, tmp_path: Path, name: str, value: Any) -> None:
        """A wrong value is a ConfigurationError that names the key, and shows no credential."""
        with pytest.raises(ConfigurationError, match=name) as caught:
            Settings.parse({"home": tmp_path, name: value})
        assert "hush" not in str(caught.value)

    @pytest.mark.parametrize("owner", [IPFSHandler, IPFSProcessor], ids=lambda owner: owner.__name__)
    @pytest.mark.parametrize(
        ("wrong", "right"),
        [
            ("kobo", "kubo"),
            ("HomeDir", "home"),
            ("flush_timout", "flush_timeout"),
            ("subsytem", "subsystem"),
            ("lvl", "level"),
        ],
    )
    def test_a_misspelt_keyword_names_the_nearest_one(self, owner: type, wrong: str, right: str) -> None:
        """A misspelt keyword is named with the class that it was given to, and with the nearest right one."""
        with pytest.raises(ConfigurationError) as caught:
            owner(**{wrong: 1})
        assert f"{owner.__name__}: no such keyword '{wrong}'; did you mean '{right}'?" == str(caught.value)

    def test_a_keyword_like_no_other_lists_all(self) -> None:
        """A keyword that is like no other is named with all right ones."""
        with pytest.raises(ConfigurationError) as caught:
            Batch.parse({"zzz": 1})
        assert "batch: no such keyword 'zzz'; expected one of records, bytes, seconds" == str(caught.value)

    @pytest.mark.parametrize(
        ("name", "value", "message"),
        [
            ("flush_timeout", "5", "not a number; expected a number from 0 to 86,400, found the text '5'"),
            ("keep_days", "7", "not a number; expected a number from 0 to 1,000,000, found the text '7'"),
            ("publish", "true", "not a boolean; expected true or false, found the text 'true'"),
            ("keep_days", -1, "a number out of its range; expected a number from 0 to 1,000,000, found -1"),
            ("keep_days", [7], "not a number; expected a number from 0 to 1,000,000, found [7]"),
            (
                "max_record_bytes",
                True,
                "not a whole number; expected a whole number from 1,024 to 67,108,864, found the boolean True",
            ),
            (
                "max_record_bytes",
                2048.5,
                "not a whole number; expected a whole number from 1,024 to 67,108,864, found the float 2048.5",
            ),
            (
                "max_spool_bytes",
                "1GiB",
                (
                    "not a whole number; expected a whole number from 65,536 to 1,152,921,504,606,846,976, "
                    "found the text '1GiB'"
                ),
            ),
        ],
    )
    def test_a_wrong_number_is_shown_with_its_bounds(self, name: str, value: Any, message: str) -> None:
        """A value of a wrong type is named as such, a number beyond its bounds together with these."""
        with pytest.raises(ConfigurationError) as caught:
            Settings.parse({name: value})
        assert f"{name}: {message}" == str(caught.value)

    def test_a_bound_with_a_fraction_is_shown_as_it_is(self) -> None:
        """A bound is printed as it is."""
        with pytest.raises(ConfigurationError, match=r"^batch\.seconds: .* from 0\.01 to 31,536,000, found 0$"):
            Batch(seconds=0)

    def test_more_replicas_than_stores_are_refused(self) -> None:
        """More replicas than stores are an error that says so."""
        with pytest.raises(ConfigurationError, match="more replicas than stores"):
            Settings.parse({"kubo": "http://127.0.0.1:5001", "replicas": 2})

    @pytest.mark.parametrize("kind", [IPFSHandler, IPFSProcessor])
    @pytest.mark.parametrize("level", ["LOUD", None, 1.5])
    def test_a_wrong_level_leaves_no_open_handler_behind(self, home: Path, kind: type, level: Any) -> None:
        """A wrong level is named, and leaves no open handler behind that the next one could conflict with."""
        with pytest.raises(ConfigurationError, match="level"):
            kind("logs", level=level, home=home, keep_days=1)
        kind("logs", home=home, keep_days=2, keeper="none").close()
        HomeProcess._all.pop(home)

    @pytest.mark.parametrize("kind", [IPFSHandler, IPFSProcessor])
    def test_a_wrong_subsystem_names_the_nearest_one(self, home: Path, kind: type) -> None:
        """Home, names: an unregistered subsystem is refused, and makes no directory."""
        with pytest.raises(ConfigurationError, match="no such subsystem"):
            kind("../x", home=home)
        assert not home.exists()


class TestHomeOfAnother:
    def test_refused_at_construction(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Home rule 29: another user's home is refused when the handler is made."""
        home.mkdir()
        monkeypatch.setattr(os, "geteuid", lambda: home.stat().st_uid + 1)
        with pytest.raises(HomeError, match="another user"):
            IPFSHandler("logs", home=home)

    @pytest.mark.parametrize("kind", ["file", "link"])
    def test_a_home_that_is_no_directory_is_refused(self, home: Path, kind: str) -> None:
        """Home rule 29: a file or a link in the place of the home is refused when the handler is made."""
        home.touch() if kind == "file" else home.symlink_to(home.parent)
        with pytest.raises(HomeError, match="not a directory"):
            IPFSHandler("logs", home=home)

    def test_construction_makes_nothing_on_the_disk(self, home: Path) -> None:
        """Constructing, flushing and closing a handler that logs nothing touches no disk."""
        handler = IPFSHandler("logs", home=home)
        handler.flush()
        handler.close()
        assert not home.exists()
        HomeProcess._all.pop(home)


class TestConflicts:
    def test_two_open_handlers_that_disagree_are_refused(self, home: Path) -> None:
        """Home rule 28: two open handlers that disagree on a subsystem are an error that names the setting."""
        with logging_to(home), pytest.raises(ConfigurationError, match=r"have different settings.*"):
            IPFSHandler("logs", home=home, keeper="none", keep_days=3)

    def test_a_conflict_does_not_show_the_token(self, home: Path) -> None:
        """Home rule 27: a conflict of tokens is reported without showing them."""
        with logging_to(home, token="bearer:one"), pytest.raises(ConfigurationError) as caught:
            IPFSHandler("logs", home=home, keeper="none", token="bearer:two")
        assert "bearer" not in str(caught.value)

    def test_a_closed_handler_conflicts_with_none(self, home: Path) -> None:
        """Home rule 28: only open handlers can conflict, so that a second dictConfig works; its settings then hold."""
        with logging_to(home, keep_days=1) as logger:
            logger.info("one")
        with logging_to(home, keep_days=2) as logger:
            logger.info("two")
        assert ["one", "two"] == sorted(record["event"] for record in durable_of_all(home))

    def test_handlers_of_other_subsystems_may_differ(self, home: Path) -> None:
        """Home rule 28: handlers of different subsystems may differ."""
        with logging_to(home, keep_days=1):
            IPFSHandler("audit", home=home, keeper="none", keep_days=2).close()

    def test_the_same_settings_given_in_other_words_agree(self, home: Path) -> None:
        """Home rule 28: two handlers that agree share one writer."""
        with logging_to(home) as logger:
            other = IPFSHandler("logs", home=home, keeper="none")
            logger.addHandler(other)
            logger.info("x")
            assert 2 == len(durable(home))
            assert 1 == len(list((home / "logs" / "spool").iterdir()))
            other.close()


def durable_of_all(home: Path) -> list[dict[str, Any]]:
    """Return the records of every writer of the subsystem `logs`."""
    return durable(home)


def as_json(value: object) -> str:
    """Convert a value, as a hook of the program."""
    return repr(value)


OURS: dict[str, Any] = {
    "SECRET": "password", "VERSION": "2.1", "KUBO": "http://127.0.0.1:9", "RECORDS": 7, "as_json": as_json,
    "EVENTS": {"billing.paid": ["invoice"]},
}  # fmt: skip
"""What a program's settings module holds."""


@pytest.fixture
def my_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a module of the program to which a configuration refers."""
    module = ModuleType("my_settings")
    vars(module).update(OURS)
    monkeypatch.setitem(sys.modules, "my_settings", module)


class TestDictConfig:
    @pytest.mark.usefixtures("my_settings")
    @pytest.mark.parametrize("resolver", ["ext://my_settings", "cfg://ours"])
    @pytest.mark.parametrize(
        ("keyword", "value", "expected"),
        [
            ("redact", ["{}.SECRET", "token"], ("password", "token")),
            ("redact", "{}.SECRET", ("password",)),
            ("metadata", {"version": "{}.VERSION"}, {"version": "2.1"}),
            ("kubo", ["{}.KUBO"], ("http://127.0.0.1:9",)),
            ("batch", {"records": "{}.RECORDS"}, Batch(records=7)),
            ("default", "{}.as_json", as_json),
        ],
    )
    def test_references_are_resolved_at_any_depth(
        self, home: Path, keyword: str, value: Any, expected: object, resolver: str
    ) -> None:
        """`ext://` and `cfg://` inside lists and mappings are what they name, as dictConfig does at the top."""

        def named(text: Any) -> Any:
            if isinstance(text, dict):
                return {name: named(inner) for name, inner in text.items()}
            return text.format(resolver) if isinstance(text, str) else [named(inner) for inner in text]

        settings = configured(home, **{keyword: named(value)})._recorder._settings
        assert expected == getattr(settings, keyword)

    @pytest.mark.usefixtures("my_settings")
    def test_a_subsystem_in_a_dictconfig_is_resolved(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The mapping of an own subsystem is resolved like any other."""
        monkeypatch.setattr(registry, "_registered", dict(registry._registered))
        billing = {"name": "billing", "type": "bills", "events": "ext://my_settings.EVENTS"}
        assert {"billing.paid"} == set(configured(home, subsystem=billing)._recorder.chosen.events)


def configured(home: Path, **keywords: Any) -> Any:
    """Return the handler that a dictConfig makes."""
    handler = {"class": "ipfs_log_handlers.IPFSHandler", "home": str(home), "keeper": "none", **keywords}
    handlers = {"a": handler} if "subsystem" in keywords else {"a": {**handler, "subsystem": "logs"}}
    parser = logging.config.DictConfigurator({"version": 1, "handlers": handlers, "ours": OURS})
    made = parser.configure_handler(parser.config["handlers"]["a"])
    made.close()
    return made
