"""A keeper publishes after shipping, in its own time; what is slow or silent there delays nothing else."""

from __future__ import annotations

import functools
import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from ipfs_log_handlers import ConfigurationError, IPFSHandler, StoreUnavailable, open_dataset, open_home
from ipfs_log_handlers.api import PublicKey, Stop
from ipfs_log_handlers.home import lock, name_key, name_state
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.keeper import publisher
from ipfs_log_handlers.testing import FakeKubo, Response
from tests.kubo.daemon import Daemon
from tests.support import oracle, programs, sample_homes
from tests.support.cli import run
from tests.support.logging_home import logging_to, wait_until
from tests.support.machine import assert_in_time

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def no_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a publication follow another one after the shortest interval also on a slow machine."""
    monkeypatch.setattr(publisher, "_SHARE", 0)


@pytest.fixture
def daemon() -> Any:
    """Give a fake daemon."""
    with FakeKubo() as running:
        yield running


def status(home: Path) -> dict[str, Any]:
    """Return what `status` says of the first subsystem."""
    return open_home(home).status()[0].as_json()


def has_published(home: Path, count: int) -> bool:
    """Return whether so many records are published."""
    return bool(status(home)["published"] == count)


def public_key(home: Path) -> PublicKey:
    """Return the public key of a home."""
    key = open_home(home).public_key()
    assert key is not None
    return key


def is_published(home: Path) -> bool:
    """Return whether all that is shipped is published."""
    state = name_state.load(HomeDir(home))
    return state.is_published


def test_a_program_publishes_after_each_batch(home, daemon):
    """`publish=True`: the name leads to the newest batch soon after `flush`; `status` counts it."""
    with logging_to(home, "audit", kubo=daemon.url, publish=True, keeper="thread") as logger:
        for number in range(3):
            logger.warning("turn %d", number)
            logger.handlers[0].flush()
            wait_until(functools.partial(has_published, home, number + 1), deadline_s=60.0)
    found = status(home)
    assert (found["durable"], found["sealed"], found["shipped"], found["published"]) == (3, 3, 3, 3)
    name = found["name"]
    assert list(name) == ["name", "cid", "age", "until", "last_error", "next_retry"]
    assert name["name"] in daemon.store.names
    assert name["last_error"] is None
    assert name["age"] >= 0
    assert public_key(home).ipns == name["name"]


def test_nothing_is_published_without_the_setting(home, daemon):
    """No key, no name, no call."""
    sample_homes.log(home, range(20), kubo=daemon.url)
    sample_homes.ship(home, daemon.url)
    assert not HomeDir(home).name_key.exists()
    assert status(home)["name"] is None
    assert not [request for request in daemon.requests if request.command.startswith("name/")]


def test_a_daemon_without_routing(home, daemon):
    """It answers 200 to the record: `status` and `doctor` say that nobody can resolve it, and what is missing."""
    daemon.store.resolves = False
    sample_homes.log(home, range(20), kubo=daemon.url, publish=True)
    assert 0 == run("ship", home=home).code
    found = status(home)
    assert (found["shipped"], found["published"]) == (20, 0)
    assert found["name"]["cid"] is None
    assert "does not resolve the name" in found["name"]["last_error"]
    assert "Ipns.UsePubsub" in found["name"]["last_error"]
    assert "not published" in run("status", "-o", "text", home=home).out
    told = run("doctor", "--kubo", daemon.url, home=home)
    assert {"warn"} == {check["state"] for check in told.objects if check["check"] == "name"}
    assert "publish --to FILE" in told.out

    daemon.store.resolves = True
    assert 0 == run("ship", home=home).code
    assert status(home)["published"] == 20
    told = run("doctor", "--kubo", daemon.url, home=home)
    assert {"ok"} == {check["state"] for check in told.objects if check["check"] == "name"}


@pytest.mark.parametrize("command", ["name/put", "name/resolve"])
def test_a_silent_name_delays_neither_flush_nor_exit(home, daemon, command):
    """Records are shipped, and the program ends, while a call about the name hangs."""
    daemon.respond_always(command, Response(then="hang"))
    body = """
        configure(kubo=KUBO, publish=True, flush_timeout=20.0)
        for number in range(3):
            log.info("r%d", number)
            begun = time.monotonic()
            logging.getLogger().handlers[0].flush()
            print(time.monotonic() - begun)
        begun = time.monotonic()
        logging.shutdown()
        print(time.monotonic() - begun)
    """
    ended = programs.run(home, body, KUBO=daemon.url).clean()
    assert_in_time(max(map(float, ended.out.split())), 2.0)
    assert [record["event"] for record in oracle.sealed_records(home)] == ["r0", "r1", "r2"]
    found = status(home)
    assert (found["shipped"], found["published"]) == (3, 0)


def test_a_silent_store_costs_one_deadline_while_publish_is_on(home, daemon):
    """The end of a program, and of a child that it forks, hold the deadline."""
    for command in ("version", "dag/import", "name/put"):
        daemon.respond_always(command, Response(then="hang"))
    body = """
        configure(kubo=KUBO, publish=True, flush_timeout=1.0)
        log.info("parent")
        pid = os.fork()
        if pid == 0:
            log.info("child")
            begun = time.monotonic()
            logging.shutdown()
            os.write(1, b"%f\\n" % (time.monotonic() - begun))
            os._exit(0)
        os.waitpid(pid, 0)
        begun = time.monotonic()
        logging.shutdown()
        os.write(1, b"%f\\n" % (time.monotonic() - begun))
    """
    ended = programs.run(home, body, KUBO=daemon.url).clean()
    assert_in_time(max(map(float, ended.out.split())), 3.0)


def test_publications_are_paced(home, daemon, monkeypatch):
    """At most one in the shortest interval, whatever is shipped meanwhile; the last one has everything."""
    monkeypatch.setattr(publisher, "MIN_INTERVAL_S", 0.5)
    begun = time.monotonic()
    with logging_to(home, "audit", kubo=daemon.url, publish=True, keeper="thread", batch={"records": 1}) as logger:
        for number in range(30):
            logger.warning("turn %d", number)
            logger.handlers[0].flush()
        wait_until(lambda: has_published(home, 30), deadline_s=60.0)
        took = time.monotonic() - begun
    puts = [request for request in daemon.requests if request.command == "name/put"]
    assert 1 <= len(puts) <= took / 0.5 + 2
    assert len(daemon.uploads()) >= 30


class TestNow:
    """`ipfs-logs publish`."""

    def test_once(self, home, daemon):
        """It prints the name and the home head; a second time it resolves again and the same comes back."""
        sample_homes.log(home, range(20))
        sample_homes.ship(home, daemon.url)
        [first] = run("publish", "--kubo", daemon.url, home=home).objects
        assert first["name"] in daemon.store.names
        assert first["cid"] in {cid.text for cid in daemon.store.pins}
        [again] = run("publish", "--kubo", daemon.url, home=home).objects
        assert again == first
        printed = run("publish", "--kubo", daemon.url, "-o", "text", home=home).out
        assert printed.splitlines()[0] == f"/ipns/{first['name']}"
        assert run("keys", "show", "--name", "-o", "text", home=home).out == f"/ipns/{first['name']}\n"
        shown = run("keys", "show", "-o", "text", home=home)
        assert len(shown.out.splitlines()) == 1
        assert first["name"] in shown.err
        assert first["name"] in run("status", "-o", "text", home=home).out
        metrics = run("status", "-o", "openmetrics", home=home).out
        assert "ipfs_logs_published_age_seconds " in metrics
        assert 'ipfs_logs_published_records_total{subsystem="audit"} 20' in metrics
        assert "ipfs_logs_publish_failing 0" in metrics

    def test_what_cannot_be_published(self, home, daemon):
        """Nothing shipped, no store, nobody there, no routing: each is said, with its own exit code."""
        sample_homes.make(home)
        ended = run("publish", "--kubo", daemon.url, home=home)
        assert (ended.code, ended.out) == (2, "")
        assert "no batch is shipped" in ended.err
        assert "there is no store" in run("publish", home=home).err
        assert "has no name yet" in run("keys", "show", "--name", home=home).err
        sample_homes.ship(home, daemon.url)
        daemon.store.resolves = False
        ended = run("publish", "--kubo", daemon.url, "--timeout", "0", home=home)
        assert (ended.code, ended.out) == (4, "")
        assert "does not resolve the name" in ended.err
        assert "does not resolve the name" in status(home)["name"]["last_error"]

    def test_another_process_is_the_keeper(self, home, daemon):
        """That one is asked, although its programs do not publish; what it is not configured for is refused."""
        stop = Stop()
        sample_homes.log(home, range(20), kubo=daemon.url)
        other = threading.Thread(target=open_home(home).follow, kwargs={"stop": stop})
        other.start()
        try:
            wait_until(lambda: status(home)["shipped"] == 20)
            [published] = run("publish", home=home).objects
            assert published["name"] in daemon.store.names
            with pytest.raises(ConfigurationError, match="publishes at its own stores"):
                open_home(home).publish(["http://127.0.0.1:9"])
            daemon.store.resolves = False
            with pytest.raises(StoreUnavailable, match="does not resolve"):
                open_home(home).publish(timeout=10.0)
        finally:
            stop.request()
            other.join()

    def test_a_keeper_that_does_not_answer(self, home, daemon):
        """The lock is held, and nobody works: the process is named."""
        sample_homes.log(home, range(20), kubo=daemon.url)
        sample_homes.ship(home, daemon.url)
        held = lock.take(HomeDir(home))
        assert held is not None
        try:
            with pytest.raises(StoreUnavailable, match="is the keeper of this home"):
                open_home(home).publish(timeout=0.2)
        finally:
            held.release()

    def test_to_a_file(self, home, daemon, tmp_path):
        """A home head in a file is a source beside a daemon; no name is made, and no store is asked."""
        path = tmp_path / "shop.car"
        sample_homes.log(home, range(20))
        sample_homes.ship(home, daemon.url)
        daemon.requests.clear()
        [written] = run("publish", "--to", path, "--kubo", daemon.url, home=home).objects
        assert daemon.requests == []
        assert not HomeDir(home).name_key.exists()
        assert (written["path"], written["size"]) == (str(path), path.stat().st_size)
        key = public_key(home)
        with open_dataset(path, kubo=daemon.url, keys=[key.verifier]) as dataset:
            assert dataset.count() == 20
            following = dataset.follow()
            sample_homes.log(home, range(20, 25))
            sample_homes.ship(home, daemon.url)
            [newer] = run("publish", "--to", path, "--kubo", daemon.url, home=home).objects
            assert newer["counter"] > written["counter"]
            while not (found := following.poll()):  # a name is looked up once a second
                following.wait()
            assert [match.record["number"] for match in found] == [20, 21, 22, 23, 24]
        [same] = run("publish", "--to", path, "--kubo", daemon.url, home=home).objects
        assert same["cid"] == newer["cid"]
        [published] = run("publish", "--kubo", daemon.url, home=home).objects
        assert published["cid"] == newer["cid"]


def test_follow_publishes_where_no_program_wants_it(home, daemon):
    """`ship --follow --publish`; without --follow it is a mistake that is told."""
    sample_homes.log(home, range(20), kubo=daemon.url)
    stop = Stop()
    sidecar = threading.Thread(target=open_home(home).follow, kwargs={"stop": stop, "publish": True})
    sidecar.start()
    try:
        wait_until(lambda: is_published(home), deadline_s=60.0)
    finally:
        stop.request()
        sidecar.join()
    ended = run("ship", "--publish", home=home)
    assert (ended.code, "--publish belongs to --follow" in ended.err) == (2, True)


def test_a_wrong_value_of_the_setting(home):
    """It is a boolean."""
    with pytest.raises(ConfigurationError, match="not a boolean"):
        IPFSHandler("audit", home=home, publish="yes")  # type: ignore[arg-type]


# -- real daemons


def connected(make: Any, **settings: Any) -> tuple[Daemon, Daemon]:
    """Start two online daemons that know each other and nobody else."""
    first, second = (make(offline=False, settings=settings) for _ in range(2))
    [address] = [each for each in json.loads(first.rpc("id"))["Addresses"] if "/tcp/" in each][:1]
    second.cli("swarm", "connect", address)
    return first, second


def test_a_reader_elsewhere_knows_the_name_and_the_key(home, kubo_daemon):
    """Two daemons with IPNS over pubsub: a writer at one, a reader at the other, who sees new records after flush."""
    here, there = connected(kubo_daemon, **{"Ipns.UsePubsub": True})
    with logging_to(home, "audit", kubo=here.url, publish=True, keeper="thread") as logger:
        logger.warning("first")
        logger.handlers[0].flush()
        wait_until(lambda: is_published(home), deadline_s=60.0)
        key = public_key(home)
        with open_dataset(f"/ipns/{key.ipns}", gateway=there.gateway_url, keys=[key.verifier]) as dataset:
            assert [record["event"] for record in dataset] == ["first"]
            following = dataset.follow()
            assert following.poll() == []
            logger.warning("second")
            logger.handlers[0].flush()
            found: list[str] = []
            until = time.monotonic() + 60.0
            while not found and time.monotonic() < until:
                found += [match.record["event"] for match in following.poll()]
                following.wait()
            assert found == ["second"]
    cid = status(home)["name"]["cid"]
    assert here.cli("name", "resolve", f"/ipns/{key.ipns}") == f"/ipfs/{cid}"
    assert cid in here.pins()
    assert (
        here.cli_bytes("cat", f"/ipfs/{cid}/logs/0/head/manifest/payload", "--progress=false")[:4]
        == b"\x50\x2a\x4d\x18"
    )


def test_kubo_takes_the_record_and_says_what_is_in_it(home, kubo):
    """An offline daemon keeps it and resolves it; `ipfs name inspect` finds it valid."""
    sample_homes.log(home, range(20))
    sample_homes.ship(home, kubo.url)
    published = open_home(home).publish([kubo.url])
    assert kubo.cli("name", "resolve", f"/ipns/{published.name}") == f"/ipfs/{published.cid}"
    state = name_state.load(HomeDir(home))
    key = name_key.load(HomeDir(home))
    assert key is not None
    assert state.record is not None
    signed = state.record.signed(key)
    shown = json.loads(
        kubo.cli("name", "inspect", f"--verify={published.name}", "--dump=false", "--enc=json", stdin=signed)
    )
    assert shown["Validation"]["Valid"] is True
    assert shown["SignatureType"] == "V2"
    assert shown["Entry"]["Sequence"] == published.sequence
    assert shown["Entry"]["Value"] == f"/ipfs/{published.cid}"
    assert kubo.pins()[published.cid] is not None


def test_a_real_daemon_without_routing_does_not_count(home, kubo_online):
    """It answers 200 to the record, and nobody resolves the name."""
    sample_homes.log(home, range(20), kubo=kubo_online.url, publish=True)
    assert 0 == run("ship", home=home).code
    found = status(home)
    assert (found["shipped"], found["published"]) == (20, 0)
    told = run("doctor", "--kubo", kubo_online.url, home=home)
    assert "its Routing.Type is none" in told.out
