"""Open stores, the places that sealed batches go to, and define the contract that every store keeps.

A store takes whole CARs and answers one question: is it pinned? `ship` returns when the store has confirmed every root
and the count of blocks, and in no other case. Its errors say what to do next: after `StoreUnavailable` send the same
bytes again; after `StoreDenied` correct the address or the token; after `StoreRejected` never send these bytes again.
Making a store uses no network, so it may be done under logging's lock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

from ipfs_log_handlers.errors import StoreUnavailable
from ipfs_log_handlers.stores.address import check_name, normalise, normalise_token, store_name
from ipfs_log_handlers.stores.schemes import StoreScheme, register_scheme, scheme_of

if TYPE_CHECKING:
    from ipfs_log_handlers.format.cid import Cid

__all__ = [
    "BlockKeeper",
    "Exposure",
    "ExposureTeller",
    "MissingBlockError",
    "NameService",
    "PinLister",
    "Shipment",
    "Store",
    "StoreInfo",
    "StoreScheme",
    "normalise",
    "open_store",
    "preload",
    "register_scheme",
    "store_name",
]

_PIECE_BYTES: Final = 256 << 10
"""Bytes of a CAR that are handed to a store at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipment:
    """Describe one CAR to upload, and what the store must confirm."""

    roots: tuple[Cid, ...]
    """The CIDs that must be pinned recursively when `ship` returns: the roots in the header of the CAR."""

    blocks: int
    """Number of blocks in the CAR; a block that is in it twice counts twice."""

    block_bytes: int
    """The sum of the lengths of the blocks, without CIDs and framing."""

    size: int
    """Bytes of the CAR."""

    open: Callable[[], Iterable[bytes]]
    """Function that reads the CAR from its start, in pieces of at most 256 KiB; it is called once for every try."""

    linked: int = 0
    """About how many blocks that the store has already it must read, because the roots link them: this takes time."""

    def __post_init__(self) -> None:
        if not self.roots or len(set(self.roots)) != len(self.roots):
            raise ValueError("a shipment has at least one root, and no root twice")
        if self.blocks < len(self.roots) or self.block_bytes < 0 or self.size < self.block_bytes:
            raise ValueError("a shipment holds at least its roots, and the CAR at least its blocks")

    @classmethod
    def of_blocks(cls, root: Cid, blocks: Iterable[tuple[Cid, bytes]], *, linked: int = 0) -> Shipment:
        """Describe the CAR of one root and some small blocks, which are held in memory.

        Args:
            root: the block that must be pinned.
            blocks: the blocks, the root among them, in the order of the CAR.
            linked: as the field.

        Raises:
            ValueError: there is no block.
        """
        from ipfs_log_handlers.format import car

        sections = list(blocks)
        data = car.encode([root], sections)
        return cls(
            roots=(root,),
            blocks=len(sections),
            block_bytes=sum(len(block) for _, block in sections),
            size=len(data),
            open=lambda: (data[at : at + _PIECE_BYTES] for at in range(0, len(data), _PIECE_BYTES)),
            linked=linked,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreInfo:
    """Describe a store by its own answers; `ipfs-logs doctor` shows this."""

    kind: str
    """`kubo`, or the name of a registered scheme."""

    version: str
    """The version that the store gives itself."""

    address: str
    """Address of the store; with `auto`, the address of the daemon that was found."""

    syncs: bool | None = None
    """Whether confirmed blocks survive a power cut: False for Kubo's flatfs with `sync: false`; None is unknown."""

    repo_bytes: int | None = None
    """Bytes of the store's repository; `None` if the store does not say it."""

    storage_max_bytes: int | None = None
    """Bytes of the repository above which the store collects garbage; `None` if the store does not say it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """Say whether strangers can find what a store has, by its own configuration; `ipfs-logs doctor` shows this."""

    announces: bool | None
    """Whether the store tells a public network which blocks it has; `None`: it cannot be found out."""

    found: str
    """The reason, and what follows from it, in words."""

    open_gateway: str | None = None
    """Address of its gateway, if other machines can reach it."""

    hint: str | None = None
    """How to change it; `None` if there is nothing to change."""


class MissingBlockError(StoreUnavailable):
    """The store answered that it does not have a block. Another node may have it, or this store may have it later."""


class Store(Protocol):
    """Keep pinned blocks. One event loop at a time uses a store."""

    @property
    def name(self) -> str:
        """The store's name: the configured one, or 16 hex digits made of its address. A file name in the home."""

    @property
    def address(self) -> str:
        """The normalised address, never with a credential."""

    async def ship(self, shipment: Shipment) -> None:
        """Upload a CAR; return only when every root is confirmed as pinned and the counts match.

        Raises:
            StoreUnavailable: it is unknown whether the store has this CAR; send it again.
            StoreDenied: address, token or version are wrong.
            StoreRejected: the store says that these bytes are bad.
        """

    async def pinned(self, cids: Sequence[Cid]) -> frozenset[Cid]:
        """Return those of the CIDs that are pinned recursively."""

    async def get(self, cid: Cid) -> bytes:
        """Return a block that the store has, after hashing it; the store asks no other node for it.

        Raises:
            VerificationError: the store answered with other bytes.
            MissingBlockError: it does not have the block.
            StoreUnavailable: it did not answer.
        """

    async def unpin(self, cids: Sequence[Cid]) -> None:
        """Remove pins; a pin that does not exist is no error."""

    async def probe(self) -> StoreInfo:
        """Ask the store for its kind, version and state."""

    async def close(self) -> None:
        """Close the connections; the store may be used again afterwards."""


@runtime_checkable
class PinLister(Protocol):
    """A store that can list what it has pinned; `verify` asks it for manifests that the home does not have."""

    async def list_pins(self) -> frozenset[Cid]:
        """Return the CIDs of all blocks that are pinned recursively.

        Raises:
            StoreUnavailable: it did not answer, or the list is too long.
        """


@runtime_checkable
class ExposureTeller(Protocol):
    """A store that can tell whether strangers can find what it has: private subsystems are shipped only if not."""

    async def exposure(self) -> Exposure:
        """Read the configuration of the store.

        Raises:
            StoreUnavailable: it did not answer.
            StoreDenied: token, address or version are wrong.
        """


@runtime_checkable
class BlockKeeper(Protocol):
    """A store that can keep one block without what it links: the manifest of a batch whose payload is given up."""

    async def keep_alone(self, cid: Cid, block: bytes) -> None:
        """Pin a block alone; a recursive pin of it is removed, so that the store may delete what it links.

        Doing it again changes nothing. When this is interrupted, the block may be without a pin, and is not deleted
        before the next garbage collection.

        Args:
            cid: its CID.
            block: its bytes, which are stored again if the store has lost them.

        Raises:
            StoreUnavailable: it is unknown whether it is pinned; do it again.
            StoreDenied: token, address or version are wrong.
        """


@runtime_checkable
class NameService(Protocol):
    """A store that also publishes IPNS names."""

    async def put_name(self, name: str, record: bytes) -> None:
        """Hand out a signed record of a name. A return does not mean that anybody can resolve the name.

        Raises:
            StoreUnavailable: it is unknown whether it was taken; a record with a larger number may be there.
            StoreDenied: token, address or version are wrong.
        """

    async def get_name(self, name: str) -> bytes:
        """Return the newest record of a name, as it was signed; it is not verified.

        Raises:
            StoreUnavailable: there is none, or the store did not answer.
        """

    async def resolve_name(self, name: str, *, deadline_s: float | None = None) -> Cid:
        """Return the block to which a name leads now, without the caches of this store; the answer is not proven.

        Args:
            name: the name.
            deadline_s: seconds that the store gets; `None`: as for other calls.

        Raises:
            StoreUnavailable: nobody knows it, or the store did not answer.
        """


def open_store(address: str, *, token: str | None = None, name: str | None = None) -> Store:
    """Make the store at an address; no file is read and no connection is opened.

    Args:
        address: `http(s)://host:port`, a multiaddr (`/ip4/…`, `/dns4/…`, `/unix/…`), `auto`, or that of a
            registered scheme.
        token: `bearer:…`, `basic:user:password`, `env:NAME` or `file:PATH`.
        name: the name of the store in the home; default: a hash of the address.

    Raises:
        ConfigurationError: the address, token or name is malformed.
    """
    address = normalise(address)
    name = store_name(address) if name is None else check_name(name)
    token = normalise_token(token)
    scheme = scheme_of(address)
    if scheme is not None:
        return scheme.open(address, name, token)
    from ipfs_log_handlers.stores.kubo import KuboStore

    return KuboStore(address, token=token, name=name)


def preload(address: str) -> None:
    """Import the modules that a store at this address needs for its first call.

    The keeper does this before its first call, while no fork can happen: a child would wait for ever for a module that
    another thread of the parent was importing. A registered scheme names its modules (`StoreScheme.preload`).
    """
    scheme = scheme_of(address)
    if scheme is not None:
        if scheme.preload is not None:
            scheme.preload()
        return
    import encodings.idna  # noqa: F401 - the codec of host names

    import ipfs_log_handlers.stores.kubo  # noqa: F401
    from ipfs_log_handlers.stores.kubo_rpc import own_version

    own_version()
