"""ship: what waits is sealed and shipped, once or for as long as it runs, alone or beside another keeper."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ipfs_log_handlers import IPFSHandler
from ipfs_log_handlers.home import lock, requests, shipped
from ipfs_log_handlers.home.layout import Home
from ipfs_log_handlers.status import status
from ipfs_log_handlers.stores.memory import MemoryStore
from ipfs_log_handlers.testing import FakeDaemon
from tests.archived import archiver, facts
from tests.cli.running import on_terminal, run, start
from tests.programs import environment
from tests.reading import homes
from tests.workshop import wait_until

KEYS = {"subsystem", "index", "cid", "store", "seconds"}
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
def daemon() -> Iterator[FakeDaemon]:
    """A scripted daemon without a script: honest."""
    with FakeDaemon() as honest:
        yield honest


def counts(home: Path) -> tuple[int, int, int]:
    """Durable, sealed, shipped of the only subsystem."""
    (found,) = status(home)
    return found["durable"], found["sealed"], found["shipped"]


def trouble(home: Path) -> str | None:
    """What a store answered last, when that was no success."""
    (found,) = status(home)
    return found["last_error"]


def wait_for_try_in_vain(process: subprocess.Popen[bytes]) -> None:
    """Return once a traced program has found the lock taken."""
    assert process.stderr is not None
    assert process.stderr.readline() == b"tried the lock in vain\n"


@contextlib.contextmanager
def meanwhile(holds: Callable[[], object], then: Callable[[], object]) -> Iterator[None]:
    """Beside what stands in the block: do something as soon as something holds."""

    def watch() -> None:
        wait_until(holds)
        then()

    watching = threading.Thread(target=watch)
    watching.start()
    yield
    watching.join()


def test_ships_to_the_store_given(home):
    """What waits in the spool is sealed and shipped; each batch is told, and nothing is left."""
    store = MemoryStore.named("given")
    homes.log(home, range(25))
    ended = run("ship", "--kubo", "memory:given", home=home)
    assert (ended.code, ended.err) == (0, "")
    assert [(each["subsystem"], each["index"]) for each in ended.objects] == [("audit", 0), ("audit", 1), ("audit", 2)]
    assert all(each.keys() == KEYS and each["store"] == "memory:given" for each in ended.objects)
    assert {cid.text for cid in store.pins} >= {each["cid"] for each in ended.objects}
    assert counts(home) == (25, 25, 25)
    assert run("ship", "--kubo", "memory:given", home=home).objects == []


def test_ships_to_the_stores_configured(home):
    """Without `--kubo` the stores count that the programs configured, though no keeper ever ran."""
    homes.log(home, range(5), kubo="memory:configured")
    assert run("ship", home=home).code == 0
    assert counts(home) == (5, 5, 5)


def test_store_from_the_environment(home):
    """Where none is configured, `IPFS_LOGS_KUBO` counts."""
    homes.log(home, range(5))
    assert run("ship", home=home, IPFS_LOGS_KUBO="memory:environment").code == 0
    assert len(MemoryStore.named("environment").shipments) == 1


class TestWithoutAStore:
    """Nothing can be shipped: what waits is sealed, and the exit code is that of a configuration that lacks one."""

    said = "nothing shipped: no store is configured (--kubo or IPFS_LOGS_KUBO)"

    def test_what_waits_is_sealed(self, home):
        """The records that were sealed are counted, as text and as JSON; a second time there are none."""
        homes.log(home, range(25))
        ended = run("ship", home=home)
        assert (2, [{"sealed": 25, "archives": 0, "shipped": 0}]) == (ended.code, ended.objects)
        assert f"ipfs-logs: error: 25 records sealed; {self.said}\n" == ended.err
        assert (25, 25, 0) == counts(home)
        again = run("ship", "-o", "text", home=home)
        assert (2, "") == (again.code, again.out)
        assert f"ipfs-logs: error: 0 records sealed; {self.said}\n" == again.err

    def test_archives_too(self, home):
        """An archive that waited is counted beside the records."""
        homes.log(home, range(1))
        archiver(home, "audit").put_bytes(b"x", facts)
        ended = run("ship", home=home)
        assert [{"sealed": 1, "archives": 1, "shipped": 0}] == ended.objects
        assert f"1 record and 1 archive sealed; {self.said}" in ended.err

    def test_beside_a_program_that_keeps(self, home):
        """Where a program keeps the home, it is asked, and what it has sealed meanwhile is counted."""
        handler = IPFSHandler("audit", home=home, batch={"records": 10, "seconds": 3600})
        handler.handle(homes.record(0))
        wait_until(lambda: lock.holder(Home(home)) is not None)
        assert (1, 0, 0) == counts(home)
        ended = run("ship", home=home)
        assert (2, [{"sealed": 1, "archives": 0, "shipped": 0}]) == (ended.code, ended.objects)
        handler.close()

    def test_what_cannot_be_sealed(self, home):
        """What is still left is told with its reason, and the exit code is that of something left."""
        homes.make(home, 1)
        homes.log(home, range(2))
        Home(home).key.write_bytes(b"junk\n")
        ended = run("ship", "--timeout", "0", home=home)
        assert (4, [{"sealed": 0, "archives": 0, "shipped": 0}]) == (ended.code, ended.objects)
        assert "not sealed" in ended.err.splitlines()[-1]
        assert "not a signing key" in ended.err


class TestAddresses:
    """Which stores count: those of `--kubo`, else the configured ones, else `IPFS_LOGS_KUBO`."""

    @pytest.mark.parametrize("verb", ["ship", "doctor"])
    @pytest.mark.parametrize(
        ("args", "variable", "where"),
        [(("--kubo", "foo"), "memory:x", "--kubo"), ((), "memory:x foo", "IPFS_LOGS_KUBO")],
    )
    def test_no_address(self, home, verb, args, variable, where):
        """What is no address is named with the place that has it, and nothing is done."""
        homes.log(home, range(5))
        ended = run(verb, *args, home=home, IPFS_LOGS_KUBO=variable)
        assert (2, "") == (ended.code, ended.out)
        assert ended.err.startswith(f"ipfs-logs: error: {where}: ")
        assert "not the address of a store" in ended.err
        assert "'foo'" in ended.err
        assert (5, 0, 0) == counts(home)

    def test_the_port_of_an_address(self, home):
        """An error that names the host is told under the name of the variable, too."""
        homes.log(home, range(1))
        ended = run("ship", home=home, IPFS_LOGS_KUBO="http://box:99999")
        assert ended.err.startswith("ipfs-logs: error: IPFS_LOGS_KUBO: ")

    def test_a_store_that_is_named_twice(self, home):
        """It counts once."""
        homes.log(home, range(5))
        ended = run("ship", "--timeout", "1", home=home, IPFS_LOGS_KUBO="memory:twice,memory:twice")
        assert (0, 1) == (ended.code, len(ended.objects))

    @pytest.mark.parametrize("verb", ["ship", "doctor"])
    def test_a_variable_that_does_not_count(self, home, verb):
        """Beside a store that is given or configured the variable is not even read."""
        homes.log(home, range(5), kubo="memory:configured-here")
        assert 0 == run(verb, home=home, IPFS_LOGS_KUBO="foo").code
        assert 0 == run(verb, "--kubo", "memory:given-here", home=home, IPFS_LOGS_KUBO="foo").code


@pytest.mark.parametrize("seconds", ["nan", "-1"])
def test_timeout_that_never_comes_is_a_usage_error(home, seconds):
    """A timeout that no time ever passes would be waited for without end."""
    home.mkdir()

    ended = run("ship", "--kubo", "http://127.0.0.1:1", "--timeout", seconds, home=home)

    assert ended.code == 2
    assert "--timeout" in ended.err


def test_store_out_of_reach(home):
    """After the time without success, what is left is named with the reason, and the exit code is 4."""
    homes.log(home, range(5))
    begun = time.monotonic()
    ended = run("ship", "--kubo", NOWHERE, "--timeout", "0.5", home=home)
    assert ended.code == 4
    told = f"1 batch not shipped, audit batch 0 first: {NOWHERE}: nobody listens there (connection refused)"
    assert ended.err == f"ipfs-logs: error: {told}\n"
    assert time.monotonic() - begun < 5
    assert counts(home) == (5, 5, 0)


def test_what_is_left_is_counted(home):
    """Batches that are not shipped are counted apart from subsystems in which something is not sealed."""
    homes.make(home, 25, kubo=NOWHERE)
    homes.make(home, 5, "wal", kubo=NOWHERE)
    homes.log(home, range(5), "wal", kubo=NOWHERE)
    held = lock.take(Home(home))
    assert held is not None
    try:
        ended = run("ship", "--timeout", "0.2", home=home)
    finally:
        held.release()
    assert ended.code == 4
    assert "1 subsystem not sealed and 4 batches not shipped, audit batch 0 first: process " in ended.err
    ended = run("ship", "--timeout", "0.2", home=home)
    assert "error: 5 batches not shipped, audit batch 0 first: " in ended.err


def test_trouble_without_an_address_gets_one(home):
    """What a store said is told with the store's address, once."""
    homes.make(home, 5)
    MemoryStore.named("down").mood = "down"
    ended = run("ship", "--kubo", "memory:down", "--timeout", "0.2", home=home)
    assert ended.err.count("memory:down") == 1
    room = homes.room(home)
    for name, mark in shipped.load_all(room.current.shipped).items():
        assert mark.trouble is not None
        shipped.store(room.current.shipped, name, replace(mark, trouble=replace(mark.trouble, message="odd")))
    held = lock.take(Home(home))
    assert held is not None
    try:
        ended = run("ship", "--kubo", "memory:down", "--timeout", "0", home=home)
    finally:
        held.release()
    assert ended.err == "ipfs-logs: error: 1 batch not shipped, audit batch 0 first: memory:down: odd\n"


