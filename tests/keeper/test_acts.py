"""Recording an act: by this process, by a program that is the keeper, and after a crash."""

from __future__ import annotations

import logging
import os
import threading
from typing import Any

import pytest

from ipfs_log_handlers import HomeError, IPFSHandler, open_home
from ipfs_log_handlers.home import acts, disk, lock
from ipfs_log_handlers.home.layout import HomeDir, SubsystemDir
from ipfs_log_handlers.keeper.acts import record_act
from ipfs_log_handlers.keeper.new_log import UnsettledError
from ipfs_log_handlers.keeper.seal import Sealer
from tests.support import oracle, sample_homes
from tests.support.cli import start
from tests.support.logging_home import wait_until


def test_an_act_has_a_batch_of_its_own_and_all_verifies(home):
    """Without records, with its words in `meta`; records that wait are not sealed with it."""
    sample_homes.make(home, 10)
    sample_homes.log(home, range(10, 13))
    act = acts.draw("hold", reason="lawsuit", by="ada")

    sealed = record_act(HomeDir(home), "audit", act)

    assert (act, 1) == (sealed.act, sealed.index)
    (_, batch) = open_home(home).batches()
    assert (0, act.words, sealed.cid) == (batch.records, batch.meta["act"], batch.cid)
    [log] = oracle.read_home(home)["audit"]
    assert list(range(10)) == [record["number"] for record in log.records]
    sample_homes.seal(home)
    [report] = open_home(home).verify()
    assert (True, 3, 13) == (report.ok, report.batches, report.records)
    with open_home(home).dataset() as dataset:
        assert list(range(13)) == [record["number"] for record in dataset.records("audit")]


def test_the_first_batch_of_a_log_can_be_an_act(home):
    """A hold on a subsystem whose records still wait."""
    sample_homes.log(home, range(3))
    record_act(HomeDir(home), "audit", acts.draw("hold", reason="lawsuit"))

    assert [0] == [batch.records for batch in open_home(home).batches()]
    sample_homes.seal(home)
    assert [True] == [report.ok for report in open_home(home).verify()]


def test_a_program_that_is_the_keeper_seals_it(home):
    """The verb works beside a running program, whose thread seals the act; it is sealed once."""
    handler = IPFSHandler("audit", home=home, batch={"records": 5})
    logger = logging.getLogger("beside")
    logger.addHandler(handler)
    logger.propagate = False
    try:
        logger.warning("one")
        handler.flush()
        keeper = lock.holder(HomeDir(home))
        assert keeper is not None
        assert os.getpid() == keeper["pid"]
        process = start("--home", str(home), "hold", "set", "audit", "--reason", "lawsuit")
        out, err = process.communicate(timeout=60)
        assert (0, b"") == (process.returncode, err)
        logger.warning("two")
        handler.flush()
    finally:
        logger.removeHandler(handler)
        handler.close()
    (stands,) = open_home(home).holds()
    assert stands.id.encode() in out
    assert [1, 0, 1] == [batch.records for batch in open_home(home).batches()]
    assert [] == acts.names(sample_homes.subsystem_dir(home))


def test_when_the_keeper_ends_without_sealing_it_this_process_does(home):
    """It asks as long as there is another keeper, and then becomes the keeper itself."""
    sample_homes.make(home, 10)
    held = lock.take(HomeDir(home))
    assert held is not None
    directory = sample_homes.subsystem_dir(home)
    done = threading.Event()

    def record():
        record_act(HomeDir(home), "audit", acts.draw("hold", reason="lawsuit"))
        done.set()

    recording = threading.Thread(target=record)
    recording.start()
    wait_until(lambda: acts.names(directory) and disk.names(HomeDir(home).requests))
    assert not done.is_set()
    held.release()
    recording.join(30)
    assert done.is_set()
    assert [] == list(HomeDir(home).requests.iterdir())


def test_a_keeper_that_does_not_seal_it_is_an_error_and_the_hold_stands(home):
    """The error says what stays, and the next keeper seals it."""
    sample_homes.make(home, 10)
    held = lock.take(HomeDir(home))
    assert held is not None
    with pytest.raises(HomeError, match=r"not in a batch yet: hold .*next keeper seals it"):
        record_act(HomeDir(home), "audit", acts.draw("hold", reason="lawsuit"), timeout_s=0.1)
    assert [None] == [each.index for each in open_home(home).holds()]
    held.release()

    sample_homes.seal(home)

    assert [1] == [each.index for each in open_home(home).holds()]


def test_a_log_over_which_a_backup_is_copied_gets_it_later(home, monkeypatch):
    """As long as files still change, nothing is sealed, and the act waits."""
    sample_homes.make(home, 10)
    tries = []

    def refuse(held: lock.KeeperLock, directory: SubsystemDir, real: Any = Sealer.open) -> Sealer:
        tries.append(directory)
        if len(tries) < 3:
            raise UnsettledError("files still change")
        return real(held, directory)

    monkeypatch.setattr(Sealer, "open", refuse)
    assert 1 == record_act(HomeDir(home), "audit", acts.draw("hold", reason="lawsuit")).index
    assert 3 == len(tries)


def test_flush_inside_an_event_loop_seals_acts(home):
    """Where the keeper cannot run its own loop, it seals acts, too."""
    import asyncio

    from ipfs_log_handlers.keeper.host import Standalone
    from ipfs_log_handlers.keeper.thread import run_keeper_now

    sample_homes.make(home, 10)
    acts.put(sample_homes.subsystem_dir(home), acts.draw("hold", reason="lawsuit"))

    async def seal():
        assert run_keeper_now(HomeDir(home), Standalone(), timeout=20, stores=())

    asyncio.run(seal())

    assert [1] == [each.index for each in open_home(home).holds()]
