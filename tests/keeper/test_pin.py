"""Batches that a store has are pinned by a cluster, too: counted apart, asked for without end, and never in the way."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ipfs_log_handlers.home.delivery_state import DeliveryState
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.home.logs import LogDir
from ipfs_log_handlers.keeper.recheck import lost_batches, send_again
from ipfs_log_handlers.keeper.run import ShipResult, Stop, ship_all
from ipfs_log_handlers.monitoring.status import status
from ipfs_log_handlers.stores.cluster import ClusterPins
from ipfs_log_handlers.stores.credentials import Credentials
from ipfs_log_handlers.stores.pin_address import pin_service_name
from ipfs_log_handlers.testing.memory_store import MemoryStore
from tests.support.many_batches import seal_batches
from tests.support.pin_services import Answer, Call, FakeCluster

pytestmark = pytest.mark.slow

STORE = "memory:pin"


@pytest.fixture
def store() -> Iterator[MemoryStore]:
    """Yield the store `memory:pin`."""
    yield MemoryStore.named("pin")
    MemoryStore.forget()


@pytest.fixture
def cluster(store: MemoryStore) -> Iterator[FakeCluster]:
    """Start a cluster."""
    with FakeCluster() as service:
        yield service


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a silent cluster be silent for half a second only."""
    defaults = {**(ClusterPins.__init__.__kwdefaults__ or {}), "deadline_s": 0.5}
    monkeypatch.setattr(ClusterPins.__init__, "__kwdefaults__", defaults)


def ship(
    home: Path, *pins: str, until: Callable[[], object] | None = None, token: str | None = None
) -> tuple[ShipResult, list[str]]:
    """Ship to the store, and to these pin services; return the result and where each batch was confirmed.

    Args:
        home: the home.
        pins: addresses of pin services.
        until: ends the run as soon as it holds; `None`: the run ends when everything is confirmed.
        token: the credential of the pin services.
    """
    confirmed: list[str] = []
    stop = Stop()
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.02):
            if until is not None and until():
                stop.request()

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        result = ship_all(
            HomeDir(home),
            stores=(STORE,),
            pins=pins or None,
            timeout=60.0,
            credentials=Credentials(dict.fromkeys(pins, token) if token else {}),
            on_shipped=lambda batch: confirmed.append(batch.store),
            stop=stop,
        )
    finally:
        over.set()
        watching.join()
    return result, confirmed


def has_error(home: Path, address: str) -> Callable[[], bool]:
    """Return a function that says whether an error of a pin service is written down."""
    return lambda: state(home, address).last_error is not None


def log_dir(home: Path) -> LogDir:
    """Return the only log of the home."""
    return LogDir.current_of(HomeDir(home).subsystem_dir("logs"))


def state(home: Path, address: str) -> DeliveryState:
    """Return what is written about a store or pin service."""
    states = log_dir(home).delivery_states()
    return next((each for each in states.values() if each.address == address), DeliveryState(log="", address=address))


def cids(home: Path) -> list[str]:
    """Return the CIDs of all manifests, oldest first."""
    return [header.cid.text for header in log_dir(home).batch_headers()]


def newest_head(home: Path) -> str:
    """Return the CID of the newest head block."""
    return list(log_dir(home).batch_headers())[-1].head_cid.text


def test_each_batch_is_pinned_after_a_store_has_it(home: Path, store: MemoryStore, cluster: FakeCluster) -> None:
    """Manifests and the newest head block are on the list of the cluster, under names that say what they are."""
    seal_batches(home, 12)
    at_first_request: list[int] = []
    cluster.fault = lambda call: at_first_request.append(len(store.pins)) if call.method == "POST" else None

    result, confirmed = ship(home, cluster.address)

    assert result.complete
    assert {STORE: 12, cluster.address: 12} == {where: confirmed.count(where) for where in confirmed}
    assert min(at_first_request) > 0
    assert sorted([*cids(home), newest_head(home)]) == cluster.pinned()
    log = log_dir(home).name()
    assert [f"{log} batch 7", f"{log} head"] == [cluster.names[cid] for cid in (cids(home)[7], newest_head(home))]
    assert {"mode": "recursive"} == cluster.options[cids(home)[0]]
    assert (11, ()) == (state(home, cluster.address).confirmed_through, state(home, cluster.address).confirmed_after)


def test_the_head_before_is_taken_off_the_list(home: Path, cluster: FakeCluster) -> None:
    """Each run pins its newest head, then removes the one before; the manifests stay."""
    heads = []
    for turn in range(3):
        seal_batches(home, 2, first=1 + 2 * turn)
        ship(home, cluster.address)
        heads.append(newest_head(home))

    assert sorted([*cids(home), heads[-1]]) == cluster.pinned()


