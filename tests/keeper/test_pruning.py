"""Payloads are given up as planned: at the store, then in the home, and no others; the chain stays whole."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipfs_log_handlers import IPFSHandler, open_home
from ipfs_log_handlers.format.manifest import Manifest
from ipfs_log_handlers.home import acts, delivery_state, lock
from ipfs_log_handlers.home.delivery_state import DeliveryState
from ipfs_log_handlers.home.layout import HomeDir, SubsystemDir
from ipfs_log_handlers.home.logs import LogDir, policy_of
from ipfs_log_handlers.home.pruned import pruned_of, unfinished
from ipfs_log_handlers.keeper.auto_pruning import AutoPruning
from ipfs_log_handlers.keeper.prune_now import PruneResult, plan_now, prune_now
from ipfs_log_handlers.keeper.pruning import Pruning
from ipfs_log_handlers.stores.credentials import Credentials
from ipfs_log_handlers.testing.memory_store import MemoryStore
from tests.support import sample_homes
from tests.support.logging_home import wait_until
from tests.support.pin_services import FakeCluster

ADDRESS = "memory:pruning"
NONE = Credentials.named((), None)


@pytest.fixture(autouse=True)
def store() -> Iterator[MemoryStore]:
    """Make the store `memory:pruning`."""
    yield MemoryStore.named("pruning")
    MemoryStore.forget()


@dataclass
class Pruned:
    """A home with batches of one record each, shipped to `memory:pruning`."""

    path: Path

    @property
    def directory(self) -> SubsystemDir:
        """The directory of the subsystem."""
        return sample_homes.subsystem_dir(self.path)

    @property
    def log_dir(self) -> LogDir:
        """The current log."""
        return LogDir.current_of(self.directory)

    def manifests(self) -> list[Manifest]:
        """Return all manifests of the current log."""
        return list(self.log_dir.manifests())

    def moment(self, index: int) -> int:
        """Return the moment at which batch `index` is the newest that is 0 days old."""
        manifest = self.manifests()[index]
        return max(manifest.last, manifest.sealed)

    def plan(self, moment: int, **more: Any) -> dict[int, tuple[str, str]]:
        """Plan with 0 days at a moment; return decision and reason of each batch."""
        stores = more.get("stores", (ADDRESS,))
        planned = plan_now(HomeDir(self.path), {"audit": 0.0}, stores, NONE, now=moment)
        return {
            index: (batches.decision, batches.why)
            for batches in planned
            for index in range(batches.first, batches.last + 1)
        }

    def prune(self, moment: int, **more: Any) -> PruneResult:
        """Prune with 0 days at a moment."""
        stores = more.get("stores", (ADDRESS,))
        [result] = prune_now(HomeDir(self.path), {"audit": 0.0}, stores, (), NONE, now=lambda: moment)
        return result

    def here(self) -> set[int]:
        """Return the batches whose payload is in the home."""
        batches = self.log_dir.sealed_batches
        return {each.index for each in self.manifests() if batches.has_payload(each.index, each.payload)}

    def pinned(self) -> set[int]:
        """Return the batches that are pinned recursively at the store."""
        store = MemoryStore.named("pruning")
        return {each.index for each in self.manifests() if each.cid in store.pins}


def shipped(path: Path, count: int, **config: Any) -> Pruned:
    """Make such a home."""
    sample_homes.log(path, range(count), records=1, kubo=[ADDRESS], **config)
    sample_homes.ship(path, ADDRESS)
    return Pruned(path)


def read(home: Path) -> tuple[list[int], list[tuple[str, int | None]]]:
    """Return the numbers of the records that can be read, and the gaps."""
    gaps: list[tuple[str, int | None]] = []
    with open_home(home).dataset(on_gap=lambda gap: gaps.append((gap.kind, gap.index))) as dataset:
        return [record["number"] for record in dataset.records("audit")], gaps


def test_what_goes_and_what_stays(home, store):
    """Old batches leave store and home; manifests stay at both, and the log verifies with a count."""
    made = shipped(home, 6)
    moment = made.moment(2)
    assert ["prune"] * 3 + ["keep"] * 3 == [decision for decision, _ in made.plan(moment).values()]

    result = made.prune(moment)

    assert (3, 3, True) == (result.batches, result.records, result.complete)
    assert {3, 4, 5, 6} == made.here()
    sample_homes.ship(home, ADDRESS)
    assert {3, 4, 5, 6} == made.pinned()
    store.collect_garbage()
    for manifest in made.manifests():
        assert manifest.cid in store.blocks
        assert (manifest.payload in store.blocks) == (manifest.index > 2)
    [report] = open_home(home).verify()
    assert (True, "ok", 3, 0) == (report.ok, report.result, report.pruned, report.absent)
    assert ([3, 4, 5], [("pruned", 0), ("pruned", 1), ("pruned", 2)]) == read(home)
    with open_home(home).dataset() as dataset:  # without a function for gaps, no error
        assert 3 == len(list(dataset.records("audit")))
    assert "an act" == made.plan(moment)[6][1]
    assert 0 == made.prune(moment).batches
    assert 7 == len(made.manifests())


@dataclass(frozen=True)
class Case:
    """A home, and a moment at which it is pruned."""

    count: int
    old: int
    hold: tuple[int, int] | None
    unconfirmed: frozenset[int]
    packed: bool


CASES = st.builds(
    Case,
    count=st.integers(1, 6),
    old=st.integers(0, 5),
    hold=st.none() | st.tuples(st.integers(0, 5), st.integers(0, 5)).map(lambda pair: (min(pair), max(pair))),
    unconfirmed=st.frozensets(st.integers(0, 5), max_size=2),
    packed=st.booleans(),
)


def check_case(case: Case) -> None:
    """Check that what is planned is done, and nothing else: in the home, at the store, for readers and for `verify`."""
    MemoryStore.forget()
    with TemporaryDirectory() as directory:
        made = shipped(Path(directory) / "home", case.count)
        moment = made.moment(min(case.old, case.count - 1))
        times = [(each.first, each.last) for each in made.manifests()]
        if case.hold is not None:
            first, last = (min(number, case.count - 1) for number in case.hold)
            acts.put(made.directory, acts.draw("hold", reason="case", since=times[first][0], until=times[last][1]))
        _unconfirm(made, case.unconfirmed)
        if case.packed:
            made.log_dir.sealed_batches.pack(range(case.count))
        before, pinned = made.here(), made.pinned()
        planned = made.plan(moment)
        assert planned == made.plan(moment)
        going = {index for index, (decision, _) in planned.items() if decision == "prune"}

        result = made.prune(moment)

        assert (len(going), len(going), True) == (result.batches, result.records, result.complete)
        assert before - going == {index for index in made.here() if index < case.count}
        assert pinned - going == {index for index in made.pinned() if index < case.count}
        again = made.plan(moment)
        assert going == {index for index, (decision, _) in again.items() if decision == "pruned"}
        left = {index for index, (decision, _) in again.items() if decision == "prune"}
        assert left <= {case.count - 1}  # the act has made the one after it the newest of the log
        assert going == {each for log in made.manifests() for each in [log.index] if _has(made, log)}
        [report] = open_home(made.path).verify()
        assert (True, len(going)) == (report.ok, report.pruned)
        numbers, gaps = read(made.path)
        assert sorted(before - going) == numbers
        assert [("pruned", index) for index in sorted(going)] == gaps
        for index in going:
            assert max(times[index][1], 0) <= moment
            assert index != case.count - 1
            assert index not in case.unconfirmed


def _has(made: Pruned, manifest: Manifest) -> bool:
    return pruned_of(made.directory).has(manifest.log, manifest.index)


def _unconfirm(made: Pruned, numbers: frozenset[int]) -> None:
    [(name, state)] = made.log_dir.delivery_states().items()
    delivery_state.store(made.log_dir.shipped, name, state.forget(numbers))


@pytest.mark.slow
@settings(max_examples=20)
@given(CASES)
def test_what_is_planned_is_done_and_nothing_else(case: Case) -> None:
    """In twenty homes with other ages, holds, missing confirmations, and files or packs."""
    check_case(case)


@pytest.mark.soak
@settings(max_examples=500)
@given(CASES)
def test_what_is_planned_is_done_in_many_homes(case: Case) -> None:
    """The same, five hundred times."""
    check_case(case)


def test_why_a_batch_stays(home, store):
    """Each reason is named: age, the newest, a hold, a store, a snapshot."""
    made = shipped(home, 5)
    moment = made.moment(4)
    times = [each.first for each in made.manifests()]
    hold = open_home(home).set_hold("audit", since=times[1] / 1e6, until=times[1] / 1e6, reason="case 12")
    _unconfirm(made, frozenset({2, 5}))
    reasons = made.plan(moment)
    assert ("keep", f"hold {hold.id}") in reasons.values()
    assert ("keep", f"not confirmed by {ADDRESS}") == reasons[2]
    assert ("keep", "an act") == reasons[5]
    assert ("prune", "older than 0 d") == reasons[4]
    assert ("keep", "younger than 0 d") == made.plan(moment - 1)[4]


def test_a_snapshot_that_a_store_has_pinned_needs_its_batches(home, store):
    """Until it is unpinned everywhere; a store that does not answer may have it."""
    made = shipped(home, 3)
    [snapshot] = open_home(home).snapshot(stores=[ADDRESS])
    assert (ADDRESS,) == snapshot.stores
    sample_homes.log(home, range(3, 5), records=1, kubo=[ADDRESS])
    sample_homes.ship(home, ADDRESS)
    moment = made.moment(4)
    assert [("keep", f"snapshot {snapshot.cid}")] * 3 == list(made.plan(moment).values())[:3]
    root = next(cid for cid in store.pins if cid.text == snapshot.cid)
    del store.pins[root]
    store.state = "down"
    assert [("keep", f"snapshot {snapshot.cid}")] * 3 == list(made.plan(moment).values())[:3]
    store.state = "up"
    assert ["prune"] * 4 + ["keep"] == [decision for decision, _ in made.plan(moment).values()]


def test_what_the_published_home_head_links_stays(home, store):
    """Its pin reaches the payload of the newest published batch, until the home is published again."""
    made = shipped(home, 2)
    sample_homes.publish(home, ADDRESS)
    sample_homes.log(home, range(2, 4), records=1, kubo=[ADDRESS])
    sample_homes.ship(home, ADDRESS)
    moment = made.moment(3)
    assert ["older than 0 d", "the newest published", "older than 0 d"] == [
        why for _, why in list(made.plan(moment).values())[:3]
    ]
    sample_homes.publish(home, ADDRESS)
    assert ["prune", "prune", "prune", "keep"] == [decision for decision, _ in made.plan(moment).values()]


def test_a_store_that_is_down_keeps_the_payload_in_the_home(home, store):
    """The act is sealed and not done; when the store answers, applying again ends it."""
    made = shipped(home, 4)
    moment = made.moment(2)
    store.state = "down"
    result = made.prune(moment)
    assert (3, False, [ADDRESS]) == (result.batches, result.complete, list(result.left))
    assert {0, 1, 2, 3, 4} == made.here()
    assert [0, 1, 2, 3] == read(home)[0]
    store.state = "up"
    result = made.prune(moment)
    assert (0, True) == (result.batches, result.complete)
    assert {3, 4} == made.here()
    assert not list(unfinished(made.log_dir))


def test_a_store_that_is_not_configured_any_more_is_named(home, store):
    """A batch stays in the home as long as a store that has it was not told."""
    made = shipped(home, 4)
    result = made.prune(made.moment(2), stores=())
    assert {ADDRESS: "it is not configured here. Name it with --kubo."} == result.left
    assert {0, 1, 2, 3, 4} == made.here()
    assert made.prune(made.moment(2)).complete


def test_a_hold_after_the_act_is_obeyed(home, store):
    """What was not unpinned yet stays, and the act is done after the release."""
    made = shipped(home, 4)
    moment = made.moment(2)
    store.state = "down"
    made.prune(moment)
    store.state = "up"
    hold = open_home(home).set_hold("audit", reason="case 12")
    result = made.prune(moment)
    assert [f"hold {hold.id}"] == list(result.left)
    assert {0, 1, 2} <= made.here() & made.pinned()
    assert [0, 1, 2, 3] == read(home)[0]
    open_home(home).release_hold("audit", reason="closed")
    assert made.prune(moment).complete
    assert not {0, 1, 2} & (made.here() | made.pinned())


def test_a_former_log_is_pruned_by_an_act_in_the_next_one(home, store):
    """Its newest batch stays."""
    made = shipped(home, 3)
    sample_homes.end(home)
    sample_homes.log(home, range(3, 6), records=1, kubo=[ADDRESS])
    sample_homes.ship(home, ADDRESS)
    result = made.prune(made.moment(1))
    assert (4, True) == (result.batches, result.complete)
    former, current = LogDir.all_of(made.directory)
    for log_dir, kept in ((former, [2]), (current, [2, 3])):
        batches = log_dir.sealed_batches
        assert kept == [each.index for each in log_dir.manifests() if batches.has_payload(each.index, each.payload)]
    assert [(True, 2), (True, 2)] == [(report.ok, report.pruned) for report in open_home(home).verify()]


def test_a_home_without_a_store_is_pruned_too(home):
    """Nothing leaves the machine, and nothing must be unpinned."""
    sample_homes.log(home, range(4), records=1)
    sample_homes.seal(home)
    made = Pruned(home)
    assert made.prune(made.moment(2), stores=()).complete
    assert {3, 4} == made.here()
    [report] = open_home(home).verify()
    assert (True, 3) == (report.ok, report.pruned)


def test_a_store_that_is_added_later_gets_the_manifests(home, store):
    """It cannot get the payloads; all other batches are shipped, and the log counts as shipped."""
    made = shipped(home, 4)
    made.prune(made.moment(2))
    other = MemoryStore.named("other")
    sample_homes.ship(home, "memory:other")
    for manifest in made.manifests():
        assert manifest.cid in (other.pins if manifest.index > 2 else other.alone)
    state = made.log_dir.delivery_states()[other.name]
    assert (4, ()) == (state.confirmed_through, state.aside)


def test_a_store_that_was_reached_again_is_not_asked_for_what_was_given_up(home, store):
    """Its missing pins are no loss; nothing is set aside, and nothing is sent again."""
    made = shipped(home, 4)
    made.prune(made.moment(2))
    sample_homes.ship(home, ADDRESS)
    store.collect_garbage()
    count = len(store.shipments)
    for _ in range(2):
        sample_homes.ship(home, ADDRESS)
    [state] = made.log_dir.delivery_states().values()
    assert (4, (), False) == (state.confirmed_through, state.aside, state.lost)
    assert count == len(store.shipments)
    assert () == open_home(home).send_again()
    assert all(check.state != "fail" for check in open_home(home).health(every_batch=True))


def test_the_keeper_does_it_by_itself_when_told_so(home, store):
    """With `apply: auto` a program that logs gives up what is old enough, and ships the act."""
    rule = {"keep": "0h", "then": "prune", "apply": "auto"}
    shipped(home, 4, retention=rule)
    made = Pruned(home)
    assert {0, 1, 2, 3} == made.here()
    handler = IPFSHandler("audit", home=home, kubo=[ADDRESS], retention=rule, batch={"records": 1})
    try:
        handler.handle(sample_homes.record(4))
        wait_until(lambda: not {0, 1, 2} & made.here(), deadline_s=60)
        handler.flush()
    finally:
        handler.close()
    assert not {0, 1, 2} & made.pinned()
    assert "older than 0 days" in [each.act.reason for each in acts.acts_of(made.log_dir)]
    assert all(report.ok for report in open_home(home).verify())


def test_the_keeper_does_nothing_by_itself_without_being_told(home, store):
    """A rule alone changes nothing; an act that was sealed is carried out by whichever keeper comes."""
    shipped(home, 4, retention={"keep": "0h", "then": "prune"})
    made = Pruned(home)
    policy = policy_of(made.directory)
    assert not asyncio.run(AutoPruning(made.directory).run(policy, [store], []))
    assert {0, 1, 2, 3} == made.here()
    assert [] == acts.pending(made.directory)
    store.state = "down"
    made.prune(made.moment(1))
    store.state = "up"
    assert not asyncio.run(AutoPruning(made.directory).run(policy, [store], []))
    assert {2, 3, 4} == made.here()


def test_beside_a_program_that_logs(home, store):
    """Its keeper seals the act and carries it out; `apply` waits for it."""
    made = shipped(home, 4)
    moment = made.moment(1)
    handler = IPFSHandler("audit", home=home, kubo=[ADDRESS], batch={"records": 1})
    try:
        handler.handle(sample_homes.record(4))
        handler.flush()
        assert lock.take(HomeDir(home)) is None
        assert made.prune(moment).complete
        assert not {0, 1} & (made.here() | made.pinned())
    finally:
        handler.close()
    assert list(range(2, 5)) == read(home)[0]


def test_a_pin_service_removes_what_was_given_up(home, store):
    """And is not asked for it again, nor is it told of a loss; one that comes later is not asked for it either."""
    with FakeCluster() as cluster, FakeCluster() as later:
        sample_homes.log(home, range(4), records=1, kubo=[ADDRESS], pins=[cluster.address])
        assert open_home(home).ship([ADDRESS], pins=[cluster.address]).complete
        made = Pruned(home)
        gone = {each.cid.text for each in made.manifests()[:2]}
        moment, places = made.moment(1), ((ADDRESS,), (cluster.address,))
        assert gone <= set(cluster.pinned())
        [result] = prune_now(HomeDir(home), {"audit": 0.0}, *places, NONE, now=lambda: moment)
        assert (2, True) == (result.batches, result.complete)
        assert not gone & set(cluster.pinned())
        for address in (cluster.address, later.address):
            assert open_home(home).ship([ADDRESS], pins=[address]).complete
        assert not gone & {*cluster.pinned(), *later.pinned()}
        assert not any(state.lost or state.aside for state in made.log_dir.delivery_states().values())


def test_carrying_out_an_act_again_changes_nothing(home, store):
    """Every step may be done twice: so a crash between two of them is ended by the next keeper."""
    made = shipped(home, 4)
    made.prune(made.moment(2))
    (made.log_dir.batches / "pruned").unlink()
    assert 1 == len(list(unfinished(made.log_dir)))
    outcome = asyncio.run(Pruning(made.directory).finish([store]))
    assert {} == outcome.reasons
    assert not list(unfinished(made.log_dir))
    assert {3, 4} == made.here()


def test_a_delivery_state_that_was_begun_anew_keeps_all(home, store):
    """It says nothing of what the store has: nothing is given up that it may not have."""
    made = shipped(home, 3)
    [(name, state)] = made.log_dir.delivery_states().items()
    delivery_state.store(made.log_dir.shipped, name, DeliveryState(log=state.log, address=state.address))
    assert ("keep", f"not confirmed by {ADDRESS}") == made.plan(made.moment(2))[0]
