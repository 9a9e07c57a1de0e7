"""Batches are pinned by a remote pinning service through a real Kubo, which has the endpoint and the key."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from ipfs_log_handlers.home.delivery_state import DeliveryState
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.home.logs import LogDir
from ipfs_log_handlers.keeper.run import ShipResult, Stop, ship_all
from ipfs_log_handlers.stores.credentials import Credentials
from ipfs_log_handlers.stores.pin_address import pin_service_name
from ipfs_log_handlers.stores.remote_pins import RemotePins
from tests.kubo.daemon import Daemon
from tests.support.many_batches import seal_batches
from tests.support.pin_services import Answer, FakePinningService

REMOTE = "remote:test-backup"
DOWN = "http://127.0.0.1:9"


def add_service(daemon: Daemon, service: FakePinningService, key: str = FakePinningService.key) -> None:
    """Tell Kubo of a service."""
    arguments = "&".join(f"arg={quote(text, safe='')}" for text in ("test-backup", service.url, key))
    configure(daemon, f"pin/remote/service/add?{arguments}")


def configure(daemon: Daemon, call: str) -> None:
    """Make a call that writes Kubo's configuration, and put its ports back: Kubo writes those that it was asked for."""
    addresses = json.loads((daemon.repo / "config").read_text())["Addresses"]
    daemon.rpc(call)
    daemon.configure({"Addresses": addresses})


@pytest.fixture
def service(kubo_online: Daemon) -> Iterator[FakePinningService]:
    """Start a service that Kubo knows as `test-backup`."""
    with FakePinningService() as running:
        add_service(kubo_online, running)
        yield running
    configure(kubo_online, "pin/remote/service/rm?arg=test-backup")


def ship(
    home: Path, *stores: str, until: Callable[[], object] | None = None, credentials: Credentials | None = None
) -> ShipResult:
    """Ship to these stores and the service, until all is confirmed or something holds."""
    stop, over = Stop(), threading.Event()

    def watch() -> None:
        while not over.wait(0.05):
            if until is not None and until():
                stop.request()

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        return ship_all(HomeDir(home), stores=stores, pins=(REMOTE,), timeout=90.0, stop=stop, credentials=credentials)
    finally:
        over.set()
        watching.join()


def log_dir(home: Path) -> LogDir:
    """Return the only log of the home."""
    return LogDir.current_of(HomeDir(home).subsystem_dir("logs"))


def state(home: Path) -> DeliveryState:
    """Return what is written about the service."""
    states = log_dir(home).delivery_states().values()
    return next((each for each in states if each.address == REMOTE), DeliveryState(log="", address=REMOTE))


def failed(home: Path) -> Callable[[], bool]:
    """Return a function that says whether an error of the service is written down."""
    return lambda: state(home).last_error is not None


def wanted(home: Path) -> list[str]:
    """Return the CIDs that the service must have: all manifests, and the newest head block."""
    headers = list(log_dir(home).batch_headers())
    return sorted([*(header.cid.text for header in headers), headers[-1].head_cid.text])


def test_each_batch_has_one_pin_object(home: Path, kubo_online: Daemon, service: FakePinningService) -> None:
    """Each batch is requested once, by name, and with the addresses of the daemon that has its blocks."""
    seal_batches(home, 12)
    assert ship(home, kubo_online.url).complete
    assert wanted(home) == service.cids()
    log = log_dir(home).name()
    assert {f"{log} head", *(f"{log} batch {index}" for index in range(12))} == {
        each.name for each in service.objects.values()
    }
    assert all(each.origins for each in service.objects.values())

    (log_dir(home).shipped / pin_service_name(REMOTE)).unlink()  # as after a kill before it was written
    seal_batches(home, 1, first=13)
    assert ship(home, kubo_online.url).complete
    assert wanted(home) == [cid for cid in service.cids() if cid in wanted(home)]
    assert len(service.of("POST")) == 15  # 13 batches and two heads


