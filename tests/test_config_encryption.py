"""The settings of encryption: checked where a handler is made, and safe to read from any header."""

from __future__ import annotations

import importlib.util
import json
import logging.config
from pathlib import Path
from typing import Any

import pytest

from ipfs_log_handlers import IPFSHandler, Subsystem, register, subsystems
from ipfs_log_handlers.config import Encrypt, Settings
from ipfs_log_handlers.config.encryption import RECIPIENTS_VARIABLE
from ipfs_log_handlers.errors import ConfigurationError
from ipfs_log_handlers.home import segments
from ipfs_log_handlers.home.policy import Policy
from tests.support.encrypted import ALICE, ALICE_KEY, BOB_KEY


@pytest.fixture(autouse=True)
def _no_recipients(monkeypatch: pytest.MonkeyPatch) -> None:
    """No recipients of the machine count here."""
    monkeypatch.delenv(RECIPIENTS_VARIABLE, raising=False)


def parsed(home: Path, encrypt: object) -> Encrypt | None:
    """Return the setting as a handler has it."""
    return Settings.parse({"home": home, "encrypt": encrypt}).encrypt


class TestEncrypt:
    def test_a_mapping(self, tmp_path: Path) -> None:
        """One recipient as a text, several as a list; a month is the default, and nothing is exposed."""
        assert parsed(tmp_path, {"recipients": ALICE_KEY}) == Encrypt(recipients=(ALICE_KEY,))
        several = parsed(
            tmp_path, {"recipients": [BOB_KEY, ALICE_KEY], "period": "day", "expose": ["events", "levels"]}
        )
        assert several == Encrypt(
            recipients=tuple(sorted((ALICE_KEY, BOB_KEY))), period="day", expose=("levels", "events")
        )
        assert several == parsed(tmp_path, several)

    def test_issued_keys_only(self, tmp_path: Path) -> None:
        """A machine that never has a secret says so, in words: it is no oversight."""
        assert parsed(tmp_path, {"recipients": "issued"}) == Encrypt()

    def test_the_environment(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """It encrypts what names no recipients, and `False` keeps a handler in clear."""
        assert parsed(tmp_path, None) is None
        monkeypatch.setenv(RECIPIENTS_VARIABLE, f"{ALICE_KEY}, {BOB_KEY}")
        both = tuple(sorted((ALICE_KEY, BOB_KEY)))
        assert parsed(tmp_path, None) == Encrypt(recipients=both)
        assert parsed(tmp_path, {"period": "week"}) == Encrypt(recipients=both, period="week")
        assert parsed(tmp_path, {"recipients": BOB_KEY}) == Encrypt(recipients=(BOB_KEY,))
        assert parsed(tmp_path, False) is None
        monkeypatch.setenv(RECIPIENTS_VARIABLE, "issued")
        assert parsed(tmp_path, None) == Encrypt()

    @pytest.mark.parametrize(
        ("value", "where"),
        [
            (True, "encrypt"),
            (ALICE_KEY, "encrypt"),
            ([ALICE_KEY], "encrypt"),
            ({}, "encrypt.recipients"),
            ({"recipients": []}, "encrypt.recipients"),
            ({"recipients": ""}, "encrypt.recipients"),
            ({"recipients": 5}, "encrypt.recipients"),
            ({"recipients": [5]}, "encrypt.recipients"),
            ({"recipients": "age1abc"}, "encrypt.recipients"),
            ({"recipients": [ALICE_KEY, ALICE_KEY]}, "encrypt.recipients"),
            ({"recipients": [ALICE_KEY] * 33}, "encrypt.recipients"),
            ({"recipients": ALICE_KEY, "period": "hour"}, "encrypt.period"),
            ({"recipients": ALICE_KEY, "period": None}, "encrypt.period"),
            ({"recipients": ALICE_KEY, "expose": "meta"}, "encrypt.expose"),
            ({"recipients": ALICE_KEY, "expose": 5}, "encrypt.expose"),
            ({"recipient": ALICE_KEY}, "encrypt"),
        ],
    )
    def test_mistakes_are_named(self, tmp_path: Path, value: object, where: str) -> None:
        """The error names the setting."""
        with pytest.raises(ConfigurationError) as caught:
            parsed(tmp_path, value)
        assert where == caught.value.where

    def test_a_mistake_in_the_environment_names_the_variable(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Not a keyword that nobody wrote."""
        monkeypatch.setenv(RECIPIENTS_VARIABLE, "age1abc")
        with pytest.raises(ConfigurationError, match=f"{RECIPIENTS_VARIABLE}: not an age recipient"):
            parsed(tmp_path, None)

    @pytest.mark.parametrize("value", [ALICE, {"recipients": ALICE}, {"recipients": [ALICE]}, {"period": ALICE}])
    def test_a_secret_key_is_never_shown(self, tmp_path: Path, value: object) -> None:
        """Wherever somebody put it."""
        with pytest.raises(ConfigurationError) as caught:
            parsed(tmp_path, value)
        assert ALICE[16:] not in str(caught.value)

    def test_without_the_library(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A program that may have to seal needs it, and is told the command; one that only writes does not."""
        monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
        with pytest.raises(ConfigurationError, match=r"Run: pip install 'ipfs_log_handlers\[encrypt\]'"):
            parsed(tmp_path, {"recipients": ALICE_KEY})
        settings = Settings.parse({"home": tmp_path, "encrypt": {"recipients": ALICE_KEY}, "keeper": "none"})
        assert settings.encrypt == Encrypt(recipients=(ALICE_KEY,))

    def test_in_a_logging_configuration(self, tmp_path: Path) -> None:
        """As flat keywords, in lists and mappings that dictConfig wraps."""
        handler = {
            "class": "ipfs_log_handlers.IPFSHandler",
            "subsystem": "audit",
            "home": str(tmp_path / "home"),
            "keeper": "none",
            "encrypt": {"recipients": [ALICE_KEY], "period": "year"},
        }
        loggers = {"encrypted": {"handlers": ["audit"]}}
        logging.config.dictConfig(
            {"version": 1, "disable_existing_loggers": False, "handlers": {"audit": handler}, "loggers": loggers}
        )
        (made,) = logging.getLogger("encrypted").handlers
        assert isinstance(made, IPFSHandler)
        try:
            logging.getLogger("encrypted").warning("somebody came")
            ((_, header),) = segments.read_headers(tmp_path / "home" / "audit" / "spool")
            assert Encrypt.from_json(header.settings["encrypt"]) == Encrypt(recipients=(ALICE_KEY,), period="year")
        finally:
            logging.getLogger("encrypted").removeHandler(made)
            made.close()


class TestHeaders:
    @pytest.mark.parametrize(
        "encrypt",
        [
            Encrypt(),
            Encrypt(recipients=(ALICE_KEY, BOB_KEY)),
            Encrypt(recipients=(ALICE_KEY,), period="day", expose=("levels",)),
        ],
    )
    def test_both_ways(self, encrypt: Encrypt) -> None:
        """A header has the same settings, and no secret."""
        assert Encrypt.from_json(json.loads(json.dumps(encrypt.as_json()))) == Encrypt(
            recipients=tuple(sorted(encrypt.recipients)), period=encrypt.period, expose=encrypt.expose
        )

    @pytest.mark.parametrize(
        "value", [None, True, 7, 0.5, "x", ALICE_KEY, [], {}, [None], [[]], {"x": 1}, "issued"], ids=repr
    )
    def test_whatever_a_header_says_it_is_not_clear(self, value: Any) -> None:
        """What cannot be read encrypts to issued keys only, so without one the lines wait."""
        members = Encrypt(recipients=(ALICE_KEY,)).as_json()
        for odd in (
            value,
            *({**members, name: value} for name in members),
            {**members, value: 1} if isinstance(value, str) else 1,
        ):
            assert Encrypt.from_json(odd) in (Encrypt(), Encrypt(recipients=(ALICE_KEY,)))

    def test_a_setting_of_a_later_release_is_not_overlooked(self) -> None:
        """It may say who must not read: then nobody is guessed."""
        members = Encrypt(recipients=(ALICE_KEY,)).as_json()
        assert Encrypt.from_json({**members, "quorum": 2}) == Encrypt()


class TestSubsystems:
    def _policy(self, tmp_path: Path, name: str, **keywords: object) -> Encrypt | None:
        settings = Settings.parse({"home": tmp_path, "keeper": "none", **keywords})
        return Policy.of(settings, subsystems.get(name)).encrypt

    def test_a_subsystem_says_it_for_its_handlers(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A handler without `encrypt` encrypts as its subsystem says; keywords count before it, variables after."""
        own = {"recipients": [ALICE_KEY], "period": "day"}
        register(Subsystem(name="enc_own", type="x", encrypt=own))
        register(Subsystem(name="enc_clear", type="x", encrypt=False))
        register(Subsystem(name="enc_none", type="x"))
        alice, bob = Encrypt(recipients=(ALICE_KEY,), period="day"), Encrypt(recipients=(BOB_KEY,))
        assert self._policy(tmp_path, "enc_own") == alice
        assert Policy.default(tmp_path, "enc_own").encrypt == alice
        assert self._policy(tmp_path, "enc_own", encrypt=False) is None
        assert self._policy(tmp_path, "enc_own", encrypt={"recipients": BOB_KEY}) == bob
        monkeypatch.setenv(RECIPIENTS_VARIABLE, BOB_KEY)
        assert self._policy(tmp_path, "enc_own") == alice
        assert self._policy(tmp_path, "enc_clear") is None
        assert self._policy(tmp_path, "enc_none") == bob

    def test_wrong_settings_are_refused_where_they_are_given(self, tmp_path: Path) -> None:
        """By `register` and by a handler; a subsystem that came another way is never sealed in clear."""
        for encrypt in ({"recipients": "age1"}, {"recipients": [ALICE_KEY], "perod": "day"}, {"recipients": ALICE}):
            with pytest.raises(ConfigurationError, match="enc_wrong"):
                register(Subsystem(name="enc_wrong", type="x", encrypt=encrypt))
            with pytest.raises(ConfigurationError, match="enc_wrong"):
                IPFSHandler({"name": "enc_wrong", "type": "x", "encrypt": encrypt}, home=tmp_path / "home")
        with pytest.raises(ConfigurationError, match="enc_wrong"):
            Subsystem(name="enc_wrong", type="x", encrypt=True)  # type: ignore[arg-type]
        subsystems.register(Subsystem(name="enc_wrong", type="x", encrypt={"recipients": "age1"}))
        assert self._policy(tmp_path, "enc_wrong") == Encrypt()

    def test_a_key_for_each_value_of_a_field(self) -> None:
        """`scope` names the field; it survives the header of a segment, which is as before without it."""
        encrypt = Encrypt.parse({"recipients": [ALICE_KEY], "scope": "tenant_id"})
        assert encrypt.scope == "tenant_id"
        assert Encrypt.from_json(encrypt.as_json()) == encrypt
        assert "scope" not in Encrypt(recipients=(ALICE_KEY,)).as_json()

    @pytest.mark.parametrize("scope", ["", 7, "a\nb", "x" * 201, "seq", "time", "subsystem", ["tenant_id"]])
    def test_what_cannot_be_a_scope(self, scope: object) -> None:
        """Something that is no name, and what differs in each record."""
        with pytest.raises(ConfigurationError) as caught:
            Encrypt.parse({"recipients": [ALICE_KEY], "scope": scope})
        assert caught.value.where == "encrypt.scope"

    def test_no_key_of_a_value_is_issued(self) -> None:
        """Which values there will be is not known then; the error says what to do."""
        with pytest.raises(ConfigurationError, match="no issued key") as caught:
            Encrypt.parse({"recipients": "issued", "scope": "tenant_id"})
        assert "Name recipients" in str(caught.value.hint)
        assert Encrypt.from_json({"recipients": [], "period": "month", "expose": [], "scope": "a"}) == Encrypt()
