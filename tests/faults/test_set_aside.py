"""Poison: what a store names as bad is set aside, shown, and sent once more when somebody says so."""

from __future__ import annotations

from pathlib import Path

from ipfs_log_handlers.home import delivery_state, lock
from ipfs_log_handlers.home.delivery_state import DeliveryState
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.testing import FakeKubo, Request, Response
from ipfs_log_handlers.testing.memory_store import MemoryStore
from tests.support import oracle, sample_homes
from tests.support.cli import Ended, run


def refuse_batch(daemon: FakeKubo, cid: str) -> None:
    """Let a daemon name each CAR as bad that holds a block."""

    def answer(asked: Request) -> Response:
        if asked.body and cid in oracle._car(FakeKubo.uploaded_file(asked))[1]:
            return FakeKubo.error(500, f"import failed: mismatch in content integrity, expected: {cid}")
        return daemon.answer(asked)

    daemon.respond_always("dag/import", answer)


def test_set_aside_and_sent_again(home):
    """One poisoned batch of five holds up no other; status, doctor and ship name it; later it is sent once more."""
    sample_homes.make(home, 50)
    with FakeKubo() as daemon:
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

        daemon.reset()
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
    sample_homes.make(home, 10)
    held = lock.take(HomeDir(home))
    assert held is not None
    ended = run("ship", "--kubo", "http://127.0.0.1:9", "--retry-set-aside", home=home)
    held.release()
    assert 2 == ended.code
    assert "is the keeper of this home" in ended.err


def test_retried():
    """The mark goes back to the first batch that was set aside, and forgets none that was confirmed."""
    mark = DeliveryState(log="l", address="a").confirm([0, 1, 3, 6]).set_aside(2, "bad").set_aside(4, "bad")
    assert (4, (6,)) == (mark.confirmed_through, mark.confirmed_after)
    again = mark.retried()
    assert ([2, 4, 5], ()) == (list(again.missing(6)), again.aside)
    assert mark.confirm([]) == mark
    assert again.confirm([2, 4]).confirmed_through == 4


def test_a_lost_mark_sets_nothing_aside(home, monkeypatch):
    """A payload that left the home is not damaged where only the mark was lost: the store is asked, and has it."""
    store = MemoryStore.named("lost-mark")
    sample_homes.make(home, 20)
    sample_homes.ship(home, "memory:lost-mark")
    sample_homes.strip(home, 0)
    mark = sample_homes.subsystem_dir(home).current.shipped / store.name
    mark.unlink()
    sample_homes.ship(home, "memory:lost-mark")
    found = delivery_state.load_all(mark.parent)[store.name]
    assert (1, ()) == (found.confirmed_through, found.aside)
    MemoryStore.forget()


def test_a_lost_payload_is_set_aside(home, tmp_path: Path):
    """What has left the home and no store has cannot be shipped; it holds up nothing behind it."""
    sample_homes.make(home, 20)
    sample_homes.strip(home, 0)
    with FakeKubo() as daemon:
        assert 4 == run("ship", "--kubo", daemon.url, home=home).code
        [found] = delivery_state.load_all(sample_homes.subsystem_dir(home).current.shipped).values()
    assert (1, [0]) == (found.confirmed_through, [each.index for each in found.aside])
