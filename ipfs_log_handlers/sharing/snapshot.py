"""Make the snapshots of logs, and have the stores that hold the batches pin them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from ipfs_log_handlers.errors import FormatError, StoreError, StoreUnavailable
from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.format.pruned import Pruned
from ipfs_log_handlers.home import delivery_state
from ipfs_log_handlers.home.layout import HomeDir, SubsystemDir
from ipfs_log_handlers.home.pruned import pruned_of
from ipfs_log_handlers.reader.loop_thread import LoopThread
from ipfs_log_handlers.sharing.sealed_log import OnRead, SealedLog, sealed_logs
from ipfs_log_handlers.stores import Shipment, Store, open_store
from ipfs_log_handlers.stores.credentials import Credentials

__all__ = ["LogSnapshot", "make_snapshots"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSnapshot:
    """The snapshot of one log: `ipfs pin add` of its CID copies the log to another node."""

    subsystem: str
    """Name of the subsystem."""
    log: str
    """Name of the log."""
    cid: str
    """CID of the snapshot."""
    head: str
    """CID of the head block in it."""
    batches: int
    """Number of batches."""
    pruned: int
    """Number of batches whose payloads were given up: their manifests are in it, and no payload is linked."""
    new_blocks: int
    """Blocks of the snapshot that the one before it did not have."""
    stores: tuple[str, ...] = ()
    """Addresses of the stores that have confirmed that they pinned it."""
    problems: Mapping[str, str] = field(default_factory=dict)
    """Addresses of the other stores, with the reason."""

    def as_json(self) -> dict[str, Any]:
        """Return a dict with the keys of `ipfs-logs snapshot -o json`."""
        return {
            "subsystem": self.subsystem,
            "log": self.log,
            "cid": self.cid,
            "head": self.head,
            "batches": self.batches,
            "pruned": self.pruned,
            "new_blocks": self.new_blocks,
            "stores": list(self.stores),
            "problems": dict(self.problems),
        }


def make_snapshots(
    home: HomeDir,
    subsystem_dirs: Sequence[SubsystemDir],
    *,
    stores: Sequence[str],
    credentials: Credentials,
    on_read: OnRead | None = None,
) -> Iterator[LogSnapshot]:
    """Make a snapshot of each log of some subsystems, and yield each when the stores have answered.

    Args:
        home: the home.
        subsystem_dirs: the subsystems.
        stores: addresses of the stores that must pin them.
        credentials: the credentials of these stores.
        on_read: called after each batch that was read.

    Raises:
        FormatError, VerificationError, OSError: as `sealed_logs`.
        ConfigurationError: an address is malformed.
    """
    thread = LoopThread()
    opened = [open_store(address, token=credentials.token(address)) for address in stores]
    for store in opened:
        thread.close_at_end(store.close)
    try:
        for sealed in sealed_logs(home, subsystem_dirs, on_read):
            yield _make(sealed, opened, thread.run)
    finally:
        thread.stop()


def _make(sealed: SealedLog, stores: Sequence[Store], run: Callable[[Coroutine[Any, Any, None]], None]) -> LogSnapshot:
    pruned = Pruned()
    with suppress(FormatError):  # an act that cannot be read gives nothing up: all payloads are linked
        pruned = pruned_of(sealed.subsystem_dir)
    given_up = pruned.numbers(sealed.log.name, 0, sealed.head.index)
    blocks = sealed.blocks(given_up)
    problems: dict[str, str] = {}
    for store in stores:
        try:
            _check_shipped(sealed, store)
            run(_pin(sealed, blocks, store))
        except StoreError as error:
            problems[store.address] = str(error)
    sealed.remember(blocks)
    return LogSnapshot(
        subsystem=sealed.subsystem,
        log=sealed.log.name,
        cid=blocks[-1][0].text,
        head=sealed.head.cid.text,
        batches=len(sealed.manifests),
        pruned=len(given_up),
        new_blocks=len({cid for cid, _ in blocks} - sealed.known),
        stores=tuple(store.address for store in stores if store.address not in problems),
        problems=problems,
    )


def _check_shipped(sealed: SealedLog, store: Store) -> None:
    """Check that a store has confirmed every batch: it would search the network for a missing one until the deadline.

    Raises:
        StoreUnavailable: batches are missing there.
    """
    log_dir, newest = sealed.log.log_dir, sealed.head.index
    state = delivery_state.load(log_dir.shipped, store.name, sealed.log.name, store.address)
    aside = sum(batch.index <= newest for batch in state.aside)
    missing = state.count_missing(newest) + aside
    if missing:
        raise StoreUnavailable(
            f"it does not have {missing} of {newest + 1} batches",
            hint="Run `ipfs-logs ship --retry-set-aside` first." if aside else "Run `ipfs-logs ship` first.",
        )


async def _pin(sealed: SealedLog, blocks: Sequence[tuple[Cid, bytes]], store: Store) -> None:
    """Send the blocks that the store does not have yet; return when it has confirmed the pin of the root."""
    root = blocks[-1][0]
    pinned = await store.pinned([cid for cid in (root, sealed.before) if cid is not None])
    if root in pinned:
        return
    known = sealed.known if sealed.before in pinned else frozenset()
    head = (sealed.head.cid, sealed.head.encode())
    sent = [*(block for block in blocks if block[0] not in known), head]
    await store.ship(Shipment.of_blocks(root, sent, linked=3 * len(sealed.manifests)))