def test_store_that_comes_back(home):
    """A store that is down for a while is tried again until it answers."""
    store = MemoryStore.named("back")
    store.mood = "down"
    homes.log(home, range(5))
    with meanwhile(lambda: trouble(home), lambda: setattr(store, "mood", "up")):
        assert run("ship", "--kubo", "memory:back", "--timeout", "10", home=home).code == 0


def test_replicas(home):
    """With two of three stores asked for, two are enough."""
    MemoryStore.named("r3").mood = "down"
    homes.log(home, range(5), kubo=["memory:r1", "memory:r2", "memory:r3"], replicas=2)
    assert run("ship", home=home).code == 0
    homes.log(home, range(5), kubo=["memory:r1", "memory:r2", "memory:r3"], replicas=2)
    MemoryStore.named("r2").mood = "down"
    assert run("ship", "--timeout", "0.3", home=home).code == 4


def test_text(home):
    """As text, a line for each batch and one for all."""
    homes.log(home, range(5))
    lines = run("ship", "-o", "text", "--kubo", "memory:text", home=home).out.splitlines()
    assert lines[0].startswith("audit batch 0 bafy")
    assert lines[1].startswith("1 batch shipped in ")


def test_progress_on_a_terminal(home, daemon):
    """On a terminal a bar shows how far it is, and leaves the sum behind."""
    homes.log(home, range(50), records=5)
    shown = on_terminal("--home", home, "ship", "--kubo", daemon.url)
    assert b"10 batches shipped in" in shown
    assert b"shipping" in shown