@pytest.mark.parametrize("status_of_new", ["queued", "pinning", "failed"])
def test_a_pin_counts_when_the_service_lists_it(
    home: Path, kubo_online: Daemon, service: FakePinningService, status_of_new: str
) -> None:
    """What is queued or being pinned is asked for again; what has failed is removed and requested again."""
    seal_batches(home, 2)
    service.status_of_new = status_of_new
    enough: Callable[[], object] = lambda: len(service.of("GET")) >= 4  # noqa: E731
    result = ship(home, kubo_online.url, until=failed(home) if status_of_new == "failed" else enough)
    assert (2, -1) == (result.unshipped, state(home).confirmed_through)
    if status_of_new == "failed":
        assert "could not pin it" in str(state(home).last_error)
    else:
        assert len(service.of("POST")) <= 3

    service.status_of_new = "pinned"
    if status_of_new != "failed":
        service.finish()
    assert ship(home, kubo_online.url).complete
    assert wanted(home) == service.cids()
    assert [] == service.cids("failed")


FAULTS = {
    "401": (Answer(status=401, lines=({"error": {"reason": "UNAUTHORIZED"}},)), "denied", "refuses the key"),
    "429": (Answer(status=429, raw=b"slow down"), "unavailable", "the service did not do it"),
    "500": (Answer(status=500, raw=b"out of order"), "unavailable", "the service did not do it"),
    "silent": (Answer(silent=True), "unavailable", "the service did not do it"),
    "not JSON": (Answer(raw=b"<html>"), "unavailable", "the service did not do it"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_service_that_fails_holds_up_no_store(
    home: Path, kubo_online: Daemon, service: FakePinningService, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store has everything, and the error names the service; it is asked again when it is well."""
    monkeypatch.setattr(RemotePins.__init__, "__kwdefaults__", {"deadline_s": 2.0})
    seal_batches(home, 2)
    answer, kind, words = FAULTS[fault]
    service.fault = lambda _: answer
    result = ship(home, kubo_online.url, until=failed(home))
    assert (2, {kubo_online.url, REMOTE}) == (result.unshipped, {each.address for each in states(home)})
    error = state(home).last_error
    assert error is not None
    assert words in error.message or "did not answer" in error.message
    assert error.message.startswith(REMOTE)
    assert error.kind in (kind, "timeout")

    service.fault = lambda _: None
    monkeypatch.undo()
    assert ship(home, kubo_online.url).complete


def states(home: Path) -> list[DeliveryState]:
    """Return what is written about all stores and services."""
    return list(log_dir(home).delivery_states().values())


def test_the_store_that_knows_the_service_is_asked(
    home: Path, kubo_online: Daemon, kubo: Daemon, service: FakePinningService
) -> None:
    """One store is down, one does not know the service, the third does: its Kubo is asked, whatever the order."""
    seal_batches(home, 2)
    result = ship(home, DOWN, kubo.url, kubo_online.url, until=lambda: state(home).confirmed_through == 1)
    assert 2 == result.unshipped  # at the store that is down
    assert state(home).last_error is None
    assert wanted(home) == service.cids() or 2 <= len(service.cids())


def test_a_service_that_no_store_knows(home: Path, kubo: Daemon) -> None:
    """The error says what to run."""
    seal_batches(home, 1)
    ship(home, kubo.url, until=failed(home))
    error = state(home).last_error
    assert error is not None
    assert "denied" == error.kind
    assert "ipfs pin remote service add test-backup" in error.message


def test_key_and_token_stay_where_they_are(home: Path, kubo_daemon: Callable[..., Daemon]) -> None:
    """Kubo asks for a token, which only the calls have; the key of the service is in Kubo alone."""
    daemon = kubo_daemon(offline=False, authorizations={"logs": "bearer:kubo-secret"})
    seal_batches(home, 1)
    with FakePinningService() as service:
        add_service(daemon, service)
        assert ship(home, daemon.url, credentials=Credentials({daemon.url: "bearer:kubo-secret"})).complete
        assert wanted(home) == service.cids()
    written = b"".join(path.read_bytes() for path in home.rglob("*") if path.is_file())
    assert b"kubo-secret" not in written
    assert service.key.encode() not in written
