"""A dataset with `redact` answers every question from records whose secrets are hidden."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from ipfs_log_handlers import ConfigurationError, IPFSHandler, open_dataset
from ipfs_log_handlers.api import Dataset
from tests.support import sample_homes


@pytest.fixture
def dataset(home: Path) -> Iterator[Dataset]:
    """Open a home with two sealed records and one that waits, each with a secret."""
    handler = IPFSHandler("audit", home=home, keeper="none")
    log_one(handler, "mira", "hunter1")
    log_one(handler, "tom", "hunter2")
    sample_homes.seal(home)
    log_one(handler, "ann", "hunter3")
    with open_dataset(home) as opened:
        yield opened.redact("*password*", "@email")
    handler.close()


def log_one(handler: IPFSHandler, user: str, password: str) -> None:
    """Log one record with a secret field and an address."""
    record = logging.LogRecord("shop", 20, __file__, 1, f"mail to {user}@example.org", None, None)
    record.__dict__.update({"user_id": user, "password": password})
    handler.handle(record)


def test_iteration_conditions_and_counts_see_hidden_values(dataset: Dataset) -> None:
    """No condition finds out a hidden value, and a count by its field has one value."""
    assert ["[redacted]"] * 3 == [record["password"] for record in dataset]
    assert ["mail to [redacted]"] * 3 == [record["event"] for record in dataset.reverse()]
    assert 0 == dataset.filter(where={"password": "hunter2"}).count()
    assert 0 == dataset.filter(contains="hunter2").count()
    assert 3 == dataset.filter(where="password!=hunter2").count()
    assert 3 == dataset.filter(where={"password": "[redacted]"}).count()
    assert [("[redacted]", 3)] == dataset.top("password")
    assert 1 == dataset.filter(where={"user_id": "tom"}).count()
    assert {"info": 3} == dict(dataset.top("level"))


def test_sql_sees_hidden_values(dataset: Dataset) -> None:
    """Also under another name, and inside a function."""
    answer = dataset.sql_untrusted("SELECT password AS p, substr(event, 1, 12) AS e FROM audit ORDER BY user_id")

    assert [["[redacted]", "mail to [red"]] * 3 == answer.rows


def test_a_follower_sees_hidden_values(dataset: Dataset, home: Path) -> None:
    """The newest records, and those that come."""
    following = dataset.follow(last=1)
    handler = IPFSHandler("audit", home=home, keeper="none")
    log_one(handler, "zoe", "hunter4")
    handler.close()
    matches = following.poll()
    while len(matches) < 2 and following.wait():
        matches += following.poll()

    assert ["ann", "zoe"] == [match.record["user_id"] for match in matches]
    assert not [match for match in matches if b"hunter" in match.line or b"@" in match.line]


def test_one_record_and_a_batch_are_hidden(dataset: Dataset) -> None:
    """A record that is found by its number or its place; a description of a batch."""
    [summary] = dataset.logs()
    assert summary.head is not None
    batch = dataset.batch_with_cid(summary.head)
    record = dataset.record_at(summary.head, 1)
    [found] = dataset.records_with_seq("audit", 3)

    assert batch is not None
    assert record is not None
    assert b"hunter" not in record.line + found.line
    assert "hunter" not in str(batch.as_json())
    assert {"password": "[redacted]"} == dataset.hidden({"password": "x"})


def test_wrong_rules_and_the_order_of_the_logs_are_refused(dataset: Dataset, home: Path) -> None:
    """No rule, an unknown detector, a second call; and the methods that read stored lines."""
    with open_dataset(home) as plain:
        for rules in ((), ("@emial",), ("",)):
            with pytest.raises(ConfigurationError):
                plain.redact(*rules)
    for call in (lambda: dataset.redact("user_id"), lambda: dataset.lines("audit"), lambda: dataset.batch("bafy")):
        with pytest.raises(ConfigurationError):
            call()
