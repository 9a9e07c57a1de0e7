"""A mirror at Kubo daemons: a writer at one, the mirror at another, and a log that outlives its home and daemon."""

from __future__ import annotations

import json
import shutil
import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ipfs_log_handlers import open_dataset, open_home
from ipfs_log_handlers.api import MirroredLog, Stop
from ipfs_log_handlers.home import name_state
from ipfs_log_handlers.home.imported_logs import mirrored_logs
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.testing import FakeKubo
from tests.kubo.daemon import DaemonError
from tests.support import sample_homes
from tests.support.cli import run
from tests.support.logging_home import logging_to, wait_until

pytestmark = pytest.mark.slow


def here(home: Path) -> int:
    """Return the number of batches of the only mirrored log that a signed head proves."""
    heads = [found for target in mirrored_logs(HomeDir(home)) if (found := target.head()) is not None]
    return sum(head.through + 1 for head in heads)


def has(home: Path, count: int) -> bool:
    """Return whether so many batches are here."""
    return here(home) == count


def connect(first: Any, second: Any) -> None:
    """Let two daemons know each other."""
    addresses = json.loads(first.rpc("id"))["Addresses"]
    second.cli("swarm", "connect", next(each for each in addresses if each.startswith("/ip4/127.0.0.1/tcp/")))


def test_a_log_outlives_its_home_and_its_daemon(home, kubo_daemon, tmp_path):
    """Writer on A, mirror on B following the name, A destroyed: a reader on C has name and key, and reads it from B."""
    here_, there, third = (kubo_daemon(offline=False, settings={"Ipns.UsePubsub": True}) for _ in range(3))
    connect(here_, there)
    connect(there, third)
    copy = tmp_path / "copy"
    found: list[MirroredLog] = []
    stop = Stop()
    with logging_to(home, "audit", kubo=here_.url, publish=True, keeper="thread") as logger:
        logger.warning("first")
        logger.handlers[0].flush()
        wait_until(lambda: name_state.load(HomeDir(home)).is_published, deadline_s=60)
        key = open_home(home).public_key()
        assert key is not None
        name = f"/ipns/{key.ipns}"

        def follow() -> None:
            opened = open_home(copy, must_exist=False)
            found.extend(
                opened.mirror([name], keys=[key.verifier], gateway=there.gateway_url, pin=[there.url], stop=stop)
            )

        thread = threading.Thread(target=follow)
        thread.start()
        try:
            wait_until(lambda: here(copy) == 1, deadline_s=60)
            wait_until(lambda: knows(third, name), deadline_s=60)  # from now on C listens to the name, too
            for number in range(2, 4):
                logger.warning("next")
                logger.handlers[0].flush()
                wait_until(partial(has, copy, number), deadline_s=60)
            head = status_cid(home)
            wait_until(lambda: head in there.pins(), deadline_s=60)
        finally:
            stop.request()
            thread.join()
    assert {each.result for each in found} == {"ok"}
    expected = list(open_dataset(home))
    here_.remove()
    shutil.rmtree(home)

    with open_dataset(copy / "imported-logs", keys=[key.verifier], verify="chain") as dataset:
        assert list(dataset) == expected
    with open_dataset(name, gateway=third.gateway_url, keys=[key.verifier], verify="chain") as dataset:
        assert list(dataset) == expected
        assert [report.result for report in dataset.verify()] == ["ok"]


def knows(daemon: Any, name: str) -> bool:
    """Return whether a daemon resolves a name."""
    try:
        return bool(daemon.cli("name", "resolve", "--dhtt=5s", name))
    except DaemonError:
        return False


def status_cid(home: Path) -> str:
    """Return the CID of the newest home head, once it is published."""
    wait_until(lambda: name_state.load(HomeDir(home)).is_published, deadline_s=60)
    return str(open_home(home).status()[0].as_json()["name"]["cid"])


def test_pins_are_those_of_the_writer(home, tmp_path):
    """At a fake daemon: each manifest, one head block and one home head; a second look sends nothing."""
    copy = tmp_path / "copy"
    with FakeKubo() as first, FakeKubo() as second:
        sample_homes.log(home, range(30), kubo=first.url)
        sample_homes.ship(home, first.url)
        sample_homes.publish(home, first.url)
        key = open_home(home).public_key()
        assert key is not None
        name = f"/ipns/{key.ipns}"
        opened = open_home(copy, must_exist=False)
        for _ in range(2):
            (found,) = opened.mirror([name], keys=[sample_homes.key_of(home)], kubo=first.url, pin=[second.url])
            assert (found.result, found.batches) == ("ok", 3)
            assert second.store.pins.keys() == first.store.pins.keys()
        sent = len(second.uploads())
        sample_homes.log(home, range(10), kubo=first.url)
        sample_homes.ship(home, first.url)
        sample_homes.publish(home, first.url)
        (found,) = opened.mirror([name], kubo=first.url, pin=[second.url])
        assert (found.result, found.new_batches) == ("ok", 1)
        assert len(second.uploads()) == sent + 3
        assert second.store.pins.keys() == first.store.pins.keys()
        assert run("mirror", name, "--kubo", first.url, home=copy).code == 0


def test_a_daemon_that_does_not_pin_is_said(home, tmp_path):
    """The copy is whole; the pins are made by a later look."""
    copy = tmp_path / "copy"
    sample_homes.make(home, 30)
    opened = open_home(copy, must_exist=False)
    (found,) = opened.mirror([home], keys=[sample_homes.key_of(home)], pin=["http://127.0.0.1:9"])
    assert (found.result, found.batches) == ("incomplete", 3)
    assert "nobody listens there" in str(found.problem)
    with FakeKubo() as daemon:
        (found,) = opened.mirror([home], pin=[daemon.url])
        assert (found.result, found.batches, found.new_batches) == ("ok", 3, 0)
        assert len(daemon.store.pins) == 4
