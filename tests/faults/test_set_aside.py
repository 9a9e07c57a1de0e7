"""Poison: what a store names as bad is set aside, shown, and sent once more when somebody says so."""

from __future__ import annotations

from pathlib import Path

from ipfs_log_handlers.home import lock, shipped
from ipfs_log_handlers.home.layout import Home
from ipfs_log_handlers.home.shipped import Mark
from ipfs_log_handlers.stores.memory import MemoryStore
from ipfs_log_handlers.testing import Asked, FakeDaemon, Said, error, part
from tests import oracle
from tests.cli.running import Ended, run
from tests.reading import homes


def refuse_batch(daemon: FakeDaemon, cid: str) -> None:
    """Let a daemon name each CAR as bad that holds a block."""

    def answer(asked: Asked) -> Said:
        if asked.body and cid in oracle._car(part(asked))[1]:
            return error(500, f"import failed: mismatch in content integrity, expected: {cid}")
        return daemon._honestly(asked)

    daemon.always("dag/import", answer)


def test_set_aside_and_sent_again(home):
    """One poisoned batch of five holds up no other; status, doctor and ship name it; later it is sent once more."""
    homes.make(home, 50)
    with FakeDaemon() as daemon:
        poison = oracle.read_home(home)["audit"][0].batches[2].cid
        refuse_batch(daemon, poison)
        ended = run("ship", "--kubo", daemon.url, home=home)
        assert 4 == ended.code
        assert {0, 1, 3, 4} == {each["index"] for each in ended.objects}
        assert "batch 2 is set aside" in ended.err
        (status,) = run("status", home=home).objects
        assert 1 == status["set_aside"]
        (told,) = [each for each in run("doctor", home=home).objects if each["check"] == "audit set aside"]
        assert ("warn", True) == (told["state"], "batch 2 at" in told["found"])

        daemon.honest()
        assert 4 == run("ship", "--kubo", daemon.url, home=home).code
        again: Ended = run("ship", "--kubo", daemon.url, "--retry-set-aside", home=home)
        assert 0 == again.code
        assert [2] == [each["index"] for each in again.objects]
        (status,) = run("status", home=home).objects
        assert 0 == status["set_aside"]
        [log] = oracle.read_home(home)["audit"]
        assert {log.head_cid, *(batch.cid for batch in log.batches)} == {cid.text for cid in daemon.store.pins}


def test_sent_again_needs_the_lock(home):
    """Under a keeper that works the marks are its own."""
    homes.make(home, 10)
    held = lock.take(Home(home))
    assert held is not None
    ended = run("ship", "--kubo", "http://127.0.0.1:9", "--retry-set-aside", home=home)
    held.release()
    assert 2 == ended.code
    assert "another process keeps this home" in ended.err


def test_retried():
    """The mark goes back to the first batch that was set aside, and forgets none that was confirmed."""
    mark = Mark(log="l", address="a").confirm([0, 1, 3, 6]).set_aside(2, "bad").set_aside(4, "bad")
    assert (4, (6,)) == (mark.upto, mark.beyond)
    again = mark.retried()
    assert ([2, 4, 5], ()) == (again.missing(6), again.aside)
    assert mark.confirm([]) == mark
    assert again.confirm([2, 4]).upto == 4


def test_a_lost_mark_sets_nothing_aside(home, monkeypatch):
    """A payload that left the home is not damaged where only the mark was lost: the store is asked, and has it."""
    store = MemoryStore.named("lost-mark")
    homes.make(home, 20)
    homes.ship(home, "memory:lost-mark")
    homes.strip(home, 0)
    mark = homes.room(home).current.shipped / store.name
    mark.unlink()
    homes.ship(home, "memory:lost-mark")
    found = shipped.load_all(mark.parent)[store.name]
    assert (1, ()) == (found.upto, found.aside)
    MemoryStore.forget()


def test_a_lost_payload_is_set_aside(home, tmp_path: Path):
    """What has left the home and no store has cannot be shipped; it holds up nothing behind it."""
    homes.make(home, 20)
    homes.strip(home, 0)
    with FakeDaemon() as daemon:
        assert 4 == run("ship", "--kubo", daemon.url, home=home).code
        [found] = shipped.load_all(homes.room(home).current.shipped).values()
    assert (1, [0]) == (found.upto, [each.index for each in found.aside])
