"""`replicas` counts copies at stores and pin services together, and no pin service is waited for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ipfs_log_handlers.home.delivery_state import Confirmations, DeliveryState
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.home.logs import LogDir, policy_of
from ipfs_log_handlers.keeper.retention import Retention
from ipfs_log_handlers.keeper.run import ShipResult, ship_all
from ipfs_log_handlers.monitoring.status import SubsystemStatus, status
from ipfs_log_handlers.stores import open_store
from ipfs_log_handlers.stores.pins import open_pin_service
from ipfs_log_handlers.testing import FakeKubo
from ipfs_log_handlers.testing.memory_store import MemoryStore
from tests.support import programs
from tests.support.machine import assert_in_time
from tests.support.pin_services import Answer, FakeCluster
from tests.support.sample_homes import Writing

pytestmark = pytest.mark.slow

A, B = "memory:copies-a", "memory:copies-b"
DEAD = "http://127.0.0.1:9"


@pytest.fixture
def cluster() -> Iterator[FakeCluster]:
    """Start a cluster, beside the stores in memory."""
    with FakeCluster() as service:
        yield service
    MemoryStore.forget()


def write(home: Path, **settings: Any) -> None:
    """Log ten records with these settings."""
    with Writing(home, "logs", **settings) as program:
        program.log(range(10))


def ship(home: Path, timeout: float = 30.0) -> ShipResult:
    """Ship as the programs have configured it."""
    return ship_all(HomeDir(home), stores=None, timeout=timeout)


def only(home: Path) -> SubsystemStatus:
    """Return the status of the only subsystem."""
    (found,) = status(home)
    return found


@pytest.mark.parametrize(
    ("stores", "replicas", "is_up", "shipped"),
    [
        ([A], 1, True, 10), ([A], 1, False, 10), ([A], 2, True, 10), ([A], 2, False, 0),
        ([A, B], 3, True, 10), ([A, B], 3, False, 0), ([A, B], 2, False, 10),
        ([A, DEAD], 2, True, 10), ([A, DEAD], 2, False, 0), ([A, DEAD], 3, True, 0),
    ],
)  # fmt: skip
def test_any_copies_count(
    home: Path,
    cluster: FakeCluster,
    stores: list[str],
    replicas: int,
    is_up: bool,
    shipped: int,
) -> None:
    """As many of stores and clusters as `replicas` says, whichever; each is counted and shown apart."""
    write(home, kubo=stores, pins=[cluster.address], replicas=replicas)
    if not is_up:
        cluster.fault = lambda _: Answer(status=500, lines=({"code": 500, "message": "no peers"},))

    result = ship(home, timeout=30.0 if shipped else 1.0)
    if not is_up:
        ship(home, timeout=3.0)  # however little time the run before had for the cluster

    found = only(home)
    assert (shipped > 0, shipped) == (result.complete, found.shipped)
    [pins] = found.pins
    assert (cluster.address, 10 if is_up else 0, 0 if is_up else 1) == (pins.service, pins.pinned, pins.waiting)
    if is_up:
        assert pins.last_error is None
    else:
        assert "no peers" in str(pins.last_error)
        assert pins.next_retry is not None
    assert (10 - shipped > 0) == (found.oldest_unshipped is not None)


def test_the_rule() -> None:
    """A pin service is a copy, but no store: it holds no block that could be read."""
    states = [
        DeliveryState(log="l", address=A, confirmed_through=5),
        DeliveryState(log="l", address="remote:x", confirmed_through=3),
        DeliveryState(log="l", address="cluster+http://h", confirmed_through=1),
    ]
    for replicas, through in ((1, 5), (2, 3), (3, 1)):
        assert through == Confirmations(states, replicas).settled_through
    assert [A] == Confirmations(states, 1).holders(1)
    assert 5 == Confirmations(states, 3).of_stores(1).settled_through


def test_a_payload_stays_until_every_copy_that_was_asked_for_is_there(home: Path, cluster: FakeCluster) -> None:
    """With two copies asked for, the store alone is not enough; a pin that is gone again keeps the payload, too."""
    write(home, kubo=[A], pins=[cluster.address], replicas=2, max_store_bytes=0, keep_days=0)
    cluster.status_of_new = "pinning"
    ship(home, timeout=0.5)
    subsystem_dir = HomeDir(home).subsystem_dir("logs")
    batches = LogDir.current_of(subsystem_dir).sealed_batches
    payload = batches.facts(0).manifest.payload

    def retain() -> bool:
        """Run retention; return whether the payload is still in the home."""

        async def run() -> None:
            store, service = open_store(A), open_pin_service(cluster.address)
            await Retention(subsystem_dir).run([store], policy_of(subsystem_dir), pins=[service])
            await service.close()

        asyncio.run(run())
        return batches.has_payload(0, payload)

    assert retain()
    cluster.finish()
    assert ship(home).complete
    cluster.pins[batches.facts(0).cid.text]["12D3KooWPeer0"] = "pin_error"
    assert retain()
    cluster.finish()
    pins = MemoryStore.named("copies-a").pins
    kept = dict(pins)
    pins.clear()
    assert retain()  # the word of the cluster alone deletes nothing
    pins.update(kept)
    assert not retain()


BODY = """
    configure(kubo=KUBO, pins=[PINS], replicas=REPLICAS, flush_timeout=20.0)
    for i in range(20): log.info("r%d", i)
    begun = time.monotonic()
    [h] = logging.getLogger().handlers
    h.flush()
    print(time.monotonic() - begun, flush=True)
