"""Batches of a private subsystem wait in the home while strangers could find them at the store; nothing is lost."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ipfs_log_handlers import IPFSHandler, Subsystem, open_home, register
from ipfs_log_handlers.errors import ConfigurationError
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.home.logs import policy_of
from ipfs_log_handlers.home.policy import Policy
from ipfs_log_handlers.runtime.process import HomeProcess
from ipfs_log_handlers.subsystems import registry
from ipfs_log_handlers.testing import FakeKubo
from tests.kubo.daemon import Daemon
from tests.support import encrypted
from tests.support.cli import run

PUBLIC = {"Provide": {"Enabled": True, "Strategy": "roots"}}


@pytest.fixture(autouse=True)
def patients(monkeypatch: pytest.MonkeyPatch) -> Subsystem:
    """Register a private subsystem for this test."""
    monkeypatch.setattr(registry, "_registered", dict(registry._registered))
    return register(Subsystem(name="patients", type="patients", private=True))


@pytest.fixture
def fake() -> Iterator[FakeKubo]:
    """Serve a daemon that announces."""
    with FakeKubo() as running:
        running.config = dict(PUBLIC)
        yield running


def log(home: Path, address: str, *names: str, **settings: Any) -> dict[str, dict[str, Any]]:
    """Log one record into each subsystem and close; return the status of each."""
    handlers = [IPFSHandler(name, home=home, kubo=address, **settings) for name in names]
    for handler in handlers:
        handler.handle(logging.makeLogRecord({"name": "t", "msg": "treated", "levelno": 20, "levelname": "INFO"}))
    for handler in handlers:
        handler.close()
    status = {each["subsystem"]: each for each in handlers[0].status()}
    HomeProcess._all.pop(home, None)
    return status


def url(fake: FakeKubo) -> str:
    """Return the address of a fake daemon."""
    return f"http://127.0.0.1:{fake.port}"


def test_private_batches_stay_and_others_are_shipped(
    home: Path, fake: FakeKubo, capsys: pytest.CaptureFixture[str]
) -> None:
    """The close does not wait for its deadline; status and one line on stderr say why; the other log is shipped."""
    status = log(home, url(fake), "patients", "logs", flush_timeout=60.0)
    assert (1, 0) == (status["patients"]["sealed"], status["patients"]["shipped"])
    assert (1, 1) == (status["logs"]["sealed"], status["logs"]["shipped"])
    assert "the subsystem is private" in status["patients"]["last_error"]
    assert "Provide.Strategy is roots" in status["patients"]["last_error"]
    assert status["logs"]["last_error"] is None
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"ipfs_log_handlers: patients to {url(fake)}: the subsystem is private")
    assert "allow_public" in line
    assert "Provide.Enabled false" in line


@pytest.mark.slow
def test_flush_says_it_once(home: Path, fake: FakeKubo, capsys: pytest.CaptureFixture[str]) -> None:
    """A program that runs for long is told at the first contact; further flushes, and the close, do not repeat it."""
    handler = IPFSHandler("patients", home=home, kubo=url(fake), flush_timeout=60.0)
    handler.handle(logging.makeLogRecord({"name": "t", "msg": "treated", "levelno": 20, "levelname": "INFO"}))
    handler.flush()
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"ipfs_log_handlers: patients to {url(fake)}: the subsystem is private")
    handler.flush()
    handler.close()
    assert capsys.readouterr().err == ""
    result = open_home(home).ship()
    assert "the subsystem is private" in str(result.reason)
    HomeProcess._all.pop(home, None)


def test_what_waited_is_shipped_when_the_daemon_is_closed(home: Path, fake: FakeKubo) -> None:
    """After the change of its configuration the next keeper ships the same batch."""
    log(home, url(fake), "patients")
    held = run("ship", "--timeout", "1", home=home)
    assert 4 == held.code
    assert "private" in held.err
    fake.config = {"Provide": {"Enabled": False}}
    shipped = run("ship", home=home)
    assert (0, [("patients", 0)]) == (shipped.code, [(each["subsystem"], each["index"]) for each in shipped.objects])


def test_a_store_on_the_command_line_is_asked_too(home: Path, fake: FakeKubo) -> None:
    """`ship --kubo` is no way round: the subsystem stays private."""
    log(home, "memory:here", "patients")
    assert 4 == run("ship", "--kubo", url(fake), "--timeout", "1", home=home).code
    assert {} == fake.store.pins


@pytest.mark.parametrize(
    ("name", "settings", "config"),
    [
        ("patients", {"allow_public": True}, PUBLIC),
        ("patients", {}, {"Provide": {"Enabled": False}}),
        ("logs", {}, PUBLIC),
    ],
)
def test_it_is_shipped_if_it_may(
    home: Path, fake: FakeKubo, name: str, settings: dict[str, Any], config: dict[str, Any]
) -> None:
    """Told otherwise, a closed daemon, or no private subsystem: no record waits, and nothing is printed."""
    fake.config = config
    status = log(home, url(fake), name, **settings)
    assert (1, None) == (status[name]["shipped"], status[name]["last_error"])


def test_encrypted_batches_are_exempt(home: Path, fake: FakeKubo) -> None:
    """Strangers cannot read them, so they are shipped."""
    found = log(home, url(fake), "patients", encrypt={"recipients": [encrypted.ALICE_KEY]})
    assert 1 == found["patients"]["shipped"]


def test_the_setting_is_kept_for_a_keeper_in_another_process(home: Path, patients: Subsystem) -> None:
    """Segments and `settings.json` say it, so `ipfs-logs ship` knows it though it has never heard of the subsystem."""
    handler = IPFSHandler(patients, home=home, keeper="none")
    handler.handle(logging.makeLogRecord({"msg": "x"}))
    handler.close()
    HomeProcess._all.pop(home, None)
    policy = policy_of(HomeDir(home).subsystem_dir("patients"))
    assert policy.private
    assert Policy.from_json(json.loads(json.dumps(policy.as_json())), policy) == policy
    older = {name: value for name, value in policy.as_json().items() if name != "private"}
    assert Policy.from_json(older, policy).private


@pytest.mark.parametrize("wrong", ["yes", 1, None])
def test_only_a_boolean_is_taken(home: Path, wrong: Any) -> None:
    """A word in the place of a truth value is no setting."""
    with pytest.raises(ConfigurationError, match="private"):
        Subsystem(name="x", type="x", private=wrong)
    if wrong is not None:
        with pytest.raises(ConfigurationError, match="allow_public"):
            IPFSHandler("logs", home=home, allow_public=wrong)


def test_doctor_says_it_before_anything_is_logged_to_strangers(home: Path, fake: FakeKubo) -> None:
    """A failed check for the private subsystem, with both ways out; a warning for the daemon itself."""
    log(home, url(fake), "patients")
    ended = run("doctor", home=home, IPFS_LOGS_KUBO=url(fake))
    checks = [each for each in ended.objects if each["check"] == "privacy"]
    assert ["fail", "warn"] == [each["state"] for each in checks]
    assert "patients" in checks[0]["found"]
    assert "allow_public" in checks[0]["hint"]
    assert "strangers can find what is shipped there" in checks[1]["found"]
    fake.config = {"Provide": {"Enabled": False}}
    [check] = [
        each for each in run("doctor", home=home, IPFS_LOGS_KUBO=url(fake)).objects if each["check"] == "privacy"
    ]
    assert ("ok", True) == (check["state"], "strangers cannot find" in check["found"])


def test_at_a_real_daemon(home: Path, kubo_binary: Path) -> None:
    """With `Provide` on nothing arrives; after `Provide.Enabled false` the same batch does."""
    settings = {"Provide.Enabled": True, "Routing.Type": "dhtclient"}
    with Daemon(kubo_binary, offline=True, settings=settings) as daemon:
        status = log(home, daemon.url, "patients")
        assert (1, 0) == (status["patients"]["sealed"], status["patients"]["shipped"])
        assert "announces blocks to the public network" in status["patients"]["last_error"]
        daemon.configure({"Provide.Enabled": False})
        assert 0 == run("ship", home=home).code
