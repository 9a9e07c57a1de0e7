from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ipfs_log_handlers import IPFSHandler, IPFSProcessor
from ipfs_log_handlers.config import Batch, Settings, default_home, program_name
from ipfs_log_handlers.errors import ConfigurationError, HomeError
from ipfs_log_handlers.manager import DatasetsManager
from ipfs_log_handlers.process import HomeProcess
from ipfs_log_handlers.rotator import Rotator
from tests.workshop import durable, logging_to


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the machine's own settings counts here."""
    for name in ("IPFS_LOGS_HOME", "IPFS_LOGS_KUBO", "IPFS_LOGS_TOKEN"):
        monkeypatch.delenv(name, raising=False)


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
            ("redact", 5),
            ("redact", [5]),
            ("redact", [""]),
            ("redact", b"x"),
        ],
    )
    def test_named(self, tmp_path: Path, name: str, value: Any) -> None:
        """A wrong value is a ConfigurationError that names the key, and shows no credential."""
        with pytest.raises(ConfigurationError, match=name) as caught:
            Settings.parse({"home": tmp_path, name: value})
        assert "hush" not in str(caught.value)

    @pytest.mark.parametrize("owner", [IPFSHandler, IPFSProcessor], ids=lambda owner: owner.__name__)
    @pytest.mark.parametrize(
        ("wrong", "right"),
        [
            ("kobo", "kubo"),
            ("Home", "home"),
            ("flush_timout", "flush_timeout"),
            ("subsytem", "subsystem"),
            ("lvl", "level"),
        ],
    )
    def test_misspelt(self, owner: type, wrong: str, right: str) -> None:
        """A misspelt keyword is told by whom it was given to, together with the nearest right one."""
        with pytest.raises(ConfigurationError) as caught:
            owner(**{wrong: 1})
        assert f"{owner.__name__}: no such keyword '{wrong}'; did you mean '{right}'?" == str(caught.value)

    def test_like_no_keyword(self) -> None:
        """A keyword that is like none is told with all that there are."""
        with pytest.raises(ConfigurationError) as caught:
            Batch.parse({"zzz": 1})
        assert "batch: no such keyword 'zzz'; expected one of records, bytes, seconds" == str(caught.value)

    @pytest.mark.parametrize(
        ("name", "value", "told"),
        [
            ("flush_timeout", "5", "not a number; expected a number from 0 to 86,400, found the text '5'"),
            ("keep_days", "7", "not a number; expected a number from 0 to 1,000,000, found the text '7'"),
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
    def test_number(self, name: str, value: Any, told: str) -> None:
        """A value of a wrong type is told as that, a number beyond its bounds with these."""
        with pytest.raises(ConfigurationError) as caught:
            Settings.parse({name: value})
        assert f"{name}: {told}" == str(caught.value)

    def test_bound_that_is_no_whole_number(self) -> None:
        """A bound is printed as it is."""
        with pytest.raises(ConfigurationError, match=r"^batch\.seconds: .* from 0\.01 to 31,536,000, found 0$"):
            Batch(seconds=0)

    def test_replicas(self) -> None:
        """More replicas than stores are told as that."""
        with pytest.raises(ConfigurationError, match="more replicas than stores"):
            Settings.parse({"kubo": "http://127.0.0.1:5001", "replicas": 2})

    @pytest.mark.parametrize("kind", [IPFSHandler, IPFSProcessor])
    @pytest.mark.parametrize("level", ["LOUD", None, 1.5])
    def test_level(self, home: Path, kind: type, level: Any) -> None:
        """A wrong level is named, and leaves no open handler behind that the next one could conflict with."""
        with pytest.raises(ConfigurationError, match="level"):
            kind("logs", level=level, home=home, keep_days=1)
        kind("logs", home=home, keep_days=2, keeper="none").close()
        HomeProcess._all.pop(home)

    @pytest.mark.parametrize("kind", [IPFSHandler, IPFSProcessor])
    def test_subsystem(self, home: Path, kind: type) -> None:
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
    def test_no_directory(self, home: Path, kind: str) -> None:
        """Home rule 29: a file or a link in the place of the home is refused when the handler is made."""
        home.touch() if kind == "file" else home.symlink_to(home.parent)
        with pytest.raises(HomeError, match="not a directory"):
            IPFSHandler("logs", home=home)

    def test_nothing_is_made(self, home: Path) -> None:
        """Constructing, flushing and closing a handler that logs nothing touches no disk."""
        handler = IPFSHandler("logs", home=home)
        handler.flush()
        handler.close()
        assert not home.exists()
        HomeProcess._all.pop(home)


class TestConflicts:
    def test_open_ones(self, home: Path) -> None:
        """Home rule 28: two open handlers that disagree on a subsystem are an error that names the setting."""
        with logging_to(home), pytest.raises(ConfigurationError, match=r"disagree.*"):
            IPFSHandler("logs", home=home, keeper="none", keep_days=3)

    def test_token_is_not_shown(self, home: Path) -> None:
        """Home rule 27: a conflict of tokens is told without them."""
        with logging_to(home, token="bearer:one"), pytest.raises(ConfigurationError) as caught:
            IPFSHandler("logs", home=home, keeper="none", token="bearer:two")
        assert "bearer" not in str(caught.value)

    def test_closed_ones(self, home: Path) -> None:
        """Home rule 28: only open handlers can conflict, so that a second dictConfig works; its settings then hold."""
        with logging_to(home, keep_days=1) as logger:
            logger.info("one")
        with logging_to(home, keep_days=2) as logger:
            logger.info("two")
        assert ["one", "two"] == sorted(each["event"] for each in durable_of_all(home))

    def test_other_subsystem(self, home: Path) -> None:
        """Home rule 28: handlers of different subsystems may differ."""
        with logging_to(home, keep_days=1):
            IPFSHandler("audit", home=home, keeper="none", keep_days=2).close()

    def test_same_settings(self, home: Path) -> None:
        """Home rule 28: two handlers that agree share one writer."""
        with logging_to(home) as logger:
            other = IPFSHandler("logs", home=home, keeper="none")
            logger.addHandler(other)
            logger.info("x")
            assert 2 == len(durable(home))
            assert 1 == len(list((home / "logs" / "spool").iterdir()))
            other.close()


def durable_of_all(home: Path) -> list[dict[str, Any]]:
    """The records of every writer of the subsystem `logs`."""
    return durable(home)


class TestDefaults:
    def test_environment(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Home, stores and token come from the environment where the configuration says nothing."""
        monkeypatch.setenv("IPFS_LOGS_HOME", str(tmp_path / "h"))
        monkeypatch.setenv("IPFS_LOGS_KUBO", "http://127.0.0.1:5001, http://127.0.0.1:5002/")
        monkeypatch.setenv("IPFS_LOGS_TOKEN", "bearer:x")
        found = Settings.parse({"kubo": None, "home": None})
        assert (tmp_path / "h", 2, "bearer:x") == (found.home, len(found.kubo), found.token)
        assert () == Settings.parse({"kubo": ""}).kubo

    @pytest.mark.parametrize(
        "made", [IPFSHandler, IPFSProcessor, DatasetsManager, Rotator], ids=lambda made: made.__name__
    )
    @pytest.mark.parametrize(
        ("variable", "value", "told"),
        [
            ("KUBO", "foo", "IPFS_LOGS_KUBO: not the address of a store; found 'foo', perhaps http://foo:5001"),
            ("KUBO", "http://h:0", "IPFS_LOGS_KUBO: http://h: the port of a store is not a port; expected 1 to 65535"),
            ("KUBO", "auto auto", "IPFS_LOGS_KUBO: a store stands twice in the list; found auto, auto"),
            ("TOKEN", "bearer:", ("IPFS_LOGS_TOKEN: nothing after bearer:; expected bearer:SECRET, "
                                  "basic:USER:PASSWORD, env:NAME or file:PATH")),
            ("HOME", "~no such user/x", "IPFS_LOGS_HOME: a ~ that is nobody's directory; found '~no such user/x'"),
        ],
    )  # fmt: skip
    def test_mistakes(
        self, monkeypatch: pytest.MonkeyPatch, made: Callable[[], object], variable: str, value: str, told: str
    ) -> None:
        """What is wrong in the environment is told under the variable's name, whoever reads it."""
        monkeypatch.setenv(f"IPFS_LOGS_{variable}", value)
        with pytest.raises(ConfigurationError) as caught:
            made()
        assert told == str(caught.value)

    def test_home_of_another_kind(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A home that cannot be one is told under the name of what named it: the keyword, or the variable."""
        home.touch()
        monkeypatch.setenv("IPFS_LOGS_HOME", str(home))
        for keywords, named in (({}, "IPFS_LOGS_HOME"), ({"home": home}, "home")):
            with pytest.raises(HomeError, match=f"^{named}: {home}: not a directory of its own"):
                IPFSHandler("logs", **keywords)  # type: ignore[arg-type]

    def test_empty_variables(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """An empty variable says as much as none."""
        for name in ("HOME", "KUBO", "TOKEN"):
            monkeypatch.setenv(f"IPFS_LOGS_{name}", "")
        found = Settings.parse({})
        assert (default_home(), (), None) == (found.home, found.kubo, found.token)

    def test_program(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Home rule 28: the default home carries the program's name."""
        main = ModuleType("__main__")
        monkeypatch.setitem(sys.modules, "__main__", main)
        assert "python" == program_name()
        main.__file__ = "/x/../my prog$.py"
        assert "my_prog_" == program_name()
        assert "my_prog_" == default_home().name
        assert "ipfs-logs" == default_home().parent.name

    def test_path(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A home is made absolute where it is named: a later chdir does not move it."""
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("HOME", "/u")
        assert tmp_path / "x" == Settings.parse({"home": "x"}).home
        assert Path("/u/x") == Settings.parse({"home": "~/x"}).home
        monkeypatch.setenv("IPFS_LOGS_HOME", "~/y")
        assert Path("/u/y") == Settings.parse({}).home

    def test_batch(self) -> None:
        """A batch policy takes any of its three numbers; the subsystem's own holds where none is given."""
        found = Settings.parse({"batch": {"seconds": 2}})
        assert (None, 2) == (found.batch.records, found.batch.seconds)
        assert 70 == found.with_records(70).batch.records
        assert 5 == Settings.parse({"batch": Batch(records=5)}).with_records(70).batch.records