@pytest.mark.parametrize("status_of_new", ["pin_queued", "pinning", "queued"])
def test_a_request_that_waits_is_no_copy(home: Path, cluster: FakeCluster, status_of_new: str) -> None:
    """A pin counts when the cluster says so; until then it is asked again, and requested once."""
    seal_batches(home, 3)
    cluster.status_of_new = status_of_new
    polls: list[int] = []

    def fault(call: Call) -> None:
        if call.method == "GET":
            polls.append(state(home, cluster.address).confirmed_through if cluster.pins else -1)
        if len(polls) == 4:
            cluster.finish()

    cluster.fault = fault
    result, _ = ship(home, cluster.address)

    assert result.complete
    assert len({call.path for call in cluster.of("POST")}) == len(cluster.of("POST")) == 3 + 1
    assert [-1] * 4 == polls[:4]
    assert 2 == state(home, cluster.address).confirmed_through


def test_what_the_cluster_gives_up_is_asked_for_again(home: Path, cluster: FakeCluster) -> None:
    """A pin with an error is recovered; the error is shown until then."""
    seal_batches(home, 2)
    cluster.status_of_new = "pin_error"
    cluster.status_of_recovered = "pin_error"

    result, _ = ship(home, cluster.address, until=has_error(home, cluster.address))
    assert not result.complete
    assert "pin_error: it cannot be found" in str(result.reason)

    cluster.status_of_recovered = "pinned"
    result, _ = ship(home, cluster.address)
    assert result.complete
    assert any(call.path.endswith("/recover") for call in cluster.of("POST"))
    assert state(home, cluster.address).last_error is None


