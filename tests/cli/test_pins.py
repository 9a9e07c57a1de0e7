"""Pin services in `status`, `doctor` and `ship`: what is printed, as text and as JSON, and the exit codes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ipfs_log_handlers.testing.memory_store import MemoryStore
from tests.support.cli import run
from tests.support.logging_home import logging_to
from tests.support.many_batches import seal_batches
from tests.support.pin_services import FakeCluster

STORE = "memory:pins"


@pytest.fixture
def cluster() -> Iterator[FakeCluster]:
    """Serve a cluster, and forget the store in memory afterwards."""
    with FakeCluster() as running:
        yield running
    MemoryStore.forget()


@pytest.fixture
def shipped(home: Path, cluster: FakeCluster) -> Path:
    """Make a home with three batches that a store and a cluster have."""
    seal_batches(home, 3)
    assert 0 == run("ship", "--kubo", STORE, "--pin", cluster.address, home=home).code
    return home


def pins(home: Path) -> list[dict[str, Any]]:
    """Return what `status` says of the pin services."""
    [subsystem] = run("status", home=home).objects
    return list(subsystem["pins"])


def check(home: Path, *options: str) -> tuple[int, dict[str, Any]]:
    """Return the exit code of `doctor`, and what it says of the pin service."""
    ended = run("doctor", "--kubo", STORE, *options, home=home)
    [found] = [each for each in ended.objects if each["check"] == "pin service"]
    return ended.code, found


def test_ship_prints_each_copy(home: Path, cluster: FakeCluster) -> None:
    """One line for the store and one for the service, of each batch, each with its address."""
    seal_batches(home, 2)
    ended = run("ship", "--kubo", STORE, "--pin", cluster.address, home=home)
    assert 0 == ended.code
    assert {(store, index) for store in (STORE, cluster.address) for index in (0, 1)} == {
        (each["store"], each["index"]) for each in ended.objects
    }


def test_status_counts_what_is_pinned(shipped: Path, cluster: FakeCluster) -> None:
    """As JSON and as text, beside the counts of the stores."""
    [pin] = pins(shipped)
    assert (cluster.address, 0, None, None) == (pin["service"], pin["waiting"], pin["last_error"], pin["next_retry"])
    [subsystem] = run("status", home=shipped).objects
    assert pin["pinned"] == subsystem["sealed"] == subsystem["shipped"]
    assert f"pinned by {cluster.address}" in run("status", "-o", "text", home=shipped).out


def test_status_says_what_waits_and_why(home: Path, cluster: FakeCluster) -> None:
    """A request that is not finished is no copy; a service that refuses is named with its error."""
    with logging_to(home, kubo=STORE, pins=cluster.address) as logger:
        logger.info("x")
    cluster.status_of_new = "queued"
    assert 4 == run("ship", "--pin", cluster.address, "--timeout", "1", home=home).code
    [pin] = pins(home)
    assert (0, 1) == (pin["pinned"], pin["waiting"])
    assert "1 batch waiting" in run("status", "-o", "text", home=home).out


def test_doctor_asks_the_service(shipped: Path, cluster: FakeCluster) -> None:
    """Only if its address is given by the user: a home may come from another person."""
    code, found = check(shipped, "--pin", cluster.address)
    assert (0, "ok") == (code, found["state"])
    assert "1.1.6" in found["found"]


@pytest.mark.slow
def test_doctor_finds_a_copy_that_is_gone(shipped: Path, cluster: FakeCluster) -> None:
    """The list of the cluster is empty again: the batches are named, and the hint sends them again."""
    cluster.pins.clear()
    ended = run("doctor", "--kubo", STORE, "--pin", cluster.address, home=shipped)
    [found] = [each for each in ended.objects if each["check"] == "batches" and each["state"] == "fail"]
    assert cluster.address in found["found"]
    assert "ship --again" in found["hint"]
    assert "has lost 3 batches" in run("ship", "--again", cluster.address, home=shipped).err
    assert 0 == run("ship", "--kubo", STORE, "--pin", cluster.address, home=shipped).code
    assert {each["cid"] for each in run("ls", home=shipped).objects} <= set(cluster.pinned())


@pytest.mark.parametrize(
    ("token", "code", "state"), [(None, 4, "fail"), ("bearer:wrong", 4, "fail"), ("bearer:right", 0, "ok")]
)
def test_doctor_shows_a_credential_that_is_refused(home: Path, token: str | None, code: int, state: str) -> None:
    """Exit code 4, as for a store; the credential is not repeated."""
    seal_batches(home, 1)
    with FakeCluster(token="Bearer right") as guarded:
        options = ("--pin", guarded.address, *(("--pins-token", token) if token else ()))
        ended, found = check(home, *options)
    assert (code, state) == (ended, found["state"])
    assert "wrong" not in found["found"]
    MemoryStore.forget()
