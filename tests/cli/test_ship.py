"""ship: what waits is sealed and shipped, alone or beside another keeper."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ipfs_log_handlers import IPFSHandler
from ipfs_log_handlers.home import delivery_state, lock, requests
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.testing import Request, Response
from ipfs_log_handlers.testing.memory_store import MemoryStore
from tests.support import sample_homes
from tests.support.archives import archiver, facts
from tests.support.cli import command, on_terminal, run, start
from tests.support.logging_home import wait_until
from tests.support.machine import assert_in_time
from tests.support.sample_homes import counts, status
from tests.support.terminal import run_on_terminal

KEYS = {"subsystem", "index", "cid", "store", "seconds"}
NOWHERE = "http://127.0.0.1:9"


def trouble(home: Path) -> str | None:
    """Return the last error of a store, if there is one."""
    (found,) = status(home)
    return found["last_error"]


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


def test_what_waits_is_shipped_to_the_given_store(home):
    """What waits in the spool is sealed and shipped; each batch is told, and nothing is left."""
    store = MemoryStore.named("given")
    sample_homes.log(home, range(25))
    ended = run("ship", "--kubo", "memory:given", home=home)
    assert (ended.code, ended.err) == (0, "")
    assert [(each["subsystem"], each["index"]) for each in ended.objects] == [("audit", 0), ("audit", 1), ("audit", 2)]
    assert all(each.keys() == KEYS and each["store"] == "memory:given" for each in ended.objects)
    assert {cid.text for cid in store.pins} >= {each["cid"] for each in ended.objects}
    assert counts(home) == (25, 25, 25)
    assert run("ship", "--kubo", "memory:given", home=home).objects == []


def test_without_an_option_the_configured_stores_are_used(home):
    """Without `--kubo` the stores count that the programs configured, though no keeper ever ran."""
    sample_homes.log(home, range(5), kubo="memory:configured")
    assert run("ship", home=home).code == 0
    assert counts(home) == (5, 5, 5)


def test_the_variable_counts_where_no_store_is_configured(home):
    """Where none is configured, `IPFS_LOGS_KUBO` counts."""
    sample_homes.log(home, range(5))
    assert run("ship", home=home, IPFS_LOGS_KUBO="memory:environment").code == 0
    assert len(MemoryStore.named("environment").shipments) == 1


class TestWithoutAStore:
    """Nothing can be shipped: what waits is sealed, and the exit code is that of a configuration that lacks one."""

    said = "nothing shipped: no store is configured (--kubo or IPFS_LOGS_KUBO)"

    def test_what_waits_is_sealed_and_counted(self, home):
        """The records that were sealed are counted, as text and as JSON; a second time there are none."""
        sample_homes.log(home, range(25))
        ended = run("ship", home=home)
        assert (2, [{"sealed": 25, "archives": 0, "shipped": 0}]) == (ended.code, ended.objects)
        assert f"ipfs-logs: error: 25 records sealed; {self.said}\n" == ended.err
        assert (25, 25, 0) == counts(home)
        again = run("ship", "-o", "text", home=home)
        assert (2, "") == (again.code, again.out)
        assert f"ipfs-logs: error: 0 records sealed; {self.said}\n" == again.err

    def test_an_archive_that_waits_is_counted_too(self, home):
        """An archive that waited is counted beside the records."""
        sample_homes.log(home, range(1))
        archiver(home, "audit").put_bytes(b"x", facts)
        ended = run("ship", home=home)
        assert [{"sealed": 1, "archives": 1, "shipped": 0}] == ended.objects
        assert f"1 record and 1 archive sealed; {self.said}" in ended.err

    def test_beside_a_program_that_keeps(self, home):
        """Where a program keeps the home, it is asked, and what it has sealed meanwhile is counted."""
        handler = IPFSHandler("audit", home=home, batch={"records": 10, "seconds": 3600})
        handler.handle(sample_homes.record(0))
        wait_until(lambda: lock.holder(HomeDir(home)) is not None)
        assert (1, 0, 0) == counts(home)
        ended = run("ship", home=home)
        assert (2, [{"sealed": 1, "archives": 0, "shipped": 0}]) == (ended.code, ended.objects)
        handler.close()

    def test_what_cannot_be_sealed_is_exit_code_4_with_its_reason(self, home):
        """What is still left is told with its reason, and the exit code is that of something left."""
        sample_homes.make(home, 1)
        sample_homes.log(home, range(2))
        HomeDir(home).key.write_bytes(b"junk\n")
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
    def test_a_malformed_address_is_named_with_its_place(self, home, verb, args, variable, where):
        """What is no address is named with the place that has it, and nothing is done."""
        sample_homes.log(home, range(5))
        ended = run(verb, *args, home=home, IPFS_LOGS_KUBO=variable)
        assert (2, "") == (ended.code, ended.out)
        assert ended.err.startswith(f"ipfs-logs: error: {where}: ")
        assert "not the address of a store" in ended.err
        assert "'foo'" in ended.err
        assert (5, 0, 0) == counts(home)

    def test_a_wrong_port_is_named_with_the_variable(self, home):
        """An error that names the host is told under the name of the variable, too."""
        sample_homes.log(home, range(1))
        ended = run("ship", home=home, IPFS_LOGS_KUBO="http://box:99999")
        assert ended.err.startswith("ipfs-logs: error: IPFS_LOGS_KUBO: ")

    def test_a_store_that_is_named_twice_counts_once(self, home):
        """It counts once."""
        sample_homes.log(home, range(5))
        ended = run("ship", "--timeout", "1", home=home, IPFS_LOGS_KUBO="memory:twice,memory:twice")
        assert (0, 1) == (ended.code, len(ended.objects))

    @pytest.mark.parametrize("verb", ["ship", "doctor"])
    def test_the_variable_is_not_read_beside_a_given_or_configured_store(self, home, verb):
        """Beside a store that is given or configured the variable is not even read."""
        sample_homes.log(home, range(5), kubo="memory:configured-here")
        assert 0 == run(verb, home=home, IPFS_LOGS_KUBO="foo").code
        assert 0 == run(verb, "--kubo", "memory:given-here", home=home, IPFS_LOGS_KUBO="foo").code


@pytest.mark.parametrize("seconds", ["nan", "-1"])
def test_a_timeout_that_never_comes_is_a_usage_error(home, seconds):
    """A timeout that no time ever passes would be waited for without end."""
    home.mkdir()

    ended = run("ship", "--kubo", "http://127.0.0.1:1", "--timeout", seconds, home=home)

    assert ended.code == 2
    assert "--timeout" in ended.err


def test_a_store_out_of_reach_is_exit_code_4_with_the_reason(home):
    """After the time without success, what is left is named with the reason, and the exit code is 4."""
    sample_homes.log(home, range(5))
    begun = time.monotonic()
    ended = run("ship", "--kubo", NOWHERE, "--timeout", "0.5", home=home)
    assert ended.code == 4
    told = f"1 batch not shipped, audit batch 0 first: {NOWHERE}: nobody listens there (connection refused)"
    assert ended.err == f"ipfs-logs: error: {told}\n"
    assert_in_time(time.monotonic() - begun, 5)
    assert counts(home) == (5, 5, 0)


def test_what_is_left_is_counted_by_subsystems_and_batches(home):
    """Batches that are not shipped are counted apart from subsystems in which something is not sealed."""
    sample_homes.make(home, 25, kubo=NOWHERE)
    sample_homes.make(home, 5, "wal", kubo=NOWHERE)
    sample_homes.log(home, range(5), "wal", kubo=NOWHERE)
    held = lock.take(HomeDir(home))
    assert held is not None
    try:
        ended = run("ship", "--timeout", "0.2", home=home)
    finally:
        held.release()
    assert ended.code == 4
    assert "1 subsystem not sealed and 4 batches not shipped, audit batch 0 first: process " in ended.err
    ended = run("ship", "--timeout", "0.2", home=home)
    assert "error: 5 batches not shipped, audit batch 0 first: " in ended.err


def test_an_error_of_a_store_has_its_address_once(home):
    """What a store said is told with the store's address, once."""
    sample_homes.make(home, 5)
    MemoryStore.named("down").state = "down"
    ended = run("ship", "--kubo", "memory:down", "--timeout", "0.2", home=home)
    assert ended.err.count("memory:down") == 1
    subsystem_dir = sample_homes.subsystem_dir(home)
    for name, mark in delivery_state.load_all(subsystem_dir.current.shipped).items():
        assert mark.last_error is not None
        delivery_state.store(
            subsystem_dir.current.shipped, name, replace(mark, last_error=replace(mark.last_error, message="odd"))
        )
    held = lock.take(HomeDir(home))
    assert held is not None
    try:
        ended = run("ship", "--kubo", "memory:down", "--timeout", "0", home=home)
    finally:
        held.release()
    assert ended.err == "ipfs-logs: error: 1 batch not shipped, audit batch 0 first: memory:down: odd\n"