FAULTS = {
    "401": (Answer(status=401, lines=({"code": 401, "message": "unauthorized"},)), "denied", "pins_token"),
    "404": (Answer(status=404, raw=b"404 page not found"), "denied", "9094"),
    "429": (Answer(status=429, headers={"Retry-After": "77"}), "unavailable", "429"),
    "500": (Answer(status=500, lines=({"code": 500, "message": "no peers"},)), "unavailable", "no peers"),
    "silent": (Answer(silent=True), "timeout", "did not answer"),
    "not JSON": (Answer(raw=b"<html>"), "unavailable", "not JSON"),
    "nothing": (Answer(), "unavailable", "each pin"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.usefixtures("impatient")
def test_a_cluster_that_fails_holds_up_no_store(home: Path, cluster: FakeCluster, fault: str) -> None:
    """The store has everything; the reason and the time of the next try are kept, apart from those of the store."""
    seal_batches(home, 3)
    answer, kind, word = FAULTS[fault]
    cluster.fault = lambda _: answer

    result, confirmed = ship(home, cluster.address, until=has_error(home, cluster.address))

    assert [STORE] * 3 == confirmed
    assert 3 == result.unshipped
    assert (2, None) == (state(home, STORE).confirmed_through, state(home, STORE).last_error)
    error = state(home, cluster.address).last_error
    assert error is not None
    assert kind == error.kind
    assert word in error.message
    assert error.next_retry > error.at
    if fault == "429":
        assert error.next_retry - error.at >= 76

    cluster.fault = lambda _: None
    assert ship(home, cluster.address)[0].complete
    assert state(home, cluster.address).last_error is None


def test_one_bad_batch_stops_nobody_behind_it(home: Path, cluster: FakeCluster) -> None:
    """A cluster refuses five batches of forty for ever; all others are pinned, and the reason is shown."""
    seal_batches(home, 40)
    bad = cids(home)[3:8]
    error = Answer(status=500, lines=({"code": 500, "message": "no allocation"},))

    def confirmed() -> list[int]:
        return state(home, cluster.address).confirmed(39)

    cluster.fault = lambda call: error if call.method == "POST" and call.path.split("/")[2] in bad else None

    result, _ = ship(home, cluster.address, until=lambda: len(cluster.pinned()) >= 35 and len(confirmed()) == 35)

    assert 5 == result.unshipped
    assert {3, 4, 5, 6, 7} == set(state(home, cluster.address).missing(39))
    assert "no allocation" in str(result.reason)


def test_a_cluster_that_takes_requests_and_forgets_them_has_no_copy(home: Path, cluster: FakeCluster) -> None:
    """The answer to a request never counts: what the cluster does not list is not confirmed."""
    seal_batches(home, 2)
    cluster.ignores_requests = True

    result, confirmed = ship(home, cluster.address, until=lambda: len(cluster.of("POST")) >= 6)

    assert (2, [STORE] * 2) == (result.unshipped, confirmed)
    seal_batches(home, 1, first=3)
    cluster.ignores_requests = False
    ship(home, cluster.address, until=lambda: state(home, cluster.address).confirmed(2))
    cluster.pins.clear()
    cluster.fault = lambda _: Answer(status=500)
    seal_batches(home, 2, first=4)
    ship(home, cluster.address, until=has_error(home, cluster.address))
    [logs] = status(home)
    assert (5, 3, 2) == (logs.sealed, logs.pins[0].pinned, logs.pins[0].waiting)


@pytest.mark.parametrize(("least", "pinned", "confirmed"), [(None, 1, True), (2, 1, False), (2, 2, True)])
def test_as_many_peers_as_asked_for(home: Path, store: MemoryStore, least: int | None, pinned: int, confirmed: bool):
    """`replication-min` in the address goes with each request, and says how many peers must have a pin."""
    seal_batches(home, 1)
    with FakeCluster(peers=3) as cluster:
        address = cluster.address + (f"?replication-min={least}&replication-max=3" if least else "")
        cluster.status_of_new = "pinning"
        ship(home, address, until=lambda: cluster.pins)
        for cid in cluster.pins:
            cluster.pins[cid] = {f"p{n}": "pinned" if n < pinned else "remote" for n in range(3)}
        cluster.calls.clear()
        cluster.status_of_recovered = "pinning"
        result, _ = ship(home, address, until=None if confirmed else lambda: len(cluster.of("POST")) > 1)

        assert confirmed == result.complete
        options = {"replication-min": str(least), "replication-max": "3"} if least else {}
        assert {"mode": "recursive", **options} == cluster.options[cids(home)[0]]


def test_a_hundred_batches_wait_for_a_cluster_that_is_down(home: Path, store: MemoryStore) -> None:
    """They are shipped meanwhile, and pinned by the next run when it is up: each is requested once."""
    with FakeCluster() as down:
        port, address = down.port, down.address

    def failed() -> bool:
        return state(home, STORE).confirmed_through == newest and has_error(home, address)()

    newest = -1
    for turn in range(4):
        newest += 25
        seal_batches(home, 25, first=1 + 25 * turn)
        result, confirmed = ship(home, address, until=failed)
        assert ([STORE] * 25, 25 * (turn + 1)) == (confirmed, result.unshipped)
    error = state(home, address).last_error
    assert error is not None
    assert "unreachable" == error.kind

    with FakeCluster(port) as cluster:
        result, confirmed = ship(home, address)
        assert (True, [address] * 100) == (result.complete, confirmed)
        assert 101 == len(cluster.of("POST"))
        assert sorted([*cids(home), newest_head(home)]) == cluster.pinned()


def test_a_confirmation_that_was_not_written_is_found_again(home: Path, cluster: FakeCluster) -> None:
    """The file of the service is lost, as after a crash before it was written: it is asked, nothing is requested."""
    seal_batches(home, 20)
    ship(home, cluster.address)
    (log_dir(home).shipped / pin_service_name(cluster.address)).unlink()
    cluster.calls.clear()

    result, confirmed = ship(home, cluster.address)

    assert (True, [cluster.address] * 20, []) == (result.complete, confirmed, cluster.of("POST"))


# -- what was confirmed and is lost


def test_a_cluster_that_lost_its_list_gets_it_again(home: Path, cluster: FakeCluster) -> None:
    """The next keeper asks for the newest batches, then for all, and requests what is not pinned any more."""
    seal_batches(home, 12)
    ship(home, cluster.address)
    cluster.pins.clear()

    result, confirmed = ship(home, cluster.address)

    assert (True, [cluster.address] * 12) == (result.complete, confirmed)
    assert sorted([*cids(home), newest_head(home)]) == cluster.pinned()


def test_lost_pins_are_named_and_asked_for_again(home: Path, cluster: FakeCluster) -> None:
    """`ship --again` and `doctor` name old batches that are not pinned any more; nothing is set aside for them."""
    seal_batches(home, 12)
    ship(home, cluster.address)
    for cid in cids(home)[5:8]:
        del cluster.pins[cid]

    lost = lost_batches(HomeDir(home), cluster.address)
    assert [5, 6, 7] == [batch.index for batch in lost]
    assert {("not pinned", True, (STORE,))} == {(each.holding, each.can_be_sent, each.elsewhere) for each in lost}

    assert 3 == len(send_again(HomeDir(home), [cluster.address]))
    assert [5, 6, 7] == list(state(home, cluster.address).missing(11))
    assert ship(home, cluster.address)[0].complete
    assert [] == list(lost_batches(HomeDir(home), cluster.address))


def test_again_pins_the_head_block_too(home: Path, cluster: FakeCluster) -> None:
    """A cluster that lost its list, or the head alone: `ship --again` and the next run give back all of it."""
    seal_batches(home, 12)
    ship(home, cluster.address)
    whole = cluster.pinned()
    assert newest_head(home) in whole
    cluster.pins.clear()
    assert 12 == len(send_again(HomeDir(home), [cluster.address]))
    assert ship(home, cluster.address)[0].complete
    assert whole == cluster.pinned()
    for again in (True, False):
        del cluster.pins[newest_head(home)]
        if again:
            assert () == send_again(HomeDir(home), [cluster.address])
        assert ship(home, cluster.address)[0].complete
        assert whole == cluster.pinned()


# -- the keeper


def test_a_keeper_without_the_credential_notes_it(home: Path, store: MemoryStore) -> None:
    """The error says `denied`, which lets a process with the credential offer to be the keeper."""
    seal_batches(home, 1)
    with FakeCluster(token="Bearer right") as cluster:
        ship(home, cluster.address, until=has_error(home, cluster.address))
        error = state(home, cluster.address).last_error
        assert error is not None
        assert "denied" == error.kind
        assert ship(home, cluster.address, token="bearer:right")[0].complete
    written = b"".join(path.read_bytes() for path in home.rglob("*") if path.is_file())
    assert b"right" not in written
