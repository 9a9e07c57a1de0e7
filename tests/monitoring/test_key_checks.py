"""What `doctor` and `status` say about the keys to which batches are encrypted."""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path
from typing import Any

import pytest

from ipfs_log_handlers.config import Encrypt
from ipfs_log_handlers.format.kid import bounds, period_of
from ipfs_log_handlers.home import data_keys, key_shredding
from ipfs_log_handlers.home.key_directory import KeyFiles
from ipfs_log_handlers.home.layout import HomeDir, SubsystemDir
from ipfs_log_handlers.monitoring import key_checks
from ipfs_log_handlers.monitoring.status import status
from tests.support.encrypted import ALICE_KEY, BOB_KEY
from tests.support.logging_home import lines, put_segment

TO_BOTH = Encrypt(recipients=(ALICE_KEY, BOB_KEY))
ISSUED = Encrypt()


def now() -> int:
    """Return the time, µs since 1970."""
    return int(time.time() * 1_000_000)


@pytest.fixture
def at(home: Path) -> HomeDir:
    """Return a home."""
    return HomeDir(home)


def logged(home: HomeDir, encrypt: Encrypt | None) -> SubsystemDir:
    """Log to `logs` with these settings."""
    put_segment(home.subsystem_dir("logs"), lines(1, 3), encrypt=encrypt)
    return home.subsystem_dir("logs")


def found(home: HomeDir, subsystem_dir: SubsystemDir) -> list[tuple[str, str]]:
    """Return state and words of each check."""
    return [(check.state, check.found) for check in key_checks.check_keys(home, subsystem_dir)]


def warnings(home: HomeDir) -> tuple[str, ...]:
    """Return the warnings of the status."""
    (subsystem,) = status(home.path)
    return tuple(subsystem.warnings)


def test_nothing_is_said_without_encryption(at: HomeDir) -> None:
    """A home without keys has no check about them."""
    subsystem_dir = logged(at, None)
    assert [] == found(at, subsystem_dir)
    assert () == warnings(at)


def test_the_present_key_and_who_reads(at: HomeDir) -> None:
    """Before and after the first batch, and when one key of it was destroyed."""
    subsystem_dir = logged(at, TO_BOTH)
    period = period_of(now(), "month")
    words = f"encrypted; the key of {period} is made with the next batch, for 2 recipients; 0 keys"
    assert [("ok", words)] == found(at, subsystem_dir)
    key = data_keys.key_for(at, "logs", TO_BOTH, now())
    assert [("ok", f"encrypted to {key.kid}, for 2 recipients; 1 key")] == found(at, subsystem_dir)
    key_shredding.begin_shred(at, key.kid, {})
    key_shredding.finish_shred(at, key.kid)
    further = data_keys.key_for(at, "logs", TO_BOTH, now())
    assert [("ok", f"encrypted to {further.kid}, for 2 recipients; 2 keys, 1 destroyed")] == found(at, subsystem_dir)
    assert () == warnings(at)


def test_a_lost_secret_and_a_destruction_that_did_not_end(at: HomeDir) -> None:
    """Each is a warning with a next step, in the status too."""
    subsystem_dir = logged(at, TO_BOTH)
    first = data_keys.key_for(at, "logs", TO_BOTH, now())
    KeyFiles.of(at, first.kid).wrapped.unlink()
    second = data_keys.key_for(at, "logs", TO_BOTH, now())
    key_shredding.begin_shred(at, second.kid, {})
    states = found(at, subsystem_dir)
    assert ["ok", "warn", "warn"] == [state for state, _ in states]
    assert f"{first.kid} is not used" in states[1][1]
    assert f"the destruction of {second.kid} has begun and did not end" == states[2][1]
    assert {words for state, words in states if state == "warn"} == set(warnings(at))


def test_a_missing_issued_key(at: HomeDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The records wait now, or will wait soon."""
    subsystem_dir = logged(at, ISSUED)
    period = period_of(now(), "month")
    assert [("warn", f"no key was issued for logs in {period}, so its records wait and are not sealed")] == found(
        at, subsystem_dir
    )
    issued = data_keys.issue(tmp_path / "holder", "logs", [period], [ALICE_KEY], now())
    data_keys.accept(at, issued, now())
    end = bounds(period)[1]
    for before_end, state in ((8 * 86_400, "ok"), (6 * 86_400, "warn")):
        monkeypatch.setattr(time, "time", lambda s=before_end: end / 1e6 - s)
        ((told, words),) = found(at, subsystem_dir)
        assert state == told, words
        assert "which begins soon" in words or "the holder of the issued keys" in words


def test_a_keeper_without_the_library(at: HomeDir, monkeypatch: pytest.MonkeyPatch) -> None:
    """`doctor` says what this program would do; the status does not, because the keeper is another program."""
    subsystem_dir = logged(at, TO_BOTH)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert ["ok", "warn"] == [state for state, _ in found(at, subsystem_dir)]
    checks: list[Any] = list(key_checks.check_keys(at, subsystem_dir))
    assert "pip install 'ipfs_log_handlers[encrypt]'" in checks[1].hint
    assert () == warnings(at)