def test_a_store_that_comes_back_gets_its_batches(home):
    """A store that is down for a while is tried again until it answers."""
    store = MemoryStore.named("back")
    store.state = "down"
    sample_homes.log(home, range(5))
    with meanwhile(lambda: trouble(home), lambda: setattr(store, "state", "up")):
        assert run("ship", "--kubo", "memory:back", "--timeout", "10", home=home).code == 0


def test_as_many_stores_as_replicas_are_enough(home):
    """With two of three stores asked for, two are enough."""
    MemoryStore.named("r3").state = "down"
    sample_homes.log(home, range(5), kubo=["memory:r1", "memory:r2", "memory:r3"], replicas=2)
    assert run("ship", home=home).code == 0
    sample_homes.log(home, range(5), kubo=["memory:r1", "memory:r2", "memory:r3"], replicas=2)
    MemoryStore.named("r2").state = "down"
    assert run("ship", "--timeout", "0.3", home=home).code == 4


def test_text_has_a_line_for_each_batch_and_a_sum(home):
    """As text, a line for each batch and one for all."""
    sample_homes.log(home, range(5))
    lines = run("ship", "-o", "text", "--kubo", "memory:text", home=home).out.splitlines()
    assert lines[0].startswith("audit batch 0 bafy")
    assert lines[1].startswith("1 batch shipped in ")


