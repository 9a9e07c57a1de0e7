"""Logs of a subsystem: which there are, how far they are sealed, which stores have confirmed them."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfs_log_handlers.home import delivery_state
from ipfs_log_handlers.home.delivery_state import Confirmations, DeliveryState
from ipfs_log_handlers.home.logs import LogDir, logs_of, policy_of, signers, titles
from tests.support import sample_homes

LOG = "ipfs-logs/0123456789abcdef/audit/00000000"


def current(home: Path) -> LogDir:
    """Return the log that grows."""
    return LogDir.current_of(sample_homes.subsystem_dir(home))


def state(address: str, *confirmed: int, aside: int | None = None) -> DeliveryState:
    """Return the state of a store that has confirmed these batches, and set one aside."""
    made = DeliveryState(log=LOG, address=address).confirm(confirmed)
    return made if aside is None else made.set_aside(aside, "bad")


class TestLogDir:
    """One place says which log lies in a directory."""

    def test_the_head_says_which_log_lies_here(self, home):
        """The name and the newest sealed batch are those of the head."""
        sample_homes.make(home, 30)
        log_dir = current(home)
        head = log_dir.load_head()

        assert head is not None
        assert (head.log, 2) == log_dir.sealed_through()
        assert head.log == log_dir.name()

    @pytest.mark.parametrize("content", [None, b"damaged"], ids=["missing", "damaged"])
    def test_without_a_head_the_newest_batch_says_it(self, home, content):
        """A head that is missing or damaged leaves the name in the batches."""
        sample_homes.make(home, 30)
        log_dir = current(home)
        name = log_dir.name()
        log_dir.head.unlink()
        if content is not None:
            log_dir.head.write_bytes(content)
        log = log_dir.look()

        assert log_dir.head_state() is None
        assert name == log_dir.name()
        assert log is not None
        assert (name, 2, None) == (log.name, log.newest, log.sealed)
        assert log.head_problem is not None

    def test_a_batch_without_a_head_is_not_sealed(self, home):
        """Stores are given nothing of a log whose head is missing: its newest batch may be half of a sealing."""
        sample_homes.make(home, 30)
        current(home).head.unlink()

        assert current(home).sealed_through() is None

    def test_a_former_log_without_a_head_is_shipped_as_far_as_its_batches_can_be_read(self, home):
        """A log that has ended grows no more, so its batches are all there will be."""
        sample_homes.make(home, 30)
        name = current(home).name()
        sample_homes.end(home)
        (former,) = LogDir.former_of(sample_homes.subsystem_dir(home))
        former.head.unlink()
        former.sealed_batches.file(2).write_bytes(b"damaged")

        assert (name, 1) == former.sealed_through()
        assert former.is_former
        assert "audit" == former.subsystem

    def test_an_empty_directory_has_no_log(self, home):
        """Before the first batch there is none."""
        assert current(home).look() is None
        assert current(home).name() is None
        assert current(home).sealed_through() is None
        assert [] == logs_of(sample_homes.subsystem_dir(home))

    def test_unreadable_batches_are_left_out(self, home):
        """What can be read of a log is read, in order."""
        sample_homes.make(home, 30)
        log_dir = current(home)
        log_dir.sealed_batches.file(1).write_bytes(b"damaged")

        assert [0, 2] == [manifest.index for manifest in log_dir.manifests()]
        assert [2] == [manifest.index for manifest in log_dir.manifests([1, 2, 3])]

    def test_logs_are_told_apart_where_there_are_several(self, home):
        """Former logs come first; each title ends in the digits of the log."""
        sample_homes.make(home, 10)
        assert ["audit"] == list(titles(logs_of(sample_homes.subsystem_dir(home))).values())
        sample_homes.end(home)
        sample_homes.make(home, 10)
        logs = logs_of(sample_homes.subsystem_dir(home))

        assert [f"audit {log.name[-8:]}" for log in logs] == list(titles(logs).values())
        assert [True, False] == [log.log_dir.is_former for log in logs]
        assert 1 == len(signers(logs))


class TestConfirmations:
    """One rule says when a batch is shipped."""

    def test_a_batch_is_shipped_when_enough_stores_have_it(self):
        """It does not matter which stores these are."""
        confirmations = Confirmations([state("a", 0, 1), state("b", 1, 2), state("c")], replicas=2)

        assert [False, True, False] == [confirmations.has(index) for index in range(3)]
        assert [0, 2] == list(confirmations.missing(2))
        assert [0, 2] == list(confirmations.unsettled(2))
        assert ["a", "b"] == confirmations.holders(1)

    def test_a_batch_that_was_set_aside_is_settled_but_not_shipped(self):
        """Nothing is left to do for it, and nobody has it."""
        confirmations = Confirmations([state("a", 0, 2, aside=1)], replicas=1)

        assert confirmations.settled(1)
        assert not confirmations.has(1)
        assert [1] == list(confirmations.missing(2))
        assert [] == list(confirmations.unsettled(2))
        assert frozenset([1]) == confirmations.set_aside

    def test_another_store_makes_up_for_one_that_set_a_batch_aside(self):
        """A batch that enough stores have is shipped, whatever the others said of it."""
        confirmations = Confirmations([state("a", 0, aside=1), state("b", 0, 1)], replicas=1)

        assert [] == list(confirmations.missing(1))
        assert frozenset() == confirmations.set_aside

    @pytest.mark.slow
    @given(
        st.lists(st.tuples(st.sets(st.integers(0, 9)), st.sets(st.integers(0, 9))), max_size=4),
        st.integers(1, 3),
        st.integers(-1, 9),
    )
    def test_counts_agree_with_the_rule_for_each_batch(self, stores, replicas, newest):
        """Whatever stores have confirmed or set aside: what is counted without a walk is what a walk finds."""
        states = [
            functools.reduce(
                lambda state, index: state.set_aside(index, "bad"),
                sorted(bad - confirmed),
                DeliveryState(log=LOG, address="x").confirm(confirmed),
            )
            for confirmed, bad in stores
        ]
        confirmations = Confirmations(states, replicas)
        not_shipped = [index for index in range(newest + 1) if not confirmations.has(index)]
        unsettled = [index for index in range(newest + 1) if not confirmations.settled(index)]

        assert not_shipped == list(confirmations.missing(newest))
        assert len(not_shipped) == confirmations.count_missing(newest)
        assert unsettled == list(confirmations.unsettled(newest))
        through = confirmations.settled_through
        after = [index for index in range(through + 1, 10) if confirmations.settled(index)]
        assert after == confirmations.settled_after()
        assert [index for index in after if confirmations.has(index)] == confirmations.shipped_after()

    def test_too_few_stores_ship_nothing(self):
        """With fewer stores than replicas every batch is missing."""
        confirmations = Confirmations([state("a", 0, 1)], replicas=2)

        assert [0, 1] == list(confirmations.missing(1))

    def test_only_what_is_said_of_this_log_counts(self, home):
        """A file that speaks of another log, as of one that has ended, is left out."""
        sample_homes.make(home, 10)
        log_dir = current(home)
        name = log_dir.name() or ""
        delivery_state.store(log_dir.shipped, "a", DeliveryState(log=name, address="a").confirm([0]))
        delivery_state.store(log_dir.shipped, "b", DeliveryState(log=LOG, address="b").confirm([0]))

        assert ["a"] == log_dir.confirmations(name, 1).holders(0)
        assert [] == log_dir.confirmations(name, 1, ["b"]).holders(0)
        (log,) = logs_of(sample_homes.subsystem_dir(home))
        assert ["a", "c"] == log.holders(0, ["c", "a"])


class TestPolicy:
    """One place says which settings are in force."""

    def test_the_newest_segment_wins(self, home):
        """What a program set last is in force before a keeper has written it down."""
        sample_homes.log(home, range(3), records=7)

        assert 7 == policy_of(sample_homes.subsystem_dir(home)).records

    def test_without_a_segment_the_settings_file_counts(self, home):
        """The keeper has written it when the segment goes."""
        sample_homes.log(home, range(3), records=7)
        sample_homes.seal(home)

        assert [] == list(sample_homes.subsystem_dir(home).spool.iterdir())
        assert 7 == policy_of(sample_homes.subsystem_dir(home)).records

    def test_without_either_the_registered_subsystem_counts(self, home):
        """Nothing was configured."""
        assert 100 == policy_of(sample_homes.subsystem_dir(home)).records
