"""Queries over encrypted batches: the plan uses what an identity opens, and the index knows nothing of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ipfs_log_handlers.api import open_home
from ipfs_log_handlers.config import Encrypt
from ipfs_log_handlers.home.layout import HomeDir
from tests.support.encrypted import ALICE, ALICE_KEY
from tests.support.indexed_homes import index, pages_of, seal_records, small_pages
from tests.support.logging_home import lines, put_live, seal_home

ENCRYPT = Encrypt(recipients=(ALICE_KEY,))


@pytest.fixture
def ten(home: Path) -> Path:
    """Return a home with ten encrypted batches, each with an event of its own."""
    seal_records(home, [{"event": f"order {number}", "n": number} for number in range(10)], encrypt=ENCRYPT)
    return home


def _plan(home: Path, **given: Any) -> dict[str, Any]:
    with open_home(home).dataset(**given) as dataset:
        return dataset.filter(event="order 3").explain().as_json()


def test_a_plan_uses_the_hidden_zone_maps(ten: Path) -> None:
    """With an identity one batch is read; without one all are, for any may hold a match."""
    assert (_plan(ten, identity=ALICE)["opened"], _plan(ten)["opened"]) == (1, 10)
    with open_home(ten).dataset(identity=ALICE) as dataset:
        assert [found["n"] for found in dataset.filter(event="order 3")] == [3]
        assert dataset.filter(where={"n": {">": 7}}).count() == 2
        assert dataset.top("level") == [("info", 10)]
        assert len(dataset.histogram("1s")) == 10


def test_a_plan_with_index_pages(ten: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pages list no value; the hidden zone maps are opened only with an identity."""
    small_pages(monkeypatch, 16)
    subsystem_dir = HomeDir(ten).subsystem_dir("logs")
    index(subsystem_dir)
    page = pages_of(subsystem_dir).load(0, _log(ten))
    assert page is not None
    assert [entry.zone() for entry in page.entries if entry] == [{}] * 10
    plan = _plan(ten, identity=ALICE)
    assert (plan["opened"], plan["pages"], plan["manifests"]) == (1, 1, 10)
    without = _plan(ten)
    assert (without["opened"], without["manifests"]) == (10, 0)


def _log(home: Path) -> str:
    return next(iter(open_home(home).batches())).log


def test_times_are_known_without_an_identity(ten: Path) -> None:
    """Minutes are in clear, so a span of another hour reads nothing."""
    with open_home(ten).dataset(on_gap=lambda _: pytest.fail("nothing is read")) as dataset:
        assert list(dataset.filter(until="2020-01-01")) == []


def test_exposed_members_are_used_without_an_identity(home: Path) -> None:
    """What `expose` leaves in clear rules out batches for everybody."""
    encrypt = Encrypt(recipients=(ALICE_KEY,), expose=("events",))
    seal_records(home, [{"event": f"order {number}"} for number in range(10)], encrypt=encrypt)
    assert (_plan(home)["opened"], _plan(home, identity=ALICE)["opened"]) == (1, 1)


def test_gaps_say_how_many_records(ten: Path) -> None:
    """Each batch that is not opened is one gap."""
    gaps: list[Any] = []
    with open_home(ten).dataset(on_gap=gaps.append) as dataset:
        assert list(dataset) == []
    assert [(gap.kind, gap.index, gap.records) for gap in gaps] == [("encrypted", number, 1) for number in range(10)]


def test_following_needs_no_identity_for_what_was_shown(home: Path) -> None:
    """Lines are in clear until they are sealed; a follower who has shown them does not open their batch."""
    subsystem_dir = HomeDir(home).subsystem_dir("logs")
    gaps: list[Any] = []
    live = put_live(subsystem_dir, lines(1, 3), encrypt=ENCRYPT)
    with open_home(home).dataset(on_gap=gaps.append) as dataset:
        following = dataset.follow(last=10)
        assert [match.record["seq"] for match in following.poll()] == [1, 2, 3]
        live.close()
        assert seal_home(home) == 1
        assert following.poll() == []
        put_live(subsystem_dir, lines(4, 4), number=1, encrypt=ENCRYPT).close()
        assert [match.record["seq"] for match in following.poll()] == [4]
    assert gaps == []
    with open_home(home).dataset(on_gap=gaps.append) as dataset:
        assert [found["seq"] for found in dataset] == [4]
    assert [gap.records for gap in gaps] == [3]