def test_a_terminal_shows_a_bar_and_then_the_sum(home, daemon):
    """On a terminal a bar shows how far it is, and leaves the sum behind."""
    sample_homes.log(home, range(50), records=5)
    shown = on_terminal("--home", home, "ship", "--kubo", daemon.url)
    assert b"10 batches shipped in" in shown
    assert b"shipping" in shown


def test_beside_a_program_that_keeps(home):
    """Where a program keeps the home, it is asked to seal and ship, and what it delivers is told."""
    handler = IPFSHandler("audit", home=home, kubo="memory:beside", batch={"records": 10, "seconds": 3600})
    handler.handle(sample_homes.record(0))
    wait_until(lambda: lock.holder(HomeDir(home)) is not None)
    for number in range(1, 8):
        handler.handle(sample_homes.record(number))
    ended = run("ship", home=home)
    assert (ended.code, ended.err) == (0, "")
    assert sum(1 for each in ended.objects if each.keys() == KEYS) >= 1
    assert counts(home) == (8, 8, 8)
    handler.close()


class TestAnotherStoreBesideAProgram:
    """`ship --kubo URL` while a program is the keeper and ships elsewhere, or nowhere."""

    @pytest.fixture
    def program(self, home: Path) -> Iterator[IPFSHandler]:
        """Start a program that is the keeper of its home, has no store, and has logged a record."""
        handler = IPFSHandler("audit", home=home, batch={"records": 10, "seconds": 3600})
        handler.handle(sample_homes.record(0))
        wait_until(lambda: lock.holder(HomeDir(home)) is not None)
        yield handler
        handler.close()

    def test_the_program_ships_there(self, home, program, daemon):
        """The keeper seals what waits and ships it to the store of the request, and to no other one afterwards."""
        ended = run("ship", "--kubo", daemon.url, "--timeout", "20", home=home)
        assert (ended.code, ended.err) == (0, "")
        assert [(each["index"], each["store"]) for each in ended.objects] == [(0, daemon.url)]
        assert counts(home) == (1, 1, 1)
        assert not any(HomeDir(home).requests.iterdir())

        uploads = len(daemon.uploads())
        program.handle(sample_homes.record(1))
        program.flush()
        assert (2, 2) == counts(home)[:2]
        assert uploads == len(daemon.uploads())

    def test_no_credential_of_the_program_goes_there(self, home, daemon, monkeypatch):
        """A store that only a request names gets neither the token of the program's own store nor the environment's."""
        monkeypatch.setenv("IPFS_LOGS_TOKEN", "secret")
        handler = IPFSHandler("audit", home=home, kubo="memory:own", token="secret", batch={"records": 10})
        handler.handle(sample_homes.record(0))
        wait_until(lambda: lock.holder(HomeDir(home)) is not None)
        assert run("ship", "--kubo", daemon.url, "--timeout", "20", home=home).code == 0
        handler.close()
        assert daemon.requests
        assert not any("authorization" in request.headers for request in daemon.requests)

    def test_a_store_that_wants_one_is_shipped_to_by_the_command(self, home, daemon):
        """Where the store refuses the program, the command takes over with its own token, and gives the lock back."""

        def guard(request: Request) -> Response:
            known = request.headers.get("authorization") == "Bearer our-secret"
            return daemon.answer(request) if known else Response(status=403)

        for name in ("dag/import", "pin/ls", "pin/rm", "version"):
            daemon.respond_always(name, guard)
        handler = IPFSHandler("audit", home=home, batch={"records": 10, "seconds": 3600})
        handler.handle(sample_homes.record(0))
        wait_until(lambda: lock.holder(HomeDir(home)) is not None)
        ended = run("ship", "--kubo", daemon.url, "--token", "bearer:our-secret", "--timeout", "30", home=home)
        handler.close()
        assert (ended.code, len(ended.objects)) == (0, 1), ended.err

    def test_a_store_out_of_reach_has_its_reason(self, home, program):
        """The reason is that of the store, not that another process is the keeper."""
        ended = run("ship", "--kubo", NOWHERE, "--timeout", "1", home=home)
        assert ended.code == 4
        assert f"{NOWHERE}: nobody listens there" in ended.err

    def test_on_a_terminal_it_says_who_does_it(self, home, program):
        """The bar names the process that was asked."""
        shown = run_on_terminal(command("--home", home, "ship", "--kubo", NOWHERE, "--timeout", "1"), columns=120)
        assert f"(process {os.getpid()} on " in shown.output