"""


@pytest.mark.parametrize("replicas", [1, 2])
def test_no_flush_and_no_end_waits_for_a_pin_service(home: Path, cluster: FakeCluster, replicas: int) -> None:
    """A cluster that accepts connections and never answers costs nothing, whatever `replicas` asks for."""
    cluster.fault = lambda _: Answer(silent=True)
    with FakeKubo() as daemon:
        begun = time.monotonic()
        ended = programs.run(home, BODY, KUBO=daemon.url, PINS=cluster.address, REPLICAS=replicas).clean()
        assert_in_time(float(ended.out), 15.0)
        assert_in_time(time.monotonic() - begun, 35.0)
        assert 1 <= len(daemon.uploads())
    assert 20 * (replicas == 1) == only(home).shipped


KILLED = """
    from ipfs_log_handlers.keeper import pin
    from ipfs_log_handlers.stores import cluster
    def die(*_, **__): os.kill(os.getpid(), signal.SIGKILL)
    WHERE
    configure(kubo=KUBO, pins=[PINS], replicas=2, flush_timeout=20.0)
    log.info("one")
    [h] = logging.getLogger().handlers
    h.flush()
    time.sleep(60)
"""


def killed(home: Path, daemon: FakeKubo, cluster: FakeCluster, where: str) -> None:
    """Run a program that kills itself where its keeper comes to a function."""
    ended = programs.run(home, KILLED.replace("WHERE", f"{where} = die"), KUBO=daemon.url, PINS=cluster.address)
    assert ended.code == -9
    assert 1 == only(home).pins[0].waiting


def test_killed_between_upload_and_pin(home: Path, cluster: FakeCluster) -> None:
    """The store has confirmed the batch, and the cluster never heard of it: the next keeper asks for it."""
    with FakeKubo() as daemon:
        killed(home, daemon, cluster, "cluster.ClusterPins.request")
        assert [] == cluster.of("POST")
        assert ship(home).complete
        assert 1 == len(daemon.uploads())
    assert (1, 0) == (only(home).pins[0].pinned, only(home).pins[0].waiting)


def test_killed_before_the_confirmation_is_written(home: Path, cluster: FakeCluster) -> None:
    """The cluster has the pin, and nobody wrote it down: the next keeper asks, and requests nothing again."""
    with FakeKubo() as daemon:
        killed(home, daemon, cluster, "pin.Pinner._write")
        manifest = LogDir.current_of(HomeDir(home).subsystem_dir("logs")).sealed_batches.facts(0).cid.text
        assert ship(home).complete
    assert [f"/pins/{manifest}"] == [call.path for call in cluster.of("POST") if manifest in call.path]
