"""A pseudonym is the same wherever a value stands, and says nothing of it; without its key the value is hidden."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import Any

import pytest

from ipfs_log_handlers import IPFSProcessor
from ipfs_log_handlers.concurrency import clock
from ipfs_log_handlers.config.redact import RedactAction
from ipfs_log_handlers.home import pseudonym_keys
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.ingest import pseudonyms as pseudonyms_module
from ipfs_log_handlers.ingest.pseudonyms import Pseudonyms
from ipfs_log_handlers.ingest.redaction import HIDDEN
from tests.support import forked
from tests.support.logging_home import durable, logging_to

PSEUDONYM = re.compile(r"pseudonym_\d{4}-\d{2}_[0-9a-f]{32}")
RULE: dict[str, RedactAction] = {"user_id": "pseudonym", "password": "hide", "@email": "pseudonym"}


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Set the clocks of the pseudonyms by hand."""
    times = {"wall": 1_772_323_200.0, "monotonic": 1000.0}
    monkeypatch.setattr(clock, "wall", lambda: times["wall"])
    monkeypatch.setattr(clock, "monotonic", lambda: times["monotonic"])
    return times


def on_disk(home: Path) -> bytes:
    """Every byte of the spool."""
    return b"".join(path.read_bytes() for path in sorted((home / "logs" / "spool").iterdir()))


def log_everywhere(logger: logging.Logger, user: str) -> int:
    """Log a user in each part of a record that has a name for it; return the number of records."""
    logger.info("x", extra={"user_id": user, "deep": {"list": [{"user_id": user}, ("user_id", user)]}})
    logger.info("user_id=%s came", user)
    logger.info("%(user_id)s came, 'user_id': '%(user_id)s'", {"user_id": user})
    logger.info("came: %s", {"user_id": user})
    logger.info(json.dumps({"user_id": user, "n": 1}))
    logger.info({"user_id": user, "n": 1})
    logger.info("x", extra={"header": {"name": "user_id", "value": user}, "argv": ["--user_id", user]})
    logger.info("x", extra={"text": f"--user_id {user!r} <user_id>{user}</user_id>"})
    error = ValueError({"user_id": user})  # not in the line that raises, which the traceback shows
    try:
        raise error
    except ValueError:
        logger.exception("failed")
    return 9


@pytest.mark.parametrize("user", ["mira", "Mira Svensson", "42", "O'Brien, M.", "müller/7"])
def test_a_value_has_one_pseudonym_wherever_it_stands(home: Path, user: str) -> None:
    """In fields, arguments, JSON, mappings and texts: the same word, and no trace of the value."""
    with logging_to(home, redact=RULE) as logger:
        number = log_everywhere(logger, user)
    records = durable(home)
    assert number == len(records)
    pseudonym = records[0]["user_id"]
    assert PSEUDONYM.fullmatch(pseudonym)
    found = [PSEUDONYM.findall(json.dumps(record)) for record in records]
    assert all(found)
    assert {pseudonym} == {word for words in found for word in words}
    texts = [(record["event"], record.get("exception"), record.get("text")) for record in records]
    assert user not in PSEUDONYM.sub("", json.dumps(texts, ensure_ascii=False))
    assert b"pseudonym#" not in on_disk(home)


def test_a_number_and_its_text_have_the_same_pseudonym(home: Path) -> None:
    """So a field and a message can be joined; `None` stays, lists and mappings keep their form."""
    with logging_to(home, redact=RULE) as logger:
        logger.info("user_id=42", extra={"user_id": 42})
        logger.info("x", extra={"user_id": [42, None, {"id": "42"}], "n": 42})
    first, second = durable(home)
    assert f"user_id={first['user_id']}" == first["event"]
    assert [first["user_id"], None, {"id": first["user_id"]}] == second["user_id"]
    assert 42 == second["n"]


def test_different_values_subsystems_and_homes_have_different_pseudonyms(home: Path, tmp_path: Path) -> None:
    """Nobody who has one key can join the logs of another subsystem or home."""
    seen = set()
    for place, subsystem, user in (
        (home, "audit", "a"),
        (home, "audit", "b"),
        (home, "wal", "a"),
        (tmp_path, "wal", "a"),
    ):
        processor = IPFSProcessor(subsystem, home=place / "h", keeper="none", redact=RULE)
        processor(None, "info", {"event": "x", "user_id": user})
        processor.close()
    for place, subsystem in ((home, "audit"), (home, "wal"), (tmp_path, "wal")):
        seen |= {record["user_id"] for record in durable(place / "h", subsystem)}
    assert 4 == len(seen)


def test_a_routed_record_has_the_pseudonym_of_its_subsystem(home: Path) -> None:
    """The argument is replaced before the subsystem is known, and still has its pseudonym."""
    with logging_to(home, subsystem=None, redact=RULE) as logger:
        logger.info("user_id=%s", "mira", extra={"subsystem": "audit", "user_id": "mira"})
        logger.info("user_id=%s", "mira", extra={"user_id": "mira"})
    records = [*durable(home, "audit"), *durable(home)]
    assert 2 == len(records)
    assert all(record["event"] == f"user_id={record['user_id']}" for record in records)
    assert 2 == len({record["user_id"] for record in records})


def test_what_a_detector_finds_can_have_a_pseudonym(home: Path) -> None:
    """An address has the same one in a message and in a field."""
    with logging_to(home, redact=RULE) as logger:
        logger.info("from mira@example.org", extra={"to": "mira@example.org"})
    [record] = durable(home)
    assert f"from {record['to']}" == record["event"]
    assert PSEUDONYM.fullmatch(record["to"])