class TestConfirmedElsewhere:
    """A batch that a store other than the configured ones has: how many stores counts, not which ones."""

    @pytest.fixture
    def elsewhere(self, home: Path) -> Path:
        """Make a home whose store is out of reach, and whose batches another store has."""
        MemoryStore.named("other")
        sample_homes.log(home, range(25), kubo=NOWHERE)
        archiver(home, "audit", kubo=(NOWHERE,)).put_bytes(b"x", facts)
        assert run("ship", "--kubo", "memory:other", home=home).code == 0
        return home

    def test_it_is_shipped_for_ls_status_and_versions(self, elsewhere):
        """Nothing is unshipped any more."""
        assert {each["state"] for each in run("ls", home=elsewhere).objects} == {"shipped"}
        assert {each["state"] for each in run("versions", home=elsewhere).objects} == {"shipped"}
        (status,) = run("status", home=elsewhere).objects
        assert (status["shipped"], status["oldest_unshipped"]) == (25, None)

    def test_nothing_is_left_for_ship(self, elsewhere):
        """The configured store is tried, and its failure leaves nothing unshipped."""
        assert run("ship", "--timeout", "0", home=elsewhere).code == 0

    def test_replicas_still_count(self, home):
        """With two of two wanted, one elsewhere is not enough, and one of the configured stores is."""
        for name in ("one", "other"):
            MemoryStore.named(name)
        MemoryStore.named("two").state = "down"
        sample_homes.log(home, range(5), kubo=["memory:one", "memory:two"], replicas=2)
        assert run("ship", "--kubo", "memory:other", home=home).code == 0
        assert counts(home) == (5, 5, 0)
        run("ship", "--timeout", "0", home=home)
        assert counts(home) == (5, 5, 5)

    def test_a_store_that_was_tried_once_is_no_trouble_for_ever(self, home):
        """The error of a store that is neither configured nor given any more is not the status of the home."""
        MemoryStore.named("configured")
        sample_homes.log(home, range(5), kubo="memory:configured")
        assert run("ship", "--kubo", NOWHERE, "--timeout", "0", home=home).code == 4
        assert run("ship", home=home).code == 0
        assert trouble(home) is None
        assert counts(home) == (5, 5, 5)

    def test_a_flush_waits_for_no_store_more(self, home):
        """What another store has is shipped for a program that flushes, too."""
        MemoryStore.named("other")
        handler = IPFSHandler("audit", home=home, kubo=NOWHERE, batch={"seconds": 3600}, flush_timeout=0.0)
        handler.handle(sample_homes.record(1))
        wait_until(lambda: lock.holder(HomeDir(home)) is not None)
        assert run("ship", "--kubo", "memory:other", home=home).code == 0
        assert handler._recorder.home.flush(0.0)
        handler.close()


def test_a_keeper_that_does_nothing_is_named_when_time_is_over(home):
    """A keeper that does not ship there is named when time is over."""
    sample_homes.make(home, 5)
    held = lock.take(HomeDir(home))
    assert held is not None
    ended = run("ship", "--kubo", "memory:idle", "--timeout", "0.3", home=home)
    held.release()
    assert ended.code == 4
    assert f"process {os.getpid()} on" in ended.err
    assert "Wait longer with --timeout, or stop that process and run this again." in ended.err
    assert not any(HomeDir(home).requests.iterdir())


def test_it_becomes_the_keeper_when_the_other_one_leaves(home):
    """When the other keeper leaves, this one goes on by itself."""
    sample_homes.make(home, 5)
    held = lock.take(HomeDir(home))
    assert held is not None
    with meanwhile(lambda: requests.pending(HomeDir(home).requests).asked, held.release):
        assert run("ship", "--kubo", "memory:leaves", "--timeout", "10", home=home).code == 0


def test_an_interrupt_ends_a_shipment_with_exit_code_130(home):
    """Ctrl-C ends a ship that hangs at once, with exit code 130 and without a traceback."""
    sample_homes.make(home, 5)
    with start("--home", home, "ship", "--kubo", NOWHERE) as process:
        wait_until(lambda: trouble(home))
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=10)
    assert process.returncode == 130
    assert b"Traceback" not in err
