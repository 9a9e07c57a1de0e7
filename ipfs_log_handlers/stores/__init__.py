"""Where sealed batches go: the contract that every store keeps, and the one door to them.

A store takes whole CARs and answers one question honestly: is it pinned? `ship` returns when the store has confirmed
every root and the count of blocks, and in no other case. What it raises says what to do next: `StoreUnavailable`,
send the same bytes again; `StoreRefused`, someone must look at the address or the token; `StoreRejected`, these bytes
will never be taken. Making a store touches no network, so it may happen under logging's lock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from ipfs_log_handlers.stores.address import check_name, normalise, normalise_token, store_name

if TYPE_CHECKING:
    from ipfs_log_handlers.format.cid import Cid

__all__ = ["MAX_BLOCK", "Shipment", "Store", "StoreInfo", "normalise", "open_store", "store_name"]

MAX_BLOCK = 2 << 20
"""Bytes of the largest block that a store is asked for: what Kubo takes since 0.40."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipment:
    """One CAR on its way, and what the store must say about it."""

    roots: tuple[Cid, ...]
    """What must be pinned recursively when `ship` returns: the roots in the header of the CAR."""

    blocks: int
    """How many blocks the CAR holds, a repeated one counted each time."""

    block_bytes: int
    """The sum of their lengths, without CIDs and framing."""

    size: int
    """Bytes of the CAR."""

    open: Callable[[], Iterable[bytes]]
    """Begins a fresh reading of the CAR, in pieces of at most 256 KiB; called once for each try."""

    def __post_init__(self) -> None:
        if not self.roots or len(set(self.roots)) != len(self.roots):
            raise ValueError("a shipment has at least one root, and each once")
        if self.blocks < len(self.roots) or self.block_bytes < 0 or self.size < self.block_bytes:
            raise ValueError("a shipment holds at least its roots, and the CAR at least its blocks")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreInfo:
    """What a store says about itself; `ipfs-logs doctor` shows it."""

    kind: str
    """`kubo` or `memory`."""

    version: str
    """The version it gives itself."""

    address: str
    """Where it was found; with `auto` the address behind it."""

    syncs: bool | None = None
    """Whether confirmed blocks survive a power cut: False for Kubo's flatfs with `sync: false`; None is unknown."""

    repo_bytes: int | None = None
    """What its repository takes, if it says so."""

    storage_max_bytes: int | None = None
    """The size above which it collects garbage, if it says so."""


class Store(Protocol):
    """A place that keeps pinned blocks. One event loop at a time uses it."""

    @property
    def name(self) -> str:
        """The name given to it, or 16 hex digits made of its address: a file name in the home."""

    @property
    def address(self) -> str:
        """The normalised address, never with a credential."""

    async def ship(self, shipment: Shipment) -> None:
        """Hands over a CAR; returns only when every root is confirmed as pinned and the counts match."""

    async def pinned(self, cids: Sequence[Cid]) -> frozenset[Cid]:
        """Tells which of these are pinned recursively."""

    async def get(self, cid: Cid) -> bytes:
        """Returns a block that the store has, rehashed; it asks no other node for it.

        Raises:
            VerificationError: the store answered with other bytes.
            StoreUnavailable: it does not have the block, or did not answer.
        """

    async def unpin(self, cids: Sequence[Cid]) -> None:
        """Takes pins away; one that is not there is no error."""

    async def probe(self) -> StoreInfo:
        """Asks the store who it is."""

    async def close(self) -> None:
        """Lets connections go; the store may be used again afterwards."""


def open_store(address: str, *, token: str | None = None, name: str | None = None) -> Store:
    """Makes the store that an address means; no file is read and no connection opened.

    Args:
        address: `http(s)://host:port`, a multiaddr (`/ip4/…`, `/dns4/…`, `/unix/…`), `auto`, or `memory:NAME`.
        token: `bearer:…`, `basic:user:password`, `env:NAME` or `file:PATH`.
        name: what to call it in the home instead of a hash of the address.

    Raises:
        ConfigurationError: an address, token or name that cannot be meant.
    """
    address = normalise(address)
    name = store_name(address) if name is None else check_name(name)
    token = normalise_token(token)
    if address.startswith("memory:"):
        from ipfs_log_handlers.stores.memory import MemoryStore

        return MemoryStore.named(address.removeprefix("memory:"), name=name)
    from ipfs_log_handlers.stores.kubo import KuboStore

    return KuboStore(address, token=token, name=name)