def test_beside_a_program_that_keeps(home):
    """Where a program keeps the home, it is asked to seal and ship, and what it delivers is told."""
    handler = IPFSHandler("audit", home=home, kubo="memory:beside", batch={"records": 10, "seconds": 3600})
    handler.handle(homes.record(0))
    wait_until(lambda: lock.holder(Home(home)) is not None)
    for number in range(1, 8):
        handler.handle(homes.record(number))
    ended = run("ship", home=home)
    assert (ended.code, ended.err) == (0, "")
    assert sum(1 for each in ended.objects if each.keys() == KEYS) >= 1
    assert counts(home) == (8, 8, 8)
    handler.close()


def test_beside_a_keeper_that_does_nothing(home):
    """A keeper that does not ship there is named when time is over."""
    homes.make(home, 5)
    held = lock.take(Home(home))
    assert held is not None
    ended = run("ship", "--kubo", "memory:idle", "--timeout", "0.3", home=home)
    held.release()
    assert ended.code == 4
    assert f"process {os.getpid()} on" in ended.err
    assert not any(Home(home).requests.iterdir())


def test_becomes_keeper_when_the_other_leaves(home):
    """When the other keeper leaves, this one goes on by itself."""
    homes.make(home, 5)
    held = lock.take(Home(home))
    assert held is not None
    with meanwhile(lambda: requests.pending(Home(home).requests).asked, held.release):
        assert run("ship", "--kubo", "memory:leaves", "--timeout", "10", home=home).code == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_follow(home, daemon, number):
    """`--follow` keeps the home of a program without a keeper until a signal, then ends well."""
    home.mkdir(mode=0o700)
    with start("--home", home, "ship", "--follow", "--kubo", daemon.url) as process:
        wait_until(lambda: lock.holder(Home(home)) is not None)
        with homes.Writing(home, records=5) as writing:
            writing.log(range(10))
            wait_until(lambda: counts(home) == (10, 10, 10))
        process.send_signal(number)
        out, err = process.communicate(timeout=10)
    assert (process.returncode, err) == (0, b"")
    assert len(out.splitlines()) == 2