def test_the_first_rule_that_fits_decides(home: Path) -> None:
    """So a name can be an exception of a pattern."""
    with logging_to(home, redact={"user_id": "pseudonym", "*_id": "hide"}) as logger:
        logger.info("x", extra={"user_id": "mira", "order_id": 5})
    [record] = durable(home)
    assert PSEUDONYM.fullmatch(record["user_id"])
    assert HIDDEN == record["order_id"]


def test_a_format_that_cuts_a_value_off_shows_no_part_of_it(home: Path) -> None:
    """A placeholder stands for the value while the message is made: a part of it says nothing."""
    with logging_to(home, redact=RULE) as logger:
        logger.info("user_id=%.3s user_id=%.14s", "mira", "mira")
    assert b"mir" not in on_disk(home)


def test_a_value_that_looks_like_a_pseudonym_gets_one_of_its_own(home: Path) -> None:
    """Nobody passes for another user by the choice of a name."""
    with logging_to(home, redact=RULE) as logger:
        logger.info("x", extra={"user_id": "mira"})
        pseudonym = durable(home)[0]["user_id"]
        logger.info("user_id=%s", pseudonym, extra={"user_id": pseudonym})
    [_, record] = durable(home)
    assert pseudonym not in json.dumps(record)
    assert f"user_id={record['user_id']}" == record["event"]


def test_the_key_changes_with_the_month(home: Path, now: dict[str, float]) -> None:
    """Equal inside a month, not across its edge; each pseudonym names its month."""
    with logging_to(home, redact=RULE) as logger:
        for wall in (1_772_323_199.0, 1_772_323_200.0, 1_772_323_201.0):
            now["wall"] = wall
            logger.info("x", extra={"user_id": "mira"})
    seen = [record["user_id"] for record in durable(home)]
    assert ["pseudonym_2026-02", "pseudonym_2026-03", "pseudonym_2026-03"] == [text[:17] for text in seen]
    assert seen[1] == seen[2]
    assert seen[0][17:] != seen[1][17:]


def test_after_erasure_values_of_the_period_are_hidden(home: Path, now: dict[str, float]) -> None:
    """A program that runs forgets the key within a second; the next month has a key again."""
    with logging_to(home, redact=RULE) as logger:
        logger.info("user_id=%s", "mira", extra={"user_id": "mira"})
        pseudonym_keys.remove(HomeDir(home), "logs", "2026-03")
        now["monotonic"] += 1.0
        logger.info("user_id=%s", "mira", extra={"user_id": "mira"})
        now["wall"] += 86_400 * 31
        logger.info("x", extra={"user_id": "mira"})
    first, second, third = durable(home)
    assert (HIDDEN, f"user_id={HIDDEN}") == (second["user_id"], second["event"])
    assert third["user_id"].startswith("pseudonym_2026-04_")
    assert b"mira" not in on_disk(home)
    assert PSEUDONYM.fullmatch(first["user_id"])


def test_without_a_key_a_value_is_hidden_and_the_failure_counted(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk is no reason to keep a value in clear, and no reason to lose the record."""

    def full(*_: object) -> bytes:
        raise OSError(28, "no space left on device")

    monkeypatch.setattr(pseudonym_keys, "load_or_make", full)
    with logging_to(home, redact=RULE) as logger:
        logger.info("user_id=%s", "mira", extra={"user_id": "mira"})
        [handler] = logger.handlers
        failures = handler.status()[0]["failures"]  # type: ignore[attr-defined]
    [record] = durable(home)
    assert (HIDDEN, f"user_id={HIDDEN}") == (record["user_id"], record["event"])
    assert {"the key of a pseudonym: OSError": 1} == failures


def test_a_child_has_the_key_of_its_parent(home: Path) -> None:
    """A fork before or after the first pseudonym: the child and the parent agree."""
    with logging_to(home, redact=RULE) as logger:
        logger.info("x", extra={"user_id": "mira"})
        assert forked.run_in_child(lambda: logger.info("y", extra={"user_id": "mira"}))
    assert [2, 1] == [len(durable(home)), len({record["user_id"] for record in durable(home)})]


def test_the_key_is_read_at_most_once_a_second(
    home: Path, now: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record costs an HMAC, and no call of the file system."""
    made = Pseudonyms(HomeDir(home), lambda *_: None)
    calls: list[Any] = []
    real = pseudonym_keys.load_or_make

    def counted(*given: Any) -> bytes | None:
        calls.append(given)
        return real(*given)

    monkeypatch.setattr(pseudonym_keys, "load_or_make", counted)
    for step in range(40):
        now["monotonic"] = 1000.0 + step * 0.1
        with made.of("logs") as record:
            record("mira")
    assert 4 == len(calls)


def test_placeholders_of_records_that_are_lost_do_not_pile_up(home: Path) -> None:
    """A record that is never stored leaves a value behind; only so many are kept, and those of stored ones none."""
    made = Pseudonyms(HomeDir(home), lambda *_: None)
    texts = [made.postpone(f"user {number}") for number in range(5000)]
    assert pseudonyms_module._MAX_POSTPONED == len(made._postponed)
    with made.of("logs") as record:
        shown = record.resolve(f"a {texts[-1]} b {texts[-1]}")
        assert f"a {record('user 4999')} b {record('user 4999')}" == shown
    assert pseudonyms_module._MAX_POSTPONED - 1 == len(made._postponed)