def test_follow_ships_where_the_variable_says(home, daemon):
    """`--follow` obeys `IPFS_LOGS_KUBO` for as long as no program has configured a store, and then that one."""
    home.mkdir(mode=0o700)
    named = environment(IPFS_LOGS_KUBO=daemon.url)
    with FakeDaemon() as configured, start("--home", home, "ship", "--follow", env=named) as process:
        elsewhere = configured.url
        lines = (json.loads(line) for line in process.stdout or ())
        told = ((each["subsystem"], each["store"]) for each in lines)
        homes.log(home, range(3), records=1)
        first = next(told)
        homes.log(home, range(3), "wal", kubo=elsewhere, records=1)
        then = [next(told) for _ in range(3)]
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=10)
    assert ("audit", daemon.url) == first
    assert ("wal", elsewhere) in then
    assert ("wal", daemon.url) not in then


def test_follow_where_the_variable_is_wrong(home):
    """A variable that names no store ends it at once, and says so."""
    home.mkdir(mode=0o700)
    ended = run("ship", "--follow", home=home, IPFS_LOGS_KUBO="foo")
    assert 2 == ended.code
    assert ended.err.startswith("ipfs-logs: error: IPFS_LOGS_KUBO: ")


def test_follow_waits_for_the_lock(home, daemon):
    """`--follow` waits while somebody else keeps the home, and a signal ends the wait."""
    homes.make(home, 5)
    held = lock.take(Home(home))
    assert held is not None
    with start("--home", home, "ship", "--follow", "--kubo", daemon.url, traced=True) as process:
        wait_for_try_in_vain(process)
        held.release()
        wait_until(lambda: counts(home) == (5, 5, 5))
        process.send_signal(signal.SIGTERM)
    assert process.returncode == 0
    held = lock.take(Home(home))
    assert held is not None
    with start("--home", home, "ship", "--follow", traced=True) as process:
        wait_for_try_in_vain(process)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=10)
    held.release()
    assert process.returncode == 0


def test_interrupted_ship(home):
    """Ctrl-C ends a ship that hangs at once, with exit code 130 and without a traceback."""
    homes.make(home, 5)
    with start("--home", home, "ship", "--kubo", NOWHERE) as process:
        wait_until(lambda: trouble(home))
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=10)
    assert process.returncode == 130
    assert b"Traceback" not in err
